"""Pieces that the networks share: valid convolutions of height 1 in channels-last memory.

Activations are (B, H, 1, L) whose memory runs over channels first: what oneDNN and cuDNN convolve fastest. Nothing
is padded: a convolution shortens its input by what it reaches, so no output depends on anything but real bases.
GELU is the exact one (erf): on the CPU it is also the faster one, alone and fused behind a convolution.
"""

import torch
from torch import nn
from torch.nn import functional


def images(rows: torch.Tensor) -> torch.Tensor:
    """(B, C, L) as (B, C, 1, L) in channels-last memory."""
    return rows.unsqueeze(2).contiguous(memory_format=torch.channels_last)


def crop(x: torch.Tensor, cut: int) -> torch.Tensor:
    """Without `cut` positions at each end of the last dimension."""
    return x if cut == 0 else x[..., cut : x.shape[-1] - cut]


class Convolution(nn.Conv2d):
    """A valid convolution along positions, trained faster on the CPU than torch would (float32)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int):
        super().__init__(inputs, outputs, (1, kernel), dilation=(1, dilation))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, 1, L) -> (B, outputs, 1, L - (kernel - 1) * dilation)."""
        plain = x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
        if plain or not (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(x)
        return _Convolved.apply(x, self.weight, self.bias, self.dilation[1])


class _Convolved(torch.autograd.Function):
    """A convolution whose weight gradient is one matrix product per tap: oneDNN's own takes up to twice as long."""

    @staticmethod
    def forward(ctx, x, weight, bias, dilation):
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation
        return functional.conv2d(x, weight, bias, dilation=(1, dilation))

    @staticmethod
    def backward(ctx, grad):
        x, weight = ctx.saved_tensors
        grad, dilation, kernel = grad.contiguous(memory_format=torch.channels_last), ctx.dilation, weight.shape[3]
        onto = None
        if ctx.needs_input_grad[0]:
            turned = weight.flip(3).transpose(0, 1).contiguous(memory_format=torch.channels_last)
            onto = functional.conv2d(grad, turned, padding=(0, (kernel - 1) * dilation), dilation=(1, dilation))
        rows, given = grad[:, :, 0], x[:, :, 0].transpose(1, 2)  # (B, out, L'), (B, L, in)
        taps = rows.new_zeros(kernel, *weight.shape[:2])
        # One thread reads a sample for all taps while the cache has it; several threads share out the samples.
        together = 1 if torch.get_num_threads() == 1 else len(rows)
        for i in range(0, len(rows), together):
            for tap in range(kernel):
                part = given[i : i + together, tap * dilation :][:, : rows.shape[2]]
                taps[tap] += torch.bmm(rows[i : i + together], part).sum(0)
        return onto, taps.permute(1, 2, 0)[:, :, None], rows.sum((0, 2)), None


def convolution(inputs: int, outputs: int, kernel: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A valid convolution along positions; the 1x1 ones are torch's own."""
    return nn.Conv2d(inputs, outputs, 1) if kernel == 1 else Convolution(inputs, outputs, kernel, dilation)


def dropout(x: torch.Tensor, share: float) -> torch.Tensor:
    """Zero a random share of x (B, C, 1, L) and scale the rest up; for training.

    On the CPU torch draws one number per element, which takes as long as the convolution in front of it; here eight
    elements share one 64-bit draw, so that the share is rounded to 1/256.
    """
    fallen = round(256 * share)
    if fallen == 0 or x.device.type != "cpu":
        return functional.dropout(x, share)
    draws = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None)
    batch, channels, _, length = x.shape
    keep = draws.view(torch.uint8)[: x.numel()].view(batch, 1, length, channels) >= fallen
    return x * keep.permute(0, 3, 1, 2).to(x.dtype).mul_(256 / (256 - fallen))


class Block(nn.Module):
    """A residual block [norm, GELU, dilated convolution, dropout] x 2 + input: (B, H, 1, L) -> (B, H, 1, L - 2 reach).

    reach: positions needed on each side, (kernel - 1) * dilation.
    """

    def __init__(self, hidden: int, kernel: int, dilation: int, dropout: float):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(hidden), nn.BatchNorm2d(hidden)
        self.conv1 = convolution(hidden, hidden, kernel, dilation)
        self.conv2 = convolution(hidden, hidden, kernel, dilation)
        self.dropout, self.reach = dropout, (kernel - 1) * dilation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, H, 1, L) with L > 2 * reach."""
        y = self._drop(self.conv1(functional.gelu(self.norm1(x))))
        y = self._drop(self.conv2(functional.gelu(self.norm2(y))))
        return crop(x, self.reach) + y

    def _drop(self, x: torch.Tensor) -> torch.Tensor:
        return dropout(x, self.dropout) if self.training and self.dropout else x


def blocks(hidden: int, kernel: int, dilations: tuple[int, ...], dropout: float) -> nn.Sequential:
    """One residual block per dilation."""
    return nn.Sequential(*(Block(hidden, kernel, d, dropout) for d in dilations))
