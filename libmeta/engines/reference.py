"""The plain network, straight from the paper: slow, and what the other engines are compared with."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from libmeta.engines.base import Engine
from libmeta.resnet import BASES, BatchNorm, Conv, ResNetWeights

DTYPES = ("float64", "float32", "bfloat16")


def one_hot(codes: np.ndarray, dtype: torch.dtype, device: str = "cpu") -> torch.Tensor:
    """Codes (L,) uint8 -> one-hot (1, 4, L); code 0 is all zero."""
    rows = torch.from_numpy(codes).to(device=device, dtype=torch.long)
    return torch.eye(BASES + 1, dtype=dtype, device=device)[rows][:, 1:].T[None]


class PlainResNet(nn.Module):
    """The network as published, layer by layer: `same` convolutions, then a crop. Input (B, 4, L + 2 *
    context), output (B, 3, L) probabilities. The reference that every engine is compared with; `.double()`
    for float64.
    """

    def __init__(self, net: ResNetWeights):
        super().__init__()
        self.context, self.slope = net.context, net.negative_slope
        self.initial, self.final = _conv_module(net.initial), _conv_module(net.final)
        self.skips = nn.ModuleDict({str(skip.after): _conv_module(skip.conv) for skip in net.skips})
        self.blocks = nn.ModuleList()
        for block in net.blocks:
            layers = (_norm_module(block.bn1), _conv_module(block.conv1))
            layers += (_norm_module(block.bn2), _conv_module(block.conv2))
            self.blocks.append(nn.ModuleList(layers))
        self.eval().requires_grad_(False)

    def forward(self, sequence: torch.Tensor) -> torch.Tensor:
        """One-hot (B, 4, L + 2 * context) -> probabilities (B, 3, L) of donor, acceptor, neither."""
        trunk = self.initial(sequence)
        total = torch.zeros_like(trunk)
        for done in range(len(self.blocks) + 1):
            if done:
                norm1, conv1, norm2, conv2 = self.blocks[done - 1]
                hidden = conv1(functional.leaky_relu(norm1(trunk), self.slope))
                trunk = trunk + conv2(functional.leaky_relu(norm2(hidden), self.slope))
            if str(done) in self.skips:
                total = total + self.skips[str(done)](trunk)
        return functional.softmax(self.final(total[:, :, self.context : total.shape[2] - self.context]), 1)


def _conv_module(conv: Conv) -> nn.Conv1d:
    out_channels, in_channels, kernel = conv.weight.shape
    module = nn.Conv1d(in_channels, out_channels, kernel, dilation=conv.dilation, padding=conv.reach)
    module.weight.data, module.bias.data = torch.from_numpy(conv.weight), torch.from_numpy(conv.bias)
    return module


def _norm_module(norm: BatchNorm) -> nn.BatchNorm1d:
    module = nn.BatchNorm1d(len(norm.gamma), eps=norm.eps)
    module.weight.data, module.bias.data = torch.from_numpy(norm.gamma), torch.from_numpy(norm.beta)
    module.running_mean, module.running_var = torch.from_numpy(norm.mean), torch.from_numpy(norm.variance)
    return module


class ReferenceEngine(Engine):
    """PlainResNet in dtype on device, one network at a time."""

    name = "reference"
    piece = 5_000

    def __init__(self, nets: list[ResNetWeights], device: str = "cpu", dtype: str = "float32"):
        super().__init__(nets)
        self.device, self.dtype = device, getattr(torch, dtype)
        self.nets = [PlainResNet(net).to(device=device, dtype=self.dtype) for net in nets]

    @torch.inference_mode()
    def _score_net(self, model: int, codes: np.ndarray) -> np.ndarray:
        probabilities = self.nets[model](one_hot(codes, self.dtype, self.device))
        return probabilities[0].T.float().cpu().numpy()
