"""The three-stream network as one writes it first: conv1d with padding. The peer in speed of libmeta.models."""

import torch
from torch import nn


class _Block(nn.Module):
    def __init__(self, hidden: int, kernel: int, dilation: int):
        super().__init__()

        def half():
            conv = nn.Conv1d(hidden, hidden, kernel, dilation=dilation, padding="same")
            return nn.Sequential(nn.BatchNorm1d(hidden), nn.GELU(), conv, nn.Dropout(0.1))

        self.body = nn.Sequential(half(), half())

    def forward(self, x):
        return x + self.body(x)


class PlainMeta(nn.Module):
    """Same layers and sizes as MetaSpliceModel; the context is cut off at the end."""

    context = 300

    def __init__(self, channels: int, hidden: int = 32):
        super().__init__()

        def stream(inputs, dilations):
            return nn.Sequential(nn.Conv1d(inputs, hidden, 1), *(_Block(hidden, 11, d) for d in dilations))

        self.sequence = stream(4, (1, 1, 1, 1, 4, 4, 4, 4))
        self.base = nn.Sequential(nn.Conv1d(3, hidden, 1), nn.GELU(), nn.Conv1d(hidden, hidden, 1))
        self.channels = stream(channels, (1, 1, 4, 4))
        self.fusion = stream(3 * hidden, (1, 1, 4, 4))
        self.head = nn.Sequential(nn.Conv1d(hidden, hidden, 1), nn.GELU(), nn.Conv1d(hidden, 3, 1))

    def forward(self, sequence, base, channels):
        x = torch.cat([self.sequence(sequence), self.base(base), self.channels(channels)], 1)
        out = self.head(self.fusion(x)) + base
        return out[..., self.context : -self.context].transpose(1, 2)
