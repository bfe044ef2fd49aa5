"""The two convolutions of a residual block on rows (L, H), by whichever code is fastest where it runs.

A pair is called with activated rows and the middle of the trunk, onto which it adds its result:
trunk (L - 2 reach, H) += second(GELU(first(active (L, H)))). Its memory is what the fft engine's kernel works in.
"""

import numpy as np
import torch
from torch.nn import functional

from libmeta.engines import fft
from libmeta.engines.channels_last import PREPACK_LENGTH, prepack_available
from libmeta.resnet import Conv

NAMES = ("fft", "onednn", "plain")  # the fastest first


def unfit(name: str, hidden: int, kernel: int, device: str, dtype: str) -> str | None:
    """Why a pair of `hidden` channels and `kernel` taps cannot run so, with the remedy; None if it can."""
    cpu = torch.device(device).type == "cpu"
    if name == "fft":
        if hidden != fft.CHANNELS or 2 * kernel > max(fft.POINTS) or dtype != "float32" or not cpu:
            return f"the fft engine runs {fft.CHANNELS} channels in float32 on the CPU, not this network; use auto"
        return fft.missing()
    if name == "onednn" and not (cpu and prepack_available(dtype)):
        return f"oneDNN has no {dtype} here on {device}; use auto"
    return None


def pair(name: str, first: Conv, second: Conv, device: str, dtype: str):
    """Two convolutions of one block by one of NAMES."""
    if name == "fft":
        return FftPair(first, second)
    return {"onednn": OneDnnPair, "plain": PlainPair}[name](first, second, device, getattr(torch, dtype))


class FftPair:
    """By the compiled kernel of the fft engine, float32 on the CPU, in the calling thread.

    The kernel activates with max(x, slope x); at slope 1 that is nothing, and GELU is torch's.
    """

    def __init__(self, first: Conv, second: Conv):
        kernel = fft._Kernel(fft.best_level())
        # with a scale the kernel writes its result, without one it adds it
        self.first = fft._ConvLayer(first, 1.0, kernel, np.ones(fft.CHANNELS), np.zeros(fft.CHANNELS))
        self.second = fft._ConvLayer(second, 1.0, kernel)

    def __call__(self, active: torch.Tensor, trunk: torch.Tensor, memory: fft._Workspace) -> None:
        """active (L, H), trunk (L - 2 reach, H)."""
        hidden = active.new_empty((len(active) - 2 * self.first.conv.reach, active.shape[1]))
        self.first(active.data_ptr(), len(active), hidden.data_ptr(), memory)
        gelu_(hidden)
        self.second(hidden.data_ptr(), len(hidden), trunk.data_ptr(), memory)


class OneDnnPair:
    """By oneDNN with prepacked weights: GELU behind the first and the sum behind the second are part of the call."""

    def __init__(self, first: Conv, second: Conv, device: str, dtype: torch.dtype):
        self.layers = [self._packed(conv, device, dtype) for conv in (first, second)]

    @staticmethod
    def _packed(conv: Conv, device: str, dtype: torch.dtype) -> tuple:
        weight, bias, dilation = _tensors(conv, device, dtype)
        steps = ((0, 0), (1, 1), dilation, 1)
        shape = (1, weight.shape[1], 1, PREPACK_LENGTH)
        return torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), *steps, shape), bias, *steps

    def __call__(self, active: torch.Tensor, trunk: torch.Tensor, memory: fft._Workspace) -> None:
        """active (L, H), trunk (L - 2 reach, H)."""
        hidden = torch.ops.mkldnn._convolution_pointwise(image(active), *self.layers[0], "gelu", [], "none")
        onto = torch.ops.mkldnn._convolution_pointwise_.binary
        onto(image(trunk), hidden, *self.layers[1], "add", 1.0, None, [], None)


class PlainPair:
    """By torch's own convolution, on any device."""

    def __init__(self, first: Conv, second: Conv, device: str, dtype: torch.dtype):
        self.layers = [_tensors(conv, device, dtype) for conv in (first, second)]

    def __call__(self, active: torch.Tensor, trunk: torch.Tensor, memory: fft._Workspace) -> None:
        """active (L, H), trunk (L - 2 reach, H)."""
        (weight1, bias1, dilation1), (weight2, bias2, dilation2) = self.layers
        hidden = functional.gelu(functional.conv2d(image(active), weight1, bias1, dilation=dilation1))
        trunk.add_(functional.conv2d(hidden, weight2, bias2, dilation=dilation2)[0, :, 0].T)


def image(rows: torch.Tensor) -> torch.Tensor:
    """Rows (L, C) as (1, C, 1, L), which in memory is channels last."""
    return rows.T[None, :, None]


def gelu_(rows: torch.Tensor) -> torch.Tensor:
    """Exact GELU in place."""
    return torch.ops.aten.gelu_(rows)


def _tensors(conv: Conv, device: str, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, tuple[int, int]]:
    weight = torch.tensor(conv.weight[:, :, None], dtype=torch.float32, device=device).to(dtype)
    bias = torch.tensor(conv.bias, dtype=torch.float32, device=device).to(dtype)
    return weight.contiguous(memory_format=torch.channels_last), bias, (1, conv.dilation)
