"""SpliceAI-10k (Jaganathan et al. 2019): Keras .h5 files, read with h5py alone by walking the stored
graph.
"""

import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np

from libmeta.basemodels import REMEDY, digest, given_files, same_context, usual_folder
from libmeta.errors import MetaError
from libmeta.resnet import BatchNorm, Block, Conv, ResNetWeights, Skip, check

NAME = "spliceai"
LICENCE = "CC BY-NC 4.0 (SpliceAI weights, Illumina): no commercial use"
TRAINED_ON = ("2", "4", "6", "8", *(str(number) for number in range(10, 23)), "X", "Y")

# The published networks order the classes neither, acceptor, donor.
FROM_PUBLISHED = [2, 1, 0]

__all__ = ["FROM_PUBLISHED", "LICENCE", "NAME", "TRAINED_ON", "digest", "find", "read"]


def find(weights: str | Path | Iterable[str | Path] | None = None) -> list[Path]:
    """The .h5 files: of `weights` (folder, file or files), else of $MS_SPLICEAI_WEIGHTS, ./weights/spliceai
    or an installed `spliceai` package, which is not imported. MetaError if there are none.
    """
    weights = weights or usual_folder("MS_SPLICEAI_WEIGHTS", "weights/spliceai") or _package_folder()
    if weights is None:
        raise MetaError(f"no SpliceAI weights in $MS_SPLICEAI_WEIGHTS, weights/spliceai or Python's packages; {REMEDY}")
    return given_files(weights, ".h5")


def read(paths: list[Path]) -> list[ResNetWeights]:
    """The networks in the files. MetaError, naming the file, if one is not a network of this family or
    contexts differ.
    """
    return same_context([_read(Path(path)) for path in paths], paths)


def _package_folder() -> Path | None:
    spec = importlib.util.find_spec("spliceai")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        if any(Path(folder, "models").glob("*.h5")):
            return Path(folder, "models")
    return None


class _Unlike(Exception):
    """What about a graph is unlike SpliceAI."""


def _read(path: Path) -> ResNetWeights:
    try:
        with h5py.File(path, "r") as file:
            return check(_Graph(file).network(), f"in {path}")
    except _Unlike as reason:
        raise MetaError(f"{path} is not a network of the SpliceAI family ({reason}); {REMEDY}") from reason
    except OSError as reason:  # h5py says so of text files, truncated files and unreadable ones alike
        raise MetaError(f"cannot read Keras weights from {path} ({reason}); {REMEDY}") from reason


