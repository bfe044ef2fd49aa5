"""Torch in the layout that its convolutions like best: channels last, valid convolutions, everything folded.

A convolution of length k over positions is run as conv2d with height 1 in channels-last memory, (1, C, 1, L)
with strides of (L, C) rows. Valid convolutions shrink the piece layer by layer, so no context is computed
that is not used. With ReLU, the first batch norm of a block and its activation are one clamp per channel
(see _clamped).
"""

import numpy as np
import torch
from torch.nn import functional

from libmeta.engines.base import Engine
from libmeta.resnet import Conv, FoldedBlock, FoldedResNet, ResNetWeights, fold

DTYPES = ("float32", "bfloat16")
# Length the prepacked weight layout is chosen for; any length can be run with it.
PREPACK_LENGTH = 60_000


class ChannelsLastEngine(Engine):
    """Folded networks in dtype on device; on the CPU through oneDNN with prepacked weights where torch has
    it.
    """

    name = "torch"
    # Activations of a piece stay in the last-level cache; shorter pieces compute more context than they save.
    piece = 60_000

    def __init__(self, nets: list[ResNetWeights], device: str = "cpu", dtype: str = "float32"):
        super().__init__(nets)
        self.device = device
        prepacked = torch.device(device).type == "cpu" and prepack_available(dtype)
        self.nets = [_Net(fold(net), device, getattr(torch, dtype), prepacked) for net in nets]

    @torch.inference_mode()
    def _score_net(self, model: int, codes: np.ndarray) -> np.ndarray:
        return self.nets[model](torch.from_numpy(codes).to(self.device)).cpu().numpy()


def prepack_available(dtype: str = "float32") -> bool:
    """True if this torch has the oneDNN operators (private to torch, so they may go) that take prepacked weights, and
    they take this dtype: bfloat16 wants AVX-512.
    """
    return (
        (dtype == "float32" or torch.backends.cpu.get_cpu_capability().startswith("AVX512"))
        and torch.backends.mkldnn.is_available()
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise_")
    )


class _Layer:
    """One valid dilated convolution of rows (L, C) -> (L - 2 * reach, C), with an optional activation behind
    it.
    """

    def __init__(self, conv: Conv, slope: float | None, device: str, dtype: torch.dtype, prepacked: bool):
        self.slope, self.dilation, self.prepacked = slope, (1, conv.dilation), prepacked
        weight = torch.tensor(conv.weight[:, :, None], dtype=torch.float32, device=device).to(dtype)
        weight = weight.contiguous(memory_format=torch.channels_last)
        self.bias = torch.tensor(conv.bias, dtype=torch.float32, device=device).to(dtype)
        if prepacked:
            shape = (1, conv.weight.shape[1], 1, PREPACK_LENGTH)
            weight = torch._C._nn.mkldnn_reorder_conv2d_weight(
                weight.to_mkldnn(), (0, 0), (1, 1), self.dilation, 1, shape
            )
        self.weight = weight

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        image = rows.T[None, :, None]  # (1, C, 1, L), channels last
        if not self.prepacked:
            image = functional.conv2d(image, self.weight, self.bias, dilation=self.dilation)
            image = image if self.slope is None else functional.leaky_relu(image, self.slope, inplace=True)
            return image[0, :, 0].T
        post = "none" if self.slope is None else "leaky_relu" if self.slope else "relu"
        numbers = [self.slope] if self.slope else []
        image = torch.ops.mkldnn._convolution_pointwise(
            image, self.weight, self.bias, (0, 0), (1, 1), self.dilation, 1, post, numbers, ""
        )
        return image[0, :, 0].T

    def add_to(self, trunk: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """trunk (L - 2 * reach, C) += the convolution of rows (L, C), in place; prepacked, the sum is part of the call."""
        if not self.prepacked:
            return trunk.add_(self(rows))
        onto = torch.ops.mkldnn._convolution_pointwise_.binary
        steps = ((0, 0), (1, 1), self.dilation, 1)
        onto(trunk.T[None, :, None], rows.T[None, :, None], self.weight, self.bias, *steps, "add", 1.0, None, [], None)
        return trunk


class _Block:
    """A residual block on rows (L, C) -> (L - 2 * reach, C)."""

    def __init__(self, block: FoldedBlock, slope: float, device: str, dtype: torch.dtype, prepacked: bool):
        def vector(values: np.ndarray) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device).to(dtype)

        self.slope, conv1 = slope, block.conv1
        if slope:
            self.scale, self.shift = vector(block.scale), vector(block.shift)
        else:
            low, high, conv1 = _clamped(block)
            self.low, self.high = vector(low), vector(high)
        self.layer1 = _Layer(conv1, slope, device, dtype, prepacked)
        self.layer2 = _Layer(block.conv2, None, device, dtype, prepacked)
        self.reach = conv1.reach + block.conv2.reach

    def __call__(self, trunk: torch.Tensor) -> torch.Tensor:
        if self.slope:
            active = functional.leaky_relu_(torch.addcmul(self.shift, trunk, self.scale), self.slope)
        else:
            active = torch.clamp(trunk, self.low, self.high)
        # In place: the caller hands the trunk over and takes the shorter view back.
        return self.layer2.add_to(trunk[self.reach : len(trunk) - self.reach], self.layer1(active))


class _Net:
    """One folded network: codes (L + 2 * context,) -> probabilities (L, 3) float32."""

    def __init__(self, net: FoldedResNet, device: str, dtype: torch.dtype, prepacked: bool):
        def matrix(values: np.ndarray) -> torch.Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)

        self.context, self.table = net.context, matrix(net.table).to(dtype)
        # The heads are a three-thousandth of the work: float32 whatever the trunk is in.
        self.heads = {after: matrix(head.T.copy()) for after, head in net.heads}
        self.head_bias = matrix(net.head_bias)
        self.blocks = [_Block(block, net.negative_slope, device, dtype, prepacked) for block in net.blocks]

    def __call__(self, codes: torch.Tensor) -> torch.Tensor:
        trunk = self.table[codes.long()]  # (L + 2 * context, C)
        rest = self.context  # context rows still on each side of the trunk
        logits = self.head_bias.expand(len(trunk) - 2 * rest, -1)
        for done in range(len(self.blocks) + 1):
            if done:
                trunk = self.blocks[done - 1](trunk)
                rest -= self.blocks[done - 1].reach
            if done in self.heads:
                logits = logits + trunk[rest : len(trunk) - rest].float() @ self.heads[done]
        return torch.softmax(logits, 1)


def _clamped(block: FoldedBlock) -> tuple[np.ndarray, np.ndarray, Conv]:
    """Batch norm and ReLU as a clamp: max(0, s x + t) = s clamp(x; low, high) + t with one bound at -t / s.

    s and t then move into conv1, exactly, since a valid convolution meets no padding. Where s is 0 both
    bounds are 0 and the constant max(0, t) moves into the bias. Returns low (C,), high (C,) and the new
    conv1.
    """
    scale, shift = block.scale, block.shift
    flat = scale == 0
    corner = np.where(flat, 0.0, -shift / np.where(flat, 1.0, scale))
    low = np.where(scale < 0, -np.inf, corner)
    high = np.where(scale > 0, np.inf, corner)
    constant = np.where(flat, np.maximum(shift, 0.0), shift)
    bias = block.conv1.bias + np.einsum("oik,i->o", block.conv1.weight, constant)
    return low, high, Conv(block.conv1.weight * scale[None, :, None], bias, block.conv1.dilation)
