"""MetaSpliceModel: sequence, base scores and evidence in three streams, refining the base model (science.md section 3)."""

import torch
from torch import nn
from torch.nn import functional

from libmeta.models.attention import SelfAttention
from libmeta.models.blend import Blend
from libmeta.models.blocks import blocks, convolution, crop, images
from libmeta.models.config import MetaConfig


class Pointwise(nn.Module):
    """Two layers on each position by itself: (B, C, 1, L) -> (B, outputs, 1, L)."""

    def __init__(self, inputs: int, hidden: int, outputs: int):
        super().__init__()
        self.first, self.last = convolution(inputs, hidden), convolution(hidden, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (B, C, 1, L)."""
        return self.last(functional.gelu(self.first(x)))


class OneHot(nn.Module):
    """A tissue's index (...,) -> (..., tissues), without anything to learn."""

    def __init__(self, tissues: int):
        super().__init__()
        self.tissues = tissues

    def forward(self, tissue: torch.Tensor) -> torch.Tensor:
        """tissue: int64."""
        return functional.one_hot(tissue, self.tissues).float()


def embedding(config: MetaConfig) -> nn.Module:
    """What stands for a tissue: a learned vector, itself, or the projection of its profile."""
    if config.tissue_one_hot:
        return OneHot(config.tissues)
    if config.tissues:
        return nn.Embedding(config.tissues, config.tissue_width)
    return nn.Linear(config.tissue_features, config.tissue_width)


class Tissue(nn.Module):
    """What a tissue adds to every position: what stands for it, mapped to H channels.

    Added behind a 1x1 convolution this is the same as constant input channels in front of it.
    """

    def __init__(self, config: MetaConfig):
        super().__init__()
        self.embed = embedding(config)
        self.join = nn.Linear(config.tissue_inputs, config.hidden, bias=False)

    def forward(self, tissue: torch.Tensor) -> torch.Tensor:
        """tissue (B,) int64 index or (B, F) float32 profile -> (B, H, 1, 1)."""
        return self.join(self.embed(tissue))[:, :, None, None]


class TissueHead(nn.Module):
    """A last layer for each tissue: what stands for the tissue makes its weights, so that tissues alike share them."""

    def __init__(self, config: MetaConfig):
        super().__init__()
        self.embed, self.hidden = embedding(config), config.hidden
        self.join = nn.Linear(config.tissue_inputs, 3 * (config.hidden + 1))
        nn.init.zeros_(self.join.weight)  # the start is the base model in every tissue
        nn.init.zeros_(self.join.bias)

    def layers(self, tissue: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """tissue (B, T) int64 index or (B, T, F) float32 profile -> weights (B, T, 3, H) and biases (B, T, 3)."""
        made = self.join(self.embed(tissue)).unflatten(-1, (3, self.hidden + 1))
        return made[..., :-1], made[..., -1]

    def forward(self, x: torch.Tensor, tissue: torch.Tensor) -> torch.Tensor:
        """x (B, H, W), tissue as in layers -> (B, T, 3, W)."""
        weight, bias = self.layers(tissue)
        return torch.einsum("btch,bhw->btcw", weight, x) + bias[..., None]


class MetaSpliceModel(nn.Module):
    """Refined logits of donor, acceptor, neither for W positions from inputs of W + 2 * context positions.

    Every output depends on its own `context` bases on each side and on nothing else, so that tiles of a piece say what
    the piece says.
    """

    kind = "meta"

    def __init__(self, config: MetaConfig):
        super().__init__()
        self.config, hidden = config, config.hidden

        def body(dilations):
            return blocks(hidden, config.kernel, dilations, config.dropout)

        if "sequence" in config.live:
            self.sequence_in, self.sequence = convolution(4, hidden), body(config.sequence_dilations)
        if "base" in config.live:
            self.base = Pointwise(3 * config.base_models, hidden, hidden)
        if "channels" in config.live:
            self.channels_in = convolution(config.channels + config.masks, hidden)
            self.channels = body(config.channel_dilations)
        self.tissue = Tissue(config) if config.tissue_inputs and not config.by_head else None
        self.fusion_in, self.fusion = convolution(len(config.live) * hidden, hidden), body(config.fusion_dilations)
        self.attention = SelfAttention(hidden, config.attention) if config.attention else None
        self.head = Pointwise(hidden, hidden, 3)
        nn.init.zeros_(self.head.last.weight)
        nn.init.zeros_(self.head.last.bias)
        self.tissue_head = TissueHead(config) if config.by_head else None
        self.blend = Blend(config.base_models if "base" in config.live else 0, config.pull, config.pull_to)
        self.to(memory_format=torch.channels_last)

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
        """Logits (B, W, 3), float32: donor, acceptor, neither.

        sequence (B, 4, n) one-hot, base (B, 3 K, n) log-probabilities, channels (B, C, n) scaled with 0 for missing,
        masks (B, M, n) 1 where a modality is there, n = W + 2 * context, in transcript orientation; tissue (B,) int64 or
        (B, F) float32. Where tissues join at the head, tissue is (B, T) or (B, T, F) and the logits are (B, T, W, 3).
        What the network has no stream for is not looked at. ValueError where an input does not fit.
        """
        self.check(sequence, base, channels, masks, tissue)
        config, live = self.config, self.config.live
        added = None if self.tissue is None else self.tissue(tissue)
        streams = []
        if "sequence" in live:
            streams.append(self.sequence(self.sequence_in(self._cut(sequence, "sequence"))))
        if "base" in live:
            streams.append(self.base(self._cut(base, "base")))
        if "channels" in live:
            evidence = torch.cat([x for x, rows in ((channels, config.channels), (masks, config.masks)) if rows], dim=1)
            first = self.channels_in(self._cut(evidence, "channels"))
            if added is not None:
                first, added = first + added, None
            streams.append(self.channels(first))
        x = self.fusion_in(torch.cat(streams, dim=1))
        x = self.fusion(x if added is None else x + added)
        if self.attention is not None:
            x = self.attention(x)
        if self.tissue_head is None:
            z = self.head(x).squeeze(2)
        else:
            x = functional.gelu(self.head.first(x))
            z = self.head.last(x).squeeze(2)[:, None] + self.tissue_head(x.squeeze(2), tissue)
        return self.blend(z, crop(base, self.context) if "base" in live else None)

    def check(self, sequence, base=None, channels=None, masks=None, tissue=None) -> None:
        """ValueError where an input of forward does not fit."""
        config = self.config
        given = {"sequence": (sequence, 4), "base": (base, 3 * config.base_models)}
        given |= {"channels": (channels, config.channels), "masks": (masks, config.masks)}
        check_inputs(given, config.live, self.context)
        if config.tissue_inputs and tissue is None:
            raise ValueError("a network with tissues needs a tissue")

    def _cut(self, x: torch.Tensor, stream: str) -> torch.Tensor:
        """What a stream needs of an input (B, C, n), as an image."""
        return images(crop(x, self.context - self.config.after_fusion - self.config.stream_reach(stream)))


def check_inputs(given: dict, live: tuple[str, ...], context: int) -> None:
    """ValueError unless every input that is looked at has its rows, one length, and more than 2 * context positions.

    given: name -> (tensor (B, rows, n) or None, rows).
    """
    looked_at = [(k, x, rows) for k, (x, rows) in given.items() if rows and ("channels" if k == "masks" else k) in live]
    lengths = {x.shape[2] for _, x, _ in looked_at if x is not None}
    for name, x, rows in looked_at:
        if x is None or x.dim() != 3 or x.shape[1] != rows:
            raise ValueError(f"{name} must be (B, {rows}, n), not {None if x is None else tuple(x.shape)}")
    if len(lengths) > 1 or min(lengths) <= 2 * context:
        raise ValueError(f"inputs must be of one length above {2 * context}, not {sorted(lengths)}")
