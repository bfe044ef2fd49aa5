"""Attention within a band: position i of the output looks at i - a .. i + a of the input, and at nothing else.

Memory grows with the length, not with its square: queries are cut into blocks, each of which meets the keys of its own
stretch and a on both sides. Distances enter by rotation (rotary embedding) of queries and keys within the stretch, so
that only their difference counts and a window's place in the genome does not.
"""

import torch
from torch import nn
from torch.nn import functional

from libmeta.models.blocks import convolution, crop
from libmeta.models.config import HEAD_WIDTH

LEAST_BLOCK, MOST_BLOCK = 64, 256  # queries of a block: keys are read (block + 2 a) / block times


class BandedAttention(nn.Module):
    """Queries from one input, keys and values from another that reaches `width` further on both sides."""

    def __init__(self, hidden: int, width: int):
        super().__init__()
        self.width, self.heads = width, hidden // HEAD_WIDTH
        self.block = min(max(width, LEAST_BLOCK), MOST_BLOCK)
        self.query, self.memory = convolution(hidden, hidden), convolution(hidden, 2 * hidden)
        self.out = convolution(hidden, hidden)
        span = self.block + 2 * width
        far = torch.arange(span)[None] - torch.arange(self.block)[:, None]  # 0 .. 2 * width are in the band
        band = torch.zeros(self.block, span).masked_fill((far < 0) | (far > 2 * width), -torch.inf)
        self.register_buffer("band", band, persistent=False)
        # wavelengths from a codon's scale to beyond the band
        turns = torch.logspace(0, 1, HEAD_WIDTH // 2, base=1 / (2 * width + 2))
        angles = torch.arange(span)[:, None] * turns
        self.register_buffer("angles", torch.stack([angles.cos(), angles.sin()]), persistent=False)

    def forward(self, query: torch.Tensor, memory: torch.Tensor) -> torch.Tensor:
        """query (B, H, 1, L), memory (B, H, 1, L + 2 * width) -> (B, H, 1, L)."""
        length = query.shape[3]
        block = min(self.block, length)
        count, span = -(-length // block), block + 2 * self.width
        fill = count * block - length  # padded queries are cut off again, padded keys are in no other query's band
        q = functional.pad(self.query(query), (0, fill))
        k, v = functional.pad(self.memory(memory), (0, fill)).chunk(2, dim=1)
        q, k, v = (self._stretches(x, size, block) for x, size in ((q, block), (k, span), (v, span)))
        q, k = self._turn(q, self.width), self._turn(k, 0)
        band = self.band[:block, :span].to(q.dtype)
        found = functional.scaled_dot_product_attention(q, k, v, attn_mask=band)
        # (B * count, heads, block, width of a head) -> (B, H, 1, L)
        found = found.unflatten(0, (-1, count)).permute(0, 2, 4, 1, 3).reshape(len(query), -1, 1, count * block)
        return self.out(found[..., :length].contiguous(memory_format=torch.channels_last))

    def _stretches(self, x: torch.Tensor, span: int, block: int) -> torch.Tensor:
        """(B, H, 1, L) -> (B * count, heads, span, width of a head), a stretch every `block` positions."""
        cut = x.squeeze(2).unfold(2, span, block)  # (B, H, count, span)
        return cut.unflatten(1, (self.heads, HEAD_WIDTH)).permute(0, 3, 1, 4, 2).flatten(0, 1)

    def _turn(self, x: torch.Tensor, start: int) -> torch.Tensor:
        """Rotate pairs of channels by their position within the stretch, which begins at `start`."""
        cos, sin = self.angles[:, start : start + x.shape[2]].to(x.dtype)
        a, b = x.chunk(2, dim=-1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos], dim=-1)


class SelfAttention(nn.Module):
    """Norm, banded attention of a sequence to itself, + input: (B, H, 1, L) -> (B, H, 1, L - 2 * width)."""

    def __init__(self, hidden: int, width: int):
        super().__init__()
        self.norm, self.attend, self.reach = nn.BatchNorm2d(hidden), BandedAttention(hidden, width), width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, H, 1, L) with L > 2 * width."""
        y = self.norm(x)
        return crop(x, self.reach) + self.attend(crop(y, self.reach), y)
