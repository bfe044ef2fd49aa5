"""Window classifier: one position's class from the window around it, and the same for many positions at once.

Both forms are one convolutional network. What the window form pools over its window, a long input pools over a sliding
window of that length, so W outputs of a long input are what W windows would say. The sequence-to-sequence form adds
residual blocks over neighbouring outputs (decoder_dilations).
"""

import torch
from torch import nn
from torch.nn import functional

from libmeta.models.attention import BandedAttention
from libmeta.models.blend import Blend
from libmeta.models.blocks import blocks, convolution, crop, dropout, images
from libmeta.models.config import WindowConfig
from libmeta.models.meta import Pointwise, check_inputs


class SequenceEncoder(nn.Module):
    """Parallel convolutions of several lengths, mixed to H channels: (B, 4, 1, L) -> (B, H, 1, L - 2 reach)."""

    def __init__(self, hidden: int, kernels: tuple[int, ...], dropout: float):
        super().__init__()
        self.reach, self.dropout = max(kernels) // 2, dropout
        self.branches = nn.ModuleList(convolution(4, hidden, k) for k in kernels)
        self.norm = nn.BatchNorm2d(hidden * len(kernels))
        self.mix = convolution(hidden * len(kernels), hidden)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, 4, 1, L), one-hot."""
        found = [branch(crop(x, self.reach - branch.kernel_size[1] // 2)) for branch in self.branches]
        x = functional.gelu(self.norm(torch.cat(found, dim=1)))
        return functional.gelu(self.mix(dropout(x, self.dropout) if self.training and self.dropout else x))


class WindowClassifier(nn.Module):
    """Refined logits of donor, acceptor, neither for W positions from inputs of W + 2 * context positions."""

    def __init__(self, config: WindowConfig):
        super().__init__()
        self.config, hidden = config, config.hidden
        self.sequence = SequenceEncoder(hidden, config.kernels, config.dropout)
        self.width = config.window // 2 - self.sequence.reach  # features pooled on each side of a position
        self.scores = None
        if config.scores:
            self.scores = nn.Sequential(
                convolution(config.scores, hidden, config.score_width), nn.GELU(), convolution(hidden, hidden)
            )
        self.attention = BandedAttention(hidden, self.width) if config.fusion == "attention" else None
        parts = (2 if self.attention is not None else 3) + (self.scores is not None)
        self.fuse = Pointwise(parts * hidden, hidden, hidden)
        self.decoder = blocks(hidden, config.decoder_kernel, config.decoder_dilations, config.dropout)
        self.head = Pointwise(hidden, hidden, 3)
        nn.init.zeros_(self.head.last.weight)
        nn.init.zeros_(self.head.last.bias)
        self.blend = Blend(config.base_models, config.pull, config.pull_to)
        self.to(memory_format=torch.channels_last)

    @property
    def kind(self) -> str:
        """ "window", or "seq2seq" with a decoder."""
        return "seq2seq" if self.config.decoder_dilations else "window"

    @property
    def context(self) -> int:
        """Bases on each side that an output depends on."""
        return self.config.context

    def forward(
        self,
        sequence: torch.Tensor,
        base: torch.Tensor | None = None,
        channels: torch.Tensor | None = None,
        masks: torch.Tensor | None = None,
        tissue: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Logits (B, W, 3), float32; arguments as MetaSpliceModel's (tissue is not looked at)."""
        self.check(sequence, base, channels, masks)
        config = self.config
        features = self.sequence(images(sequence))
        parts = [crop(features, self.width)]
        if self.scores is not None:
            counts = (3 * config.base_models, config.channels, config.masks)
            rows = torch.cat([x for x, count in zip((base, channels, masks), counts, strict=True) if count], dim=1)
            parts.append(self.scores(images(crop(rows, config.window // 2 - config.score_width // 2))))
        if self.attention is not None:
            parts.append(self.attention(parts[-1], features))
        else:
            span = 2 * self.width + 1
            parts += [sliding(features, span, torch.add) / span, sliding(features, span, torch.maximum)]
        x = self.decoder(self.fuse(torch.cat(parts, dim=1)))
        z = self.head(x).squeeze(2)
        return self.blend(z, crop(base, self.context) if config.base_models else None)

    def check(self, sequence, base=None, channels=None, masks=None, tissue=None) -> None:
        """ValueError where an input of forward does not fit."""
        config = self.config
        given = {"sequence": (sequence, 4), "base": (base, 3 * config.base_models)}
        given |= {"channels": (channels, config.channels), "masks": (masks, config.masks)}
        check_inputs(given, ("sequence", "base", "channels"), self.context)


def sliding(x: torch.Tensor, span: int, join) -> torch.Tensor:
    """`join` (torch.add, torch.maximum) over every `span` neighbours of the last dimension: (..., L) -> (..., L - span + 1).

    By doubling: stretches of 1, 2, 4, ... are joined, and those that make up `span` are laid end to end.
    """
    length = x.shape[-1] - span + 1
    found, done, size = None, 0, 1
    while True:
        if span & size:
            part = x[..., done : done + length]
            found = part if found is None else join(found, part)
            done += size
        if done == span:
            return found
        x, size = join(x[..., :-size], x[..., size:]), 2 * size
