"""The fft engine: overlap-save convolution in the frequency domain by a small compiled kernel (fftconv.c).

Kernels of the SpliceAI family are long (11, 21, 41) and channels few (32), so a layer costs about seven times
fewer operations this way than directly. float32, CPU, 32 channels. The kernel is built at installation where
there is a C compiler and picks AVX-512, AVX2 or plain code by the processor it runs on;
MS_NO_KERNEL=1 hides it.
"""

import ctypes
import functools
import importlib.machinery
import os
from pathlib import Path
from threading import Lock

import numpy as np

from libmeta.device import thread_count
from libmeta.engines.base import PooledEngine
from libmeta.resnet import CLASSES, Conv, ResNetWeights, fold

CHANNELS = 32
POINTS = {64: (8, 8), 128: (8, 16), 256: (16, 16)}  # lengths of a transform and the two factors it is done in
GROUP = {
    64: 24,
    128: 12,
    256: 12,
}  # tile pairs multiplied together: few enough for the cache, enough to reuse matrices
COST = {
    64: 1.0,
    128: 1.15,
    256: 1.6,
}  # time per point, measured: matrices and slots of long transforms outgrow the cache
LEVELS = ("portable", "avx2", "avx512")
KERNEL_VERSION = 1  # of fftconv.c: what is compiled must be what is called
HUGE_PAGE, NUMPY_LARGE = 2 << 20, 8 << 20  # bytes
UNTHREADED = 1 << 18  # multiply-adds of a matrix product that OpenBLAS does in the calling thread

_ADVICE = "use --engine torch"


def missing() -> str | None:
    """Why there is no compiled kernel here, with the remedy; None if there is one."""
    if os.environ.get("MS_NO_KERNEL"):
        return f"the compiled kernel is hidden by MS_NO_KERNEL; unset it or {_ADVICE}"
    if _library_path() is None:
        return f"no compiled kernel of the fft engine; install again with a C compiler or {_ADVICE}"
    if _library() is None:
        return f"the compiled kernel {_library_path()} is of another version; install again or {_ADVICE}"
    return None


def unfit(nets: list[ResNetWeights], device: str, dtype: str) -> str | None:
    """Why the fft engine cannot run these networks so, with the remedy; None if it can."""
    if device != "cpu" or dtype != "float32":
        return f"the fft engine runs in float32 on the CPU, not in {dtype} on {device}; {_ADVICE}"
    for net in nets:
        kernels = [conv.kernel for block in net.blocks for conv in (block.conv1, block.conv2)]
        if net.channels != CHANNELS or max(kernels, default=1) > max(POINTS) // 2:
            return (
                f"the fft engine runs networks of {CHANNELS} channels and kernels up to {max(POINTS) // 2}, "
                f"not {net.channels} and {max(kernels, default=1)}; {_ADVICE}"
            )
    return missing()


class FftEngine(PooledEngine):
    """Folded networks in float32 through the compiled kernel; threads work on different pieces and networks.

    level: instruction set, an index of LEVELS, None for the processor's best. Threads do not change results.
    """

    name = "fft"
    piece = 60_000

    def __init__(self, nets: list[ResNetWeights], threads: int | None = None, level: int | None = None):
        super().__init__(nets, thread_count(threads))
        kernel = _Kernel(best_level() if level is None else level)
        self.nets = [_Net(net, kernel) for net in nets]

    def _workspace(self) -> "_Workspace":
        return _Workspace()

    def _run(self, model: int, codes: np.ndarray, workspace: "_Workspace") -> np.ndarray:
        return self.nets[model](codes, workspace)


class _LayerCall(ctypes.Structure):
    """`Layer` of fftconv.c."""

    _fields_ = [
        *[(name, ctypes.c_void_p) for name in ("input", "output", "scale", "shift", "matrices", "bias")],
        *[(name, ctypes.c_void_p) for name in ("twiddles", "work")],
        ("rows", ctypes.c_int64),
        *[(name, ctypes.c_int32) for name in ("kernel", "dilation", "points", "group")],
        ("slope", ctypes.c_float),
    ]


