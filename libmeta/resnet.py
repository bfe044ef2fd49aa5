"""Weights of a ResNet of the SpliceAI family in one canonical form, and their folding.

The graph (Jaganathan et al. 2019): 1x1 convolution of the one-hot; blocks of [batch norm, activation, dilated
convolution] twice, added to the trunk; a 1x1 skip of the trunk after every few blocks; the sum of the skips,
a last 1x1 convolution to three classes, softmax. Classes are donor, acceptor, neither: readers permute the
last convolution.

Arrays are numpy float32 in torch's layout; a sequence is one uint8 code per base in transcript orientation, 0
unknown or outside (an all-zero one-hot), 1..4 = A, C, G, T.
"""

from dataclasses import dataclass

import numpy as np

from libmeta.errors import MetaError

BASES = 4
CLASSES = ("donor", "acceptor", "neither")


@dataclass(frozen=True)
class Conv:
    """A convolution over positions. weight (out, in, k), bias (out,), dilation in bases."""

    weight: np.ndarray
    bias: np.ndarray
    dilation: int = 1

    @property
    def kernel(self) -> int:
        """Taps of the convolution."""
        return self.weight.shape[2]

    @property
    def reach(self) -> int:
        """Bases that one output sees on each side of itself."""
        return (self.kernel - 1) * self.dilation // 2


@dataclass(frozen=True)
class BatchNorm:
    """A batch norm in evaluation. gamma, beta, mean, variance: (channels,)."""

    gamma: np.ndarray
    beta: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    eps: float

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """The same as scale and shift in float64: y = scale * x + shift, both (channels,)."""
        scale = self.gamma.astype(np.float64) / np.sqrt(self.variance.astype(np.float64) + self.eps)
        return scale, self.beta - self.mean.astype(np.float64) * scale


@dataclass(frozen=True)
class Block:
    """A residual block: x + conv2(act(bn2(conv1(act(bn1(x))))))."""

    bn1: BatchNorm
    conv1: Conv
    bn2: BatchNorm
    conv2: Conv

    @property
    def reach(self) -> int:
        """Bases that one output sees on each side of itself."""
        return self.conv1.reach + self.conv2.reach


@dataclass(frozen=True)
class Skip:
    """A 1x1 convolution of the trunk as it stands after `after` blocks (0: after the first convolution)."""

    after: int
    conv: Conv


@dataclass(frozen=True)
class ResNetWeights:
    """One network. negative_slope of the activation: 0 is ReLU."""

    initial: Conv
    blocks: tuple[Block, ...]
    skips: tuple[Skip, ...]
    final: Conv
    negative_slope: float

    @property
    def context(self) -> int:
        """Bases on each side that a score depends on (5000 for SpliceAI-10k)."""
        return sum(block.reach for block in self.blocks)

    @property
    def channels(self) -> int:
        """Channels of the trunk (32 in the published networks)."""
        return self.initial.weight.shape[0]


@dataclass(frozen=True)
class FoldedBlock:
    """A block with its second batch norm inside conv1. scale, shift (channels,) come before the first
    activation.
    """

    scale: np.ndarray
    shift: np.ndarray
    conv1: Conv
    conv2: Conv


@dataclass(frozen=True)
class FoldedResNet:
    """A network folded in float64.

    table (5, channels): the first layer's output by sequence code; heads: (after, (3, channels)) pairs, each
    a skip and the last convolution in one; head_bias (3,).
    """

    table: np.ndarray
    blocks: tuple[FoldedBlock, ...]
    heads: tuple[tuple[int, np.ndarray], ...]
    head_bias: np.ndarray
    negative_slope: float
    context: int


def check(net: ResNetWeights, where: str) -> ResNetWeights:
    """Return net if its shapes fit together and its numbers are finite; MetaError, naming `where`, if not."""
    channels = net.channels
    expected = [
        ("first convolution", net.initial, (channels, BASES, 1)),
        ("last convolution", net.final, (3, channels, 1)),
    ]
    expected += [(f"skip after block {skip.after}", skip.conv, (channels, channels, 1)) for skip in net.skips]
    for number, block in enumerate(net.blocks, 1):
        for conv in (block.conv1, block.conv2):
            expected.append((f"convolution of block {number}", conv, (channels, channels, conv.weight.shape[-1])))
            if conv.weight.shape[-1] % 2 == 0:
                raise MetaError(
                    f"kernel of even length in block {number}, {where}; not a network of the SpliceAI family"
                )
    vectors = [(name, conv.bias, conv.weight.shape[0]) for name, conv, _ in expected]
    for number, block in enumerate(net.blocks, 1):
        for norm in (block.bn1, block.bn2):
            named = (norm.gamma, norm.beta, norm.mean, norm.variance)
            vectors += [(f"batch norm of block {number}", vector, channels) for vector in named]
    for name, conv, shape in expected:
        if conv.weight.shape != shape:
            raise MetaError(
                f"{name} has shape {conv.weight.shape} where {shape} is needed, {where}; "
                "not a network of the SpliceAI family"
            )
    for name, vector, length in vectors:
        if vector.shape != (length,):
            raise MetaError(
                f"{name} has {vector.shape} values where {length} are needed, {where}; fetch the file again"
            )
    arrays = [conv.weight for _, conv, _ in expected] + [vector for _, vector, _ in vectors]
    if not all(np.isfinite(array).all() for array in arrays):
        raise MetaError(f"weights that are not finite numbers, {where}; fetch the file again")
    return net


def fold(net: ResNetWeights) -> FoldedResNet:
    """Fold bn2 into conv1, and skips and the last convolution into heads, all in float64."""
    final = net.final.weight[:, :, 0].astype(np.float64)
    head_bias = net.final.bias.astype(np.float64)
    heads = []
    for skip in net.skips:
        heads.append((skip.after, final @ skip.conv.weight[:, :, 0].astype(np.float64)))
        head_bias = head_bias + final @ skip.conv.bias.astype(np.float64)
    blocks = []
    for block in net.blocks:
        scale2, shift2 = block.bn2.affine()
        conv1 = Conv(
            block.conv1.weight * scale2[:, None, None],
            block.conv1.bias * scale2 + shift2,
            block.conv1.dilation,
        )
        conv2 = Conv(block.conv2.weight.astype(np.float64), block.conv2.bias.astype(np.float64), block.conv2.dilation)
        blocks.append(FoldedBlock(*block.bn1.affine(), conv1, conv2))
    by_base = net.initial.weight[:, :, 0].astype(np.float64).T
    table = np.concatenate([np.zeros((1, net.channels)), by_base]) + net.initial.bias.astype(np.float64)
    return FoldedResNet(table, tuple(blocks), tuple(heads), head_bias, net.negative_slope, net.context)
