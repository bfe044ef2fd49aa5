"""OpenSpliceAI (Chao et al. 2025): SpliceAI's graph retrained on MANE, contexts 80, 400, 2000, 10000; torch
.pt files.

Reading .pt loads torch, which takes longer than scoring 100 kb. `python -m libmeta.basemodels.openspliceai FOLDER` writes
the same tensors as .safetensors beside each .pt, with the hash of the .pt in the header: as long as that is the hash of the
.pt, they are read instead. The .pt stays what the networks are known by.
"""

import pickle
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from libmeta.basemodels import REMEDY, digest, given_files, same_context, usual_folder
from libmeta.errors import MetaError
from libmeta.resnet import BatchNorm, Block, Conv, ResNetWeights, Skip, check

NAME = "openspliceai"
LICENCE = "GPL-3.0 (OpenSpliceAI weights, Johns Hopkins University)"
TRAINED_ON = ("2", "4", "6", "8", *(str(number) for number in range(10, 23)), "X", "Y")

# Kernel and dilation by group of four blocks; the shorter contexts are the first one, two or three groups.
GROUPS = ((11, 1), (11, 4), (21, 10), (41, 25))
GROUP_BLOCKS = 4
NEGATIVE_SLOPE = 0.1
EPS = 1e-5
# The published networks order the classes neither, acceptor, donor.
FROM_PUBLISHED = [2, 1, 0]

SOURCE = "ms.source.sha256"  # key of a converted file's header

__all__ = ["FROM_PUBLISHED", "LICENCE", "NAME", "TRAINED_ON", "convert", "digest", "find", "read"]


def find(weights: str | Path | Iterable[str | Path] | None = None) -> list[Path]:
    """The .pt files: of `weights` (folder, file or files), else of $MS_OPENSPLICEAI_WEIGHTS or
    ./weights/openspliceai. MetaError if there are none.
    """
    weights = weights or usual_folder("MS_OPENSPLICEAI_WEIGHTS", "weights/openspliceai")
    if weights is None:
        raise MetaError(f"no OpenSpliceAI weights in $MS_OPENSPLICEAI_WEIGHTS or weights/openspliceai; {REMEDY}")
    return given_files(weights, ".pt")


def read(paths: list[Path]) -> list[ResNetWeights]:
    """The networks in the files. MetaError, naming the file, if one is not a network of this family or
    contexts differ.
    """
    return same_context([_read(Path(path)) for path in paths], paths)


def convert(path: Path) -> Path:
    """Write the tensors of a .pt as .safetensors beside it; returns where. MetaError if it cannot be read or written."""
    from libmeta.streams import atomic

    state = _torch_state(path)
    _State(state, path).network()  # nothing is written of what is not a network
    target = path.with_suffix(".safetensors")
    with atomic(target) as temporary:
        safetensors.numpy.save_file(state, temporary, {SOURCE: digest([path])})
    return target


def _read(path: Path) -> ResNetWeights:
    state = _converted_state(path.with_suffix(".safetensors"), path)
    return check(_State(_torch_state(path) if state is None else state, path).network(), f"in {path}")


def _converted_state(converted: Path, path: Path) -> dict[str, np.ndarray] | None:
    """The tensors of a converted file if there is one and it was made of this .pt, else None."""
    if not converted.is_file() or not path.is_file():
        return None
    try:
        with safetensors.safe_open(converted, "numpy") as file:
            if (file.metadata() or {}).get(SOURCE) != digest([path]):
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except safetensors.SafetensorError as reason:
        raise MetaError(f"not safetensors or truncated, {converted}; remove it") from reason