class _Kernel:
    """The compiled functions of one instruction set."""

    def __init__(self, level: int):
        library = _library()
        pointer, rows = ctypes.c_void_p, ctypes.c_int64
        self.layer = library[f"layer_{level}"]
        self.head = library[f"head_{level}"]
        self.embed, self.softmax, self.layer_floats = (
            library["embed"],
            library["softmax"],
            library["layer_floats"],
        )
        self.layer.argtypes = [ctypes.POINTER(_LayerCall)]
        self.head.argtypes = [pointer, rows, pointer, pointer]
        self.embed.argtypes = [pointer, rows, pointer, pointer]
        self.softmax.argtypes = [pointer, rows, pointer]
        self.layer_floats.argtypes, self.layer_floats.restype = [ctypes.c_int, ctypes.c_int], rows
        for function in (self.layer, self.head, self.embed, self.softmax):
            function.restype = None


class _Workspace:
    """Memory of one thread: named blocks of float32 that grow as they must.

    The frequencies of a tile lie on as many pages. Huge pages save most misses of the address cache; numpy
    asks for them where a block is large, so all are.
    """

    def __init__(self) -> None:
        self.blocks: dict[str, np.ndarray] = {}

    def get(self, name: str, size: int) -> int:
        """Address of at least `size` float32, aligned to HUGE_PAGE."""
        if name not in self.blocks or self.blocks[name].size < size:
            self.blocks.pop(name, None)
            pages = -(-4 * size // HUGE_PAGE) + 1
            block = np.empty(max(pages * HUGE_PAGE, NUMPY_LARGE) // 4, np.float32)
            self.blocks[name] = block[-block.ctypes.data % HUGE_PAGE // 4 :]
        return self.blocks[name].ctypes.data


class _ConvLayer:
    """A convolution ready for the kernel, its matrices made for each transform length when first needed."""

    def __init__(self, conv: Conv, slope: float, kernel: _Kernel, scale=None, shift=None):
        self.conv, self.slope, self.kernel = conv, slope, kernel
        self.bias, self.scale, self.shift = (_float32(values) for values in (conv.bias, scale, shift))
        self.matrices: dict[int, np.ndarray] = {}
        self.lock = Lock()

    def __call__(self, source: int, rows: int, target: int, workspace: _Workspace) -> int:
        """Run on (rows, 32) at address source, into or onto target; returns the rows that come out."""
        outputs = rows - 2 * self.conv.reach
        points = cheapest(outputs, self.conv.kernel, self.conv.dilation)
        with self.lock:
            if points not in self.matrices:
                self.matrices[points] = frequency_matrices(self.conv.weight, points)
        group, turns = GROUP[points], twiddles(points)  # held here: of two made at once the cache keeps one
        work = workspace.get("work", self.kernel.layer_floats(points, group))
        call = _LayerCall(
            source, target, _address(self.scale), _address(self.shift), _address(self.matrices[points]),
            _address(self.bias), _address(turns), work, rows, self.conv.kernel, self.conv.dilation,
            points, group, self.slope,
        )  # fmt: skip
        self.kernel.layer(ctypes.byref(call))
        return outputs


class _Net:
    """One folded network: codes (L + 2 * context,) -> probabilities (L, 3) float32."""

    def __init__(self, weights: ResNetWeights, kernel: _Kernel):
        net = fold(weights)
        slope = net.negative_slope
        self.context, self.kernel, self.table = net.context, kernel, _float32(net.table)
        self.head_bias = np.append(net.head_bias, 0).astype(np.float32)
        self.heads = {after: _float32(np.pad(head.T, ((0, 0), (0, 1)))) for after, head in net.heads}
        self.blocks = [
            (
                _ConvLayer(block.conv1, slope, kernel, block.scale, block.shift),
                _ConvLayer(block.conv2, slope, kernel),
            )
            for block in net.blocks
        ]

    def __call__(self, codes: np.ndarray, workspace: _Workspace) -> np.ndarray:
        rows, line = len(codes), CHANNELS * 4
        # The trunk stays where it is: a block adds to the middle of its rows, the rest is no longer used.
        trunk, hidden = workspace.get("trunk", rows * CHANNELS), workspace.get("hidden", rows * CHANNELS)
        self.kernel.embed(codes.ctypes.data, rows, _address(self.table), trunk)
        length = rows - 2 * self.context
        logits = np.tile(self.head_bias, (length, 1))
        for done in range(len(self.blocks) + 1):
            if done:
                first, second = self.blocks[done - 1]
                middle = first(trunk, rows, hidden, workspace)
                trunk += (first.conv.reach + second.conv.reach) * line
                rows = second(hidden, middle, trunk, workspace)
            if done in self.heads:
                centre = trunk + (rows - length) // 2 * line
                self.kernel.head(centre, length, _address(self.heads[done]), logits.ctypes.data)
        scores = np.empty((length, len(CLASSES)), np.float32)
        self.kernel.softmax(logits.ctypes.data, length, scores.ctypes.data)
        return scores


def frequency_matrices(weight: np.ndarray, points: int) -> np.ndarray:
    """What the kernel multiplies with: (points / 2 + 1, 3, in, out) float32 of a (out, in, k) weight.

    H(f) = sum_j w[j] exp(2 pi i f j / points) / points in float64, as Hr, -Hr - Hi, Hi - Hr.
    """
    taps, frequencies = np.arange(weight.shape[2]), np.arange(points // 2 + 1)
    phases = np.exp(2j * np.pi * np.outer(frequencies, taps) / points) / points
    real, imag = phases.real, phases.imag
    # The three are sums over taps as well: one real product, in the order that is wanted.
    waves = np.stack([real, -real - imag, imag - real], axis=1).reshape(-1, len(taps))
    by_tap = weight.transpose(2, 1, 0).reshape(len(taps), -1).astype(np.float64)
    matrices = np.empty((len(waves), by_tap.shape[1]), np.float32)
    # In parts so small that numpy's BLAS starts no threads: they would spin against those that wait for these matrices.
    rows = max(1, UNTHREADED // by_tap.size)
    for start in range(0, len(waves), rows):
        matrices[start : start + rows] = waves[start : start + rows] @ by_tap
    return matrices.reshape(-1, 3, weight.shape[1], weight.shape[0])


@functools.cache
def twiddles(points: int) -> np.ndarray:
    """(points, 2) float32: real and imaginary part of exp(-2 pi i f1 n2 / points) at f1 * R2 + n2."""
    factor1, factor2 = POINTS[points]
    angles = -2 * np.pi * np.outer(np.arange(factor1), np.arange(factor2)).ravel() / points
    return _float32(np.stack([np.cos(angles), np.sin(angles)], axis=1))


def cheapest(outputs: int, kernel: int, dilation: int) -> int:
    """Transform length that gives `outputs` rows of a layer in the least time: tiles times a tile's cost."""

    def cost(points: int) -> float:
        useful = points - kernel + 1
        longest, many = (
            -(-outputs // dilation),
            outputs % dilation or dilation,
        )  # `many` phases have the longest length
        tiles = many * -(-longest // useful) + (dilation - many) * -(-(longest - 1) // useful)
        return tiles * points * COST[points]

    return min((points for points in POINTS if points >= 2 * kernel), key=cost)


def best_level() -> int:
    """The best instruction set of this processor that the kernel has, an index of LEVELS."""
    return _library()["best_level"]()


def _library_path() -> Path | None:
    folder = Path(__file__).parent
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        if (folder / f"_fftconv{suffix}").is_file():
            return folder / f"_fftconv{suffix}"
    return None


@functools.cache
def _library() -> ctypes.CDLL | None:
    """The loaded kernel; None where it does not load or was built from another version of fftconv.c."""
    try:
        library = ctypes.CDLL(str(_library_path()))
        return library if library["kernel_version"]() == KERNEL_VERSION else None
    except (OSError, AttributeError):
        return None


def _float32(values: np.ndarray | None) -> np.ndarray | None:
    return None if values is None else np.ascontiguousarray(values, np.float32)


def _address(values: np.ndarray | None) -> int | None:
    return None if values is None else values.ctypes.data
