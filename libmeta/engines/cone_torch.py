"""Single layers of a network for the cone, through torch, where there is no compiled kernel.

The same interface as cone_fft: rows of several sequences are interleaved, (rows, batch, channels), and a convolution of
dilation d becomes one of dilation d * batch.
"""

from dataclasses import replace

import numpy as np
import torch

from libmeta.engines.channels_last import _clamped, _Layer, prepack_available
from libmeta.resnet import ResNetWeights, fold


class TorchLayers:
    """The layers of one folded network on the CPU in float32; see cone_fft.FftLayers."""

    def __init__(self, weights: ResNetWeights):
        net = fold(weights)
        self.slope, self.context = net.negative_slope, net.context
        self.table, self.head_bias = net.table.astype(np.float32), net.head_bias.astype(np.float32)
        self._heads = {after: head.T.astype(np.float32) for after, head in net.heads}
        self.heads = frozenset(self._heads)
        self.reaches = [(block.conv1.reach, block.conv2.reach) for block in net.blocks]
        self.kernels = [(block.conv1.kernel, block.conv2.kernel) for block in net.blocks]
        self._convs, self._inward = [], []
        for block in net.blocks:
            low, high, conv1 = block.scale, block.shift, block.conv1
            if not self.slope:
                low, high, conv1 = _clamped(block)
            self._convs.append((conv1, block.conv2))
            self._inward.append(tuple(torch.tensor(values, dtype=torch.float32) for values in (low, high)))
        self._layers: dict[tuple[int, int, int], _Layer] = {}

    @torch.inference_mode()
    def first(self, block: int, source: np.ndarray, target: np.ndarray, workspace: object) -> None:
        """As FftLayers.first."""
        rows, (low, high) = self._rows(source), self._inward[block]
        if self.slope:
            active = torch.nn.functional.leaky_relu_(torch.addcmul(high, rows, low), self.slope)
        else:
            active = torch.clamp(rows, low, high)
        self._rows(target).copy_(self._layer(block, 0, source.shape[1])(active))

    @torch.inference_mode()
    def second(self, block: int, source: np.ndarray, target: np.ndarray, workspace: object) -> None:
        """As FftLayers.second."""
        self._rows(target).add_(self._layer(block, 1, source.shape[1])(self._rows(source)))

    def head(self, after: int, trunk: np.ndarray) -> np.ndarray:
        """As FftLayers.head."""
        return trunk @ self._heads[after]

    def _rows(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).view(-1, array.shape[2])

    def _layer(self, block: int, which: int, batch: int) -> _Layer:
        key = (block, which, batch)
        if key not in self._layers:
            conv = self._convs[block][which]
            conv = replace(conv, dilation=conv.dilation * batch)
            slope = None if which else self.slope
            self._layers[key] = _Layer(conv, slope, "cpu", torch.float32, prepack_available())
        return self._layers[key]