def _torch_state(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a .pt as float32."""
    import torch  # a second and a half that only these files cost

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's guesses at what a strange file may be; the error says it
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as reason:  # torch's own text runs over many lines and offers to load it unsafely
        raise MetaError(f"{path} holds something else than plain torch weights; {REMEDY}") from reason
    except (RuntimeError, OSError, EOFError, ValueError, KeyError, IndexError) as reason:
        raise MetaError(f"cannot read torch weights from {path} ({type(reason).__name__}); {REMEDY}") from reason
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise MetaError(f"{path} is not a dictionary of tensors; {REMEDY}")
    return {name: value.float().contiguous().numpy() for name, value in state.items()}


class _State:
    """A state dictionary that names what is missing from it."""

    def __init__(self, state: dict[str, np.ndarray], path: Path):
        self.state, self.path = state, path

    def network(self) -> ResNetWeights:
        """The whole network, classes permuted to ours. In `residual_units`, a skip follows every four
        blocks.
        """
        blocks, skips = [], [Skip(0, self._conv("initial_skip.conv"))]
        units = {name.split(".")[1] for name in self.state if name.startswith("residual_units.")}
        for unit in range(len(units)):
            prefix = f"residual_units.{unit}"
            if f"{prefix}.conv.weight" in self.state:
                skips.append(Skip(len(blocks), self._conv(f"{prefix}.conv")))
            else:
                blocks.append(self._block(prefix, len(blocks)))
        if len(blocks) % GROUP_BLOCKS or [skip.after for skip in skips] != list(
            range(0, len(blocks) + 1, GROUP_BLOCKS)
        ):
            raise self._unlike(f"{len(blocks)} blocks with skips after {[skip.after for skip in skips]}")
        last = self._conv("final_conv")
        if last.weight.shape[0] != len(FROM_PUBLISHED):
            raise self._unlike(f"{last.weight.shape[0]} classes")
        final = Conv(np.ascontiguousarray(last.weight[FROM_PUBLISHED]), last.bias[FROM_PUBLISHED])
        return ResNetWeights(self._conv("initial_conv"), tuple(blocks), tuple(skips), final, NEGATIVE_SLOPE)

    def _block(self, prefix: str, number: int) -> Block:
        if number >= GROUP_BLOCKS * len(GROUPS):
            raise self._unlike("more than 16 blocks")
        kernel, dilation = GROUPS[number // GROUP_BLOCKS]
        conv1, conv2 = (self._conv(f"{prefix}.conv{which}", dilation) for which in (1, 2))
        for conv in (conv1, conv2):
            if conv.kernel != kernel:
                raise self._unlike(f"kernel of {conv.kernel} where block {number + 1} has {kernel}")
        return Block(self._norm(f"{prefix}.batchnorm1"), conv1, self._norm(f"{prefix}.batchnorm2"), conv2)

    def _conv(self, prefix: str, dilation: int = 1) -> Conv:
        weight, bias = self._array(f"{prefix}.weight"), self._array(f"{prefix}.bias")
        if weight.ndim != 3:
            raise self._unlike(f"{prefix}.weight has shape {weight.shape}")
        return Conv(weight, bias, dilation)

    def _norm(self, prefix: str) -> BatchNorm:
        return BatchNorm(
            *(self._array(f"{prefix}.{key}") for key in ("weight", "bias", "running_mean", "running_var")),
            EPS,
        )

    def _array(self, name: str) -> np.ndarray:
        if name not in self.state:
            raise self._unlike(f"no {name}")
        return self.state[name]

    def _unlike(self, what: str) -> MetaError:
        return MetaError(f"{self.path} is not a network of the SpliceAI family ({what}); {REMEDY}")


def main(arguments: list[str]) -> None:
    """Command line of `python -m libmeta.basemodels.openspliceai`."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="python -m libmeta.basemodels.openspliceai",
        description="Write .safetensors beside .pt, which read faster.",
    )
    parser.add_argument("weights", nargs="+", help="folder or .pt files")
    given = parser.parse_args(arguments).weights
    for path in find(given[0] if len(given) == 1 else given):
        convert(path)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MetaError as error:
        sys.stderr.write(f"openspliceai: error: {error}\n")
        raise SystemExit(error.code) from None
