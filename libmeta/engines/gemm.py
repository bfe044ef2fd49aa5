"""The gemm engine: overlap-save convolution in the frequency domain whose transforms are matrix products, in torch.

For processors where there is no compiled kernel: nothing but products of float32 matrices, which every torch does at
the processor's peak. A piece lies as (n, C, Q): Q sequences side by side, which are the phases of a dilated convolution
times a few sections of the piece, time first. For N points and a kernel of k taps, a frame of N rows gives U = N - k + 1:

    forward   (N, N)         @ (N, C Q)         real and imaginary parts of N / 2 frequencies by row
    product   (N/2, 2C, 2C)  @ (N/2, 2C, Q)     a complex C x C matrix of each, as a real one
    inverse   (U, N)         @ (N, C Q)         stored, or added to the trunk

Counted in multiplications this is 2.5 times less than direct convolution for the kernels of SpliceAI (11, 21, 41).
"""

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional

from libmeta.device import thread_count
from libmeta.engines.base import PooledEngine
from libmeta.resnet import Conv, FoldedBlock, ResNetWeights, fold

STEP = 16  # transform lengths are multiples of it, as the vectors of processors are
SPARE = 24  # what a column costs beside its own work, in columns: small products run below peak


def unfit(device: str, dtype: str) -> str | None:
    """Why the gemm engine cannot run so, with the remedy; None if it can."""
    if device != "cpu" or dtype != "float32":
        return f"the gemm engine runs in float32 on the CPU, not in {dtype} on {device}; use --engine torch"
    return None


class GemmEngine(PooledEngine):
    """Folded networks in float32 on the CPU; threads work on different pieces and networks, and do not change results."""

    name = "gemm"
    piece = 100_000

    def __init__(self, nets: list[ResNetWeights], threads: int | None = None):
        super().__init__(nets, thread_count(threads))
        self.nets = [_Net(net) for net in nets]

    def _start_thread(self) -> None:
        torch.set_num_threads(1)

    def _stop_threads(self) -> None:
        torch.set_num_threads(self.threads)  # part of torch's setting is shared by all threads

    def _workspace(self) -> "_Memory":
        return _Memory()

    @torch.inference_mode()
    def _run(self, model: int, codes: np.ndarray, workspace: "_Memory") -> np.ndarray:
        return self.nets[model](torch.from_numpy(codes), workspace).numpy()


class _Memory:
    """Float32 arrays of one thread by name, kept between calls and grown as they must."""

    def __init__(self) -> None:
        self.blocks: dict[str, torch.Tensor] = {}

    def get(self, name: str, *shape: int) -> torch.Tensor:
        """An array to work in, with what was left in it."""
        size = math.prod(shape)
        if name not in self.blocks or self.blocks[name].numel() < size:
            self.blocks[name] = torch.empty(size)
        return self.blocks[name][:size].view(shape)


