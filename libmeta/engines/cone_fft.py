"""Single layers of a network for the cone, through the compiled kernel.

Several sequences of one shape go through a layer at once: their rows are interleaved, (rows, batch, 32), and a
convolution of dilation d becomes one of dilation d * batch, which every d-th row of each sequence is to the kernel
anyway.
"""

from dataclasses import replace

import numpy as np

from libmeta.engines import fft
from libmeta.resnet import Conv, ResNetWeights, fold


class FftLayers:
    """The layers of one folded network. Arrays are float32 and contiguous.

    table: (5, 32) the trunk's rows by sequence code; head_bias: (3,); heads: numbers of blocks after which there is a
    head; reaches, kernels: of both convolutions of every block.
    """

    def __init__(self, weights: ResNetWeights):
        net = fold(weights)
        self.slope, self.context = net.negative_slope, net.context
        self.kernel = fft._Kernel(fft.best_level())
        self.table = np.ascontiguousarray(net.table, np.float32)
        self.head_bias = net.head_bias.astype(np.float32)
        self._heads = {
            after: np.ascontiguousarray(np.pad(head.T, ((0, 0), (0, 1))), np.float32) for after, head in net.heads
        }
        self.heads = frozenset(self._heads)
        self.blocks = net.blocks
        self.reaches = [(block.conv1.reach, block.conv2.reach) for block in net.blocks]
        self.kernels = [(block.conv1.kernel, block.conv2.kernel) for block in net.blocks]
        self._layers: dict[tuple[int, int, int], fft._ConvLayer] = {}

    def first(self, block: int, source: np.ndarray, target: np.ndarray, workspace: fft._Workspace) -> None:
        """Batch norm, activation, first convolution, activation: (n + 2 * reach, B, 32) -> target (n, B, 32)."""
        self._run(block, 0, source, target, workspace)

    def second(self, block: int, source: np.ndarray, target: np.ndarray, workspace: fft._Workspace) -> None:
        """The second convolution of (n + 2 * reach, B, 32), added to target (n, B, 32)."""
        self._run(block, 1, source, target, workspace)

    def head(self, after: int, trunk: np.ndarray) -> np.ndarray:
        """What the trunk (n, B, 32) after so many blocks adds to the logits: (n, B, 3)."""
        rows, batch = trunk.shape[:2]
        logits = np.zeros((rows, batch, 4), np.float32)
        self.kernel.head(trunk.ctypes.data, rows * batch, self._heads[after].ctypes.data, logits.ctypes.data)
        return logits[:, :, :3]

    def _run(self, block: int, which: int, source: np.ndarray, target: np.ndarray, workspace: fft._Workspace) -> None:
        layer = self._layer(block, which, source.shape[1])
        layer(source.ctypes.data, len(source) * source.shape[1], target.ctypes.data, workspace)

    def _layer(self, block: int, which: int, batch: int) -> fft._ConvLayer:
        key = (block, which, batch)
        if key not in self._layers:
            folded = self.blocks[block]
            conv: Conv = (folded.conv1, folded.conv2)[which]
            before = (None, None) if which else (folded.scale, folded.shift)
            layer = fft._ConvLayer(replace(conv, dilation=conv.dilation * batch), self.slope, self.kernel, *before)
            if batch > 1:  # the matrices depend on the weights alone
                alone = self._layer(block, which, 1)
                layer.matrices, layer.lock = alone.matrices, alone.lock
            self._layers[key] = layer
        return self._layers[key]