class _Graph:
    """A Keras graph: layers by name, who feeds whom, and the arrays of a layer.

    Layer names are no guide: the 1x1 skips are numbered among the convolutions of the blocks. The graph is.
    """

    def __init__(self, file: h5py.File):
        if "model_config" not in file.attrs:
            raise _Unlike("no model_config in it")
        try:
            layers = json.loads(file.attrs["model_config"])["config"]["layers"]
            self.kinds = {layer["name"]: layer["class_name"] for layer in layers}
            self.configs = {layer["name"]: layer["config"] for layer in layers}
            self.inputs = {layer["name"]: _sources(layer["inbound_nodes"]) for layer in layers}
        except (ValueError, KeyError, TypeError) as reason:
            raise _Unlike(f"its model_config has no layers with inbound nodes: {reason}") from reason
        self.outputs: dict[str, list[str]] = {name: [] for name in self.kinds}
        for name, sources in self.inputs.items():
            for source in sources:
                self.outputs.setdefault(source, []).append(name)
        self.weights = file.get("model_weights", file)
        self.paths: dict[str, list[str]] = {}  # of everything below a layer
        self.weights.visit(lambda path: self.paths.setdefault(path.split("/")[0], []).append(path))

    def network(self) -> ResNetWeights:
        """The whole network, classes permuted to ours."""
        entry = self._one([name for name, kind in self.kinds.items() if kind == "InputLayer"], "input")
        first = self._one([name for name in self.outputs[entry] if self._kernel(name) == 1], "first convolution")
        trunk, blocks = [first], []
        while (norm := self._next(trunk[-1], "BatchNormalization", needed=False)) is not None:
            block, joined = self._block(norm, trunk[-1])
            blocks.append(block)
            trunk.append(joined)
        crop = self._one([name for name, kind in self.kinds.items() if kind == "Cropping1D"], "cropping")
        skips = []
        for leaf in self._summands(self._one(self.inputs[crop], "input of the cropping")):
            source = self._one(self.inputs[leaf], f"input of {leaf}")
            if self._kernel(leaf) != 1 or source not in trunk:
                raise _Unlike(f"{leaf} is not a 1x1 skip of the trunk")
            skips.append(Skip(trunk.index(source), self._conv(leaf)))
        last = self._conv(self._next(crop, "Conv1D"))
        if last.weight.shape[0] != len(FROM_PUBLISHED):
            raise _Unlike(f"{last.weight.shape[0]} classes")
        final = Conv(np.ascontiguousarray(last.weight[FROM_PUBLISHED]), last.bias[FROM_PUBLISHED])
        skips.sort(key=lambda skip: skip.after)
        net = ResNetWeights(self._conv(first), tuple(blocks), tuple(skips), final, 0.0)
        if list(self.configs[crop]["cropping"]) != [net.context, net.context]:
            raise _Unlike(f"it crops {self.configs[crop]['cropping']} where its convolutions reach {net.context}")
        return net

    def _block(self, norm1: str, trunk: str) -> tuple[Block, str]:
        """The block that starts at a batch norm, and the name of the addition that ends it."""
        names = [norm1]
        for kind in ("Activation", "Conv1D", "BatchNormalization", "Activation", "Conv1D", "Add"):
            names.append(self._next(names[-1], kind))
        _, act1, conv1, norm2, act2, conv2, joined = names
        for name in (act1, act2):
            if self.configs[name].get("activation") != "relu":
                raise _Unlike(f"{name} is not a ReLU")
        if sorted(self.inputs[joined]) != sorted([conv2, trunk]):
            raise _Unlike(f"{joined} does not add {conv2} to {trunk}")
        return Block(self._norm(norm1), self._conv(conv1), self._norm(norm2), self._conv(conv2)), joined

    def _summands(self, name: str) -> list[str]:
        if self.kinds[name] != "Add":
            return [name]
        return [leaf for source in self.inputs[name] for leaf in self._summands(source)]

    def _next(self, name: str, kind: str, needed: bool = True) -> str | None:
        found = [other for other in self.outputs[name] if self.kinds[other] == kind]
        return self._one(found, f"{kind} after {name}") if found or needed else None

    def _one(self, found: list[str], what: str) -> str:
        if len(found) != 1:
            raise _Unlike(f"{len(found) or 'no'} {what} where one is needed")
        return found[0]

    def _kernel(self, name: str) -> int:
        return self.configs[name]["kernel_size"][0] if self.kinds[name] == "Conv1D" else 0

    def _arrays(self, name: str, *wanted: str) -> list[np.ndarray]:
        paths = {path.split("/")[-1].split(":")[0]: path for path in self.paths.get(name, [])}
        missing = [key for key in wanted if key not in paths]
        if missing:
            raise _Unlike(f"no {', '.join(missing)} of {name}")
        return [self._array(paths[key]) for key in wanted]

    def _array(self, path: str) -> np.ndarray:
        # Through the low interface: a network has two hundred arrays, and an object of h5py for each takes longer.
        try:
            item = h5py.h5d.open(self.weights.id, path.encode())
        except (KeyError, ValueError) as reason:
            raise _Unlike(f"{path} is not an array") from reason
        values = np.empty(item.shape, np.float32)
        item.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
        return values

    def _conv(self, name: str) -> Conv:
        kernel, bias = self._arrays(name, "kernel", "bias")
        if kernel.ndim != 3:
            raise _Unlike(f"the kernel of {name} has shape {kernel.shape}")
        # Keras has (k, in, out).
        return Conv(np.ascontiguousarray(kernel.transpose(2, 1, 0)), bias, self.configs[name]["dilation_rate"][0])

    def _norm(self, name: str) -> BatchNorm:
        arrays = self._arrays(name, "gamma", "beta", "moving_mean", "moving_variance")
        return BatchNorm(*arrays, self.configs[name]["epsilon"])


def _sources(node: object) -> list[str]:
    """Names of the layers that feed one: Keras 2 stores [[[name, 0, 0, {}], ...]], Keras 3 a `keras_history`
    each.
    """
    if isinstance(node, dict):
        if "keras_history" in node:
            return [node["keras_history"][0]]
        return [name for value in node.values() for name in _sources(value)]
    if isinstance(node, list):
        if node and isinstance(node[0], str):
            return [node[0]]
        return [name for value in node for name in _sources(value)]
    return []
