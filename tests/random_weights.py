"""Networks of the SpliceAI family with random weights, and files of them like those that are published."""

import json
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import torch

from libmeta.resnet import BatchNorm, Block, Conv, ResNetWeights, Skip

GROUPS = ((11, 1), (11, 4), (21, 10), (41, 25))  # kernel and dilation of each group of four blocks
CONTEXTS = {40: 1, 200: 2, 1000: 3, 5000: 4}  # bases on each side -> groups
PUBLISHED = [2, 1, 0]  # ours (donor, acceptor, neither) <-> theirs (neither, acceptor, donor)


def random_net(
    context: int = 5000, slope: float = 0.0, eps: float = 1e-3, seed: int = 0, channels: int = 32
) -> ResNetWeights:
    """A network whose activations stay near 1 and whose probabilities spread over (0, 1).

    context: bases on each side, one of CONTEXTS. slope and eps: 0 and 1e-3 as in SpliceAI, 0.1 and 1e-5 as in
    OpenSpliceAI.
    """
    groups = GROUPS[: CONTEXTS[context]]
    return custom_net([group for group in groups for _ in range(4)], slope, eps, seed, channels)


def custom_net(
    shapes: list[tuple[int, int]],
    slope: float = 0.0,
    eps: float = 1e-3,
    seed: int = 0,
    channels: int = 32,
    every: int = 4,
) -> ResNetWeights:
    """A network with one block per (kernel, dilation) and a skip after every `every` blocks."""
    random = np.random.default_rng(seed)

    def vector(centre: float, spread: float, length: int = channels) -> np.ndarray:
        return (centre + spread * random.standard_normal(length)).astype(np.float32)

    def conv(outputs: int, inputs: int, kernel: int, gain: float, dilation: int = 1) -> Conv:
        weight = gain * random.standard_normal((outputs, inputs, kernel)) / np.sqrt(inputs * kernel)
        return Conv(weight.astype(np.float32), vector(0, 0.1, outputs), dilation)

    def norm() -> BatchNorm:
        # Some scales are negative and one is zero: both occur in trained networks, and both are corners of
        # the clamp.
        gamma = vector(1, 0.3) * random.choice([1, 1, 1, -1], channels).astype(np.float32)
        gamma[random.integers(channels)] = 0
        return BatchNorm(gamma, vector(0, 0.3), vector(0, 0.3), np.abs(vector(1, 0.2)) + np.float32(0.1), eps)

    blocks = []
    for kernel, dilation in shapes:
        pair = [conv(channels, channels, kernel, 0.7, dilation) for _ in range(2)]
        blocks.append(Block(norm(), pair[0], norm(), pair[1]))
    skips = tuple(Skip(after, conv(channels, channels, 1, 0.7)) for after in range(0, len(shapes) + 1, every))
    return ResNetWeights(conv(channels, 4, 1, 2.0), tuple(blocks), skips, conv(3, channels, 1, 1.0), slope)


def random_codes(length: int, context: int, seed: int = 0) -> np.ndarray:
    """(length + 2 * context,) uint8 codes of random bases, with a run of unknown ones."""
    random = np.random.default_rng(seed)
    codes = random.integers(1, 5, length + 2 * context).astype(np.uint8)
    start = random.integers(len(codes))
    codes[start : start + 50] = 0
    return codes


def write_openspliceai(path: Path, net: ResNetWeights) -> None:
    """A .pt like the published ones: a state dictionary with residual blocks and skips in one list."""
    state = {}

    def put(prefix: str, part: Conv | BatchNorm, order: list[int] | slice = slice(None)) -> None:
        if isinstance(part, Conv):
            arrays = {"weight": part.weight[order], "bias": part.bias[order]}
        else:
            arrays = {
                "weight": part.gamma,
                "bias": part.beta,
                "running_mean": part.mean,
                "running_var": part.variance,
            }
            state[f"{prefix}.num_batches_tracked"] = torch.tensor(7)
        state.update({f"{prefix}.{key}": torch.tensor(array) for key, array in arrays.items()})

    put("initial_conv", net.initial)
    put("initial_skip.conv", net.skips[0].conv)
    later = {skip.after: skip.conv for skip in net.skips[1:]}
    unit = 0
    for number, block in enumerate(net.blocks, 1):
        for name, part in zip(("batchnorm1", "conv1", "batchnorm2", "conv2"), vars(block).values(), strict=True):
            put(f"residual_units.{unit}.{name}", part)
        unit += 1
        if number in later:
            put(f"residual_units.{unit}.conv", later[number])
            unit += 1
    put("final_conv", net.final, PUBLISHED)
    torch.save(state, path)