class _Layer:
    """A valid convolution along the first axis of (n, C, Q)."""

    def __init__(self, conv: Conv):
        self.points = cheapest(conv.kernel, len(conv.weight))
        self.lost = conv.kernel - 1  # rows fewer out than in
        forward, products, inverse = matrices(conv.weight, self.points)
        self.forward, self.products, self.inverse = _tensor(forward), _tensor(products), _tensor(inverse)
        self.bias = _tensor(conv.bias * self.points)[:, None]  # what frequency 0 of a constant is

    def __call__(
        self, source: torch.Tensor, count: int, target: torch.Tensor, memory: _Memory, add: bool = False
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Write or add `count` rows to target (n, C, Q); yield each stretch of them (its first row, the rows) when it
        is done, so that what comes next finds it in the cache. Source: (count + lost, C, Q) and `points` rows more.
        """
        points, (_, channels, columns) = self.points, source.shape
        source[count + self.lost : count + self.lost + points] = 0  # of the last frame, whose rounding they would touch
        spectrum, product = (memory.get(name, points, channels * columns) for name in ("spectrum", "product"))
        pairs = (points // 2, 2 * channels, columns)
        constant = product[0].view(channels, columns)
        useful = points - self.lost
        for start in range(0, count, useful):
            torch.mm(self.forward, source[start : start + points].view(points, -1), out=spectrum)
            torch.bmm(self.products, spectrum.view(pairs), out=product.view(pairs))
            constant += self.bias
            rows = target[start : min(start + useful, count)]
            rows.view(len(rows), -1).addmm_(self.inverse[: len(rows)], product, beta=int(add))
            yield start, rows


class _Block:
    """A residual block on (n, C, Q) whose first batch norm and activation were done by what came before."""

    def __init__(self, block: FoldedBlock, slope: float):
        self.slope, self.dilation, self.reach = slope, block.conv1.dilation, block.conv1.reach + block.conv2.reach
        self.scale, self.shift = _tensor(block.scale)[:, None], _tensor(block.shift)[:, None]
        self.first, self.second = _Layer(block.conv1), _Layer(block.conv2)

    def activate(self, trunk: torch.Tensor, target: torch.Tensor) -> None:
        """Batch norm and activation of rows of the trunk into target."""
        # Three plain passes in the cache: torch does a fused multiplication and addition by channel slowly.
        torch.mul(trunk, self.scale, out=target).add_(self.shift)
        functional.leaky_relu_(target, self.slope)


class _Net:
    """One folded network: codes (L + 2 * context,) -> probabilities (L, 3) float32."""

    def __init__(self, weights: ResNetWeights):
        net = fold(weights)
        self.context, self.table = net.context, _tensor(net.table.T)
        self.heads = {after: _tensor(head) for after, head in net.heads}
        self.head_bias = _tensor(net.head_bias)[:, None]
        blocks = [_Block(block, net.negative_slope) for block in net.blocks]
        # Blocks of one dilation go through in one layout, up to where a head looks at the trunk.
        self.groups: list[list[_Block]] = []
        for number, block in enumerate(blocks):
            if number and number not in self.heads and block.dilation == blocks[number - 1].dilation:
                self.groups[-1].append(block)
            else:
                self.groups.append([block])

    def __call__(self, codes: torch.Tensor, memory: _Memory) -> torch.Tensor:
        length, line = len(codes) - 2 * self.context, self.table[:, codes.long()]  # (C, positions)
        logits = self.head_bias.repeat(1, length)
        done = 0
        self._head(done, line, logits)
        for group in self.groups:
            line = _run(group, line, memory)
            done += len(group)
            self._head(done, line, logits)
        return torch.softmax(logits, 0).T.contiguous()

    def _head(self, done: int, line: torch.Tensor, logits: torch.Tensor) -> None:
        if done in self.heads:
            rest = (line.shape[1] - logits.shape[1]) // 2
            logits.addmm_(self.heads[done], line[:, rest : rest + logits.shape[1]])


def _run(group: list[_Block], line: torch.Tensor, memory: _Memory) -> torch.Tensor:
    """Blocks of one dilation: (C, positions) -> (C, positions - 2 * their reach)."""
    dilation, reach = group[0].dilation, sum(block.reach for block in group)
    channels, length = len(line), line.shape[1] - 2 * reach
    count = sections(length, reach, dilation)
    step = -(-length // (count * dilation)) * dilation  # positions that a section gives
    rows = (step + 2 * reach) // dilation
    line = functional.pad(line, (0, count * step - length))
    shape = (rows, channels, count, dilation)
    trunk = memory.get("trunk", rows, channels, count * dilation)
    strides = (dilation, line.stride(0), step, 1)
    trunk.view(shape).copy_(line.as_strided(shape, strides))
    slack = max(layer.points for block in group for layer in (block.first, block.second))
    active, hidden = (memory.get(name, rows + slack, *trunk.shape[1:]) for name in ("active", "hidden"))
    group[0].activate(trunk, active[:rows])
    for block, following in zip(group, [*group[1:], None], strict=True):
        rows -= block.first.lost
        for _, part in block.first(active, rows, hidden, memory):
            functional.leaky_relu_(part, block.slope)
        rows -= block.second.lost
        # In place: the trunk keeps its middle, whose rows are those that come out.
        trunk = trunk[block.reach // dilation :]
        for start, part in block.second(hidden, rows, trunk, memory, add=True):
            if following:
                following.activate(part, active[start : start + len(part)])
    found = trunk[:rows].view(rows, channels, count, dilation).permute(1, 2, 0, 3)
    return found.reshape(channels, -1)[:, :length]


def matrices(weight: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Forward (N, N), products (N / 2, 2C, 2C) and inverse (N - k + 1, N) of a (C, C, k) weight, float64.

    Rows 2f and 2f + 1 of a spectrum are real and imaginary part of frequency f; frequencies 0 and N / 2 are real and
    share the first two. H(f) = sum_j w[j] exp(2 pi i f j / N), and y = inverse . (H x) is y[n] = sum_j w[j] x[n + j].
    """
    channels, half, useful = len(weight), points // 2, points - weight.shape[2] + 1
    waves = np.exp(-2j * np.pi * np.outer(np.arange(half + 1), np.arange(points)) / points)
    pairs = np.stack([waves.real, waves.imag], axis=1)[:half]  # (N / 2, 2, N)
    pairs[0, 1] = waves[half].real
    weigh = np.full((half, 1, 1), 2 / points)
    weigh[0] = 1 / points
    spectrum = np.tensordot(waves[:, : weight.shape[2]].conj(), weight, axes=(1, 2))  # (N / 2 + 1, out, in)
    products = np.block([[spectrum.real, -spectrum.imag], [spectrum.imag, spectrum.real]])[:half]
    products[0, channels:, channels:] = spectrum[half].real
    return pairs.reshape(points, points), products, (pairs * weigh).reshape(points, points).T[:useful]


def cheapest(kernel: int, channels: int) -> int:
    """Length of a transform with the fewest multiplications per row and channel of a convolution."""

    def cost(points: int) -> float:
        useful = points - kernel + 1
        return (points + 2 * channels + useful + SPARE) * points / useful

    return min(range(-(-kernel // STEP) * STEP, 8 * kernel + 2 * STEP, STEP), key=cost)


def sections(length: int, reach: int, dilation: int) -> int:
    """Sections to run side by side: more columns for the products against more context computed twice."""

    def cost(count: int) -> float:
        return count * (-(-length // count) + 2 * reach) * (1 + SPARE / (count * dilation))

    return min(range(1, max(1, 256 // dilation) + 1), key=cost)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(np.ascontiguousarray(values), dtype=torch.float32)
