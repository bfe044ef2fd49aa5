"""OpenSpliceAI (Chao et al. 2025): SpliceAI's graph retrained on MANE, contexts 80, 400, 2000, 10000; torch
.pt files.
"""

import pickle
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np

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

__all__ = ["FROM_PUBLISHED", "LICENCE", "NAME", "TRAINED_ON", "digest", "find", "read"]


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


def _read(path: Path) -> ResNetWeights:
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
    return check(_State(state, path).network(), f"in {path}")


class _State:
    """A state dictionary that names what is missing from it."""

    def __init__(self, state: dict, path: Path):
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
        return self.state[name].float().numpy()

    def _unlike(self, what: str) -> MetaError:
        return MetaError(f"{self.path} is not a network of the SpliceAI family ({what}); {REMEDY}")