class _KerasWriter:
    """Layers and weights of a Keras 2 model file."""

    def __init__(self, file: h5py.File, keras3: bool):
        self.group, self.keras3 = file.create_group("model_weights"), keras3
        self.layers: list[dict] = []
        self.counts: dict[str, int] = {}

    def add(self, kind: str, sources: list[str], arrays: dict[str, np.ndarray] | None = None, **config: object) -> str:
        stem = {"BatchNormalization": "batch_normalization", "InputLayer": "input"}.get(kind, kind.lower())
        self.counts[stem] = self.counts.get(stem, 0) + 1
        name = f"{stem}_{self.counts[stem]}"
        nodes: list = [[[source, 0, 0, {}] for source in sources]] if sources else []
        if self.keras3 and sources:
            tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [x, 0, 0]}} for x in sources]
            nodes = [{"args": [tensors if len(tensors) > 1 else tensors[0]], "kwargs": {}}]
        self.layers.append(
            {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}
        )
        for key, array in (arrays or {}).items():
            self.group.create_dataset(f"{name}/{name}/{key}" + ("" if self.keras3 else ":0"), data=array)
        return name

    def conv(self, conv: Conv, source: str, activation: str = "linear") -> str:
        config = {
            "filters": conv.weight.shape[0],
            "kernel_size": [conv.kernel],
            "dilation_rate": [conv.dilation],
        }
        config |= {
            "strides": [1],
            "padding": "same" if conv.kernel > 1 else "valid",
            "activation": activation,
        }
        return self.add("Conv1D", [source], {"kernel": conv.weight.transpose(2, 1, 0), "bias": conv.bias}, **config)

    def norm_relu(self, norm: BatchNorm, source: str) -> str:
        arrays = {
            "gamma": norm.gamma,
            "beta": norm.beta,
            "moving_mean": norm.mean,
            "moving_variance": norm.variance,
        }
        normed = self.add("BatchNormalization", [source], arrays, epsilon=norm.eps)
        return self.add("Activation", [normed], activation="relu")


def write_keras(path: Path, net: ResNetWeights, keras3: bool = False) -> None:
    """A .h5 like the published ones: the graph as model_config, the skips numbered among the blocks'
    convolutions and the layers stored out of order, as Keras does.
    """
    with h5py.File(path, "w") as file:
        keras = _KerasWriter(file, keras3)
        trunk = keras.conv(net.initial, keras.add("InputLayer", [], batch_input_shape=[None, None, 4]))
        skips = {skip.after: skip.conv for skip in net.skips}
        total = keras.conv(skips[0], trunk)
        for number, block in enumerate(net.blocks, 1):
            hidden = keras.conv(block.conv1, keras.norm_relu(block.bn1, trunk))
            hidden = keras.conv(block.conv2, keras.norm_relu(block.bn2, hidden))
            trunk = keras.add("Add", [hidden, trunk])
            if number in skips:
                total = keras.add("Add", [total, keras.conv(skips[number], trunk)])
        crop = keras.add("Cropping1D", [total], cropping=[net.context, net.context])
        last = keras.conv(Conv(net.final.weight[PUBLISHED], net.final.bias[PUBLISHED]), crop, "softmax")
        layers = keras.layers[:2] + keras.layers[2:][::-1]
        config = {"layers": layers, "input_layers": [["input_1", 0, 0]], "output_layers": [[last, 0, 0]]}
        file.attrs["model_config"] = json.dumps({"class_name": "Model", "config": config})


def spliceai_folder(folder: Path, models: int = 1) -> Path:
    """A folder of .h5 files as SpliceAI's package has them, of random networks that call most bases neither."""
    folder.mkdir(parents=True)
    for i in range(models):
        net = random_net(seed=i)
        final = replace(net.final, bias=net.final.bias + np.float32([0, 0, 12]))
        write_keras(folder / f"spliceai{i + 1}.h5", replace(net, final=final))
    return folder
