"""The compiled kernel: exact on every instruction set, at every length, and absent without harm."""

import shutil
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import custom_net, random_codes, random_net

from libmeta import engines
from libmeta.engines import fft
from libmeta.errors import MetaError
from libmeta.resnet import Conv

FLOAT32 = 1e-5
SOURCE = Path(fft.__file__).with_name("fftconv.c")


@pytest.fixture(scope="module", autouse=True)
def compiled(tmp_path_factory):
    """The installed kernel; where there is none, one compiled here; where there is no compiler, no tests."""
    if fft._library_path() is not None:
        yield
        return
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no compiled kernel is installed and there is no C compiler")
    path = tmp_path_factory.mktemp("kernel") / "_fftconv.so"
    flags = ["-O2", "-ffp-contract=fast", "-fno-math-errno", "-fPIC", "-shared", "-w"]
    subprocess.run([compiler, *flags, "-o", path, SOURCE, "-lm"], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fft, "_library_path", lambda: path)
        fft._library.cache_clear()
        yield
    fft._library.cache_clear()


@pytest.fixture(autouse=True)
def shown(monkeypatch):
    monkeypatch.delenv("MS_NO_KERNEL", raising=False)


@pytest.fixture(params=range(len(fft.LEVELS)), ids=fft.LEVELS)
def level(request):
    if request.param > fft.best_level():
        pytest.skip(f"this processor has no {fft.LEVELS[request.param]}")
    return request.param


def exact(nets, codes):
    return engines.build(nets, "reference", dtype="float64").score(codes)


def direct(rows, conv):
    """A valid dilated convolution of (L, 32) in float64."""
    count = len(rows) - 2 * conv.reach
    taps = [rows[j * conv.dilation :][:count] @ conv.weight[:, :, j].T for j in range(conv.kernel)]
    return sum(taps) + conv.bias


def guarded(rows):
    """rows (n, 32) float32 between rows of NaN, not to be read or written; returns (all, address, view)."""
    everything = np.full((len(rows) + 600, 32), np.nan, np.float32)
    view = everything[300 : 300 + len(rows)]
    view[:] = rows
    return everything, view.ctypes.data, view


def run_layer(kernel, dilation, outputs, points, level, first, seed=0):
    """Largest difference of one kernel call from the direct convolution, all around it untouched."""
    random = np.random.default_rng(seed)
    weight = random.standard_normal((32, 32, kernel)) / np.sqrt(32 * kernel)
    conv, slope = Conv(weight, random.standard_normal(32), dilation), 0.1
    scale, shift = (random.standard_normal((2, 32)).astype(np.float32)) if first else (None, None)
    rows = random.standard_normal((outputs + 2 * conv.reach, 32)).astype(np.float32)
    before = random.standard_normal((outputs, 32)).astype(np.float32)
    around_in, source, _ = guarded(rows)
    around_out, target, out = guarded(before)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fft, "cheapest", lambda *_: points)
        layer = fft._ConvLayer(conv, slope, fft._Kernel(level), scale, shift)
        assert layer(source, len(rows), target, fft._Workspace()) == outputs
    if first:
        wanted = direct(leaky(rows.astype(np.float64) * scale + shift, slope), conv)
        wanted = leaky(wanted, slope)
    else:
        wanted = before + direct(rows.astype(np.float64), conv)
    for everything, inner in ((around_in, len(rows)), (around_out, outputs)):
        assert np.isnan(everything[:300]).all() and np.isnan(everything[300 + inner :]).all()
    return np.abs(out - wanted).max()


def leaky(values, slope):
    return np.where(values > 0, values, slope * values)


@pytest.mark.parametrize("points", fft.POINTS)
@pytest.mark.parametrize("first", [True, False])
def test_layer_equals_direct_convolution(level, points, first):
    for kernel, dilation, outputs in (
        (1, 1, 700),
        (11, 4, 900),
        (21, 10, 2000),
        (31, 3, 50),
        (3, 25, 7),
        (9, 2, 1),
    ):
        assert run_layer(kernel, dilation, outputs, points, level, first) < FLOAT32


@settings(max_examples=40, deadline=None)
@given(
    half=st.integers(0, 20),
    dilation=st.integers(1, 30),
    outputs=st.integers(1, 1500),
    points=st.sampled_from(list(fft.POINTS)),
    first=st.booleans(),
)
def test_layer_of_any_shape(half, dilation, outputs, points, first):
    assert run_layer(2 * half + 1, dilation, outputs, points, fft.best_level(), first, seed=outputs) < FLOAT32


@pytest.mark.parametrize("points", fft.POINTS)
def test_whole_groups_and_the_rest(points):
    useful = points - 10
    pair = 2 * useful
    for outputs in (
        useful,
        pair,
        pair + 1,
        12 * pair,
        12 * pair + 1,
        fft.GROUP[points] * pair + useful,
        3 * 12 * pair,
    ):
        assert run_layer(11, 1, outputs, points, fft.best_level(), True) < FLOAT32


def test_cheapest_prefers_short_transforms_for_short_pieces():
    assert fft.cheapest(50_000, 41, 25) == 128
    assert fft.cheapest(50, 11, 4) == 64
    assert fft.cheapest(50_000, 101, 1) == 256
    assert {fft.cheapest(outputs, 11, 25) for outputs in range(1, 5000, 37)} <= set(fft.POINTS)


@pytest.mark.parametrize(("context", "slope", "eps"), [(5000, 0.0, 1e-3), (5000, 0.1, 1e-5), (1000, 0.1, 1e-5)])
def test_engine_equals_float64(context, slope, eps):
    nets, codes = [random_net(context, slope, eps)], random_codes(200, context)
    wanted = exact(nets, codes)
    for level in range(fft.best_level() + 1):
        scores = fft.FftEngine(nets, 1, level).score(codes)
        assert scores.dtype == np.float32 and np.abs(scores - wanted).max() < FLOAT32, fft.LEVELS[level]


@pytest.mark.parametrize("length", [1, 2, 3, 17, 1111])
@pytest.mark.parametrize("context", [40, 200])
def test_any_length(length, context):
    nets = [random_net(context, seed=seed) for seed in (0, 1)]
    codes = random_codes(length, context)
    scores = engines.build(nets, "fft").score(codes)
    assert scores.shape == (length, 3) and np.abs(scores - exact(nets, codes)).max() < FLOAT32


def test_odd_shapes():
    nets = [custom_net([(9, 3), (41, 7), (3, 40), (101, 1)], 0.1, 1e-5, seed, every=2) for seed in (0, 1)]
    codes = random_codes(501, nets[0].context)
    assert np.abs(engines.build(nets, "fft").score(codes) - exact(nets, codes)).max() < FLOAT32


def test_unknown_sequence():
    net = random_net(200)
    codes = np.zeros(900, np.uint8)
    scores = engines.build([net], "fft").score(codes)
    assert np.abs(scores - exact([net], codes)).max() < FLOAT32
    assert np.abs(scores - scores[0]).max() < FLOAT32


def test_threads_and_repeats_give_the_same_bytes():
    nets = [random_net(200, seed=seed) for seed in range(3)]
    codes, other = random_codes(3000, 200), random_codes(4000, 200, seed=1)
    built = {threads: engines.build(nets, "fft", threads=threads) for threads in (1, 2, 5)}
    for engine in built.values():
        engine.piece = 700
    scores = built[1].score(codes)
    for engine in built.values():
        engine.score(other)  # leaves its traces in the memory that the next call uses
        assert np.array_equal(engine.score(codes), scores)
    each = built[2].score_each(codes)
    assert each.shape == (3, 3000, 3) and np.array_equal(each.mean(0), scores)


def test_factors_live_as_long_as_the_call(monkeypatch):
    """Of arrays that two threads make at once the cache keeps one; the kernel still reads the other."""
    alive = []

    def fresh(points, made=fft.twiddles.__wrapped__):
        array = made(points)
        alive.append(weakref.ref(array))
        return array

    layer = fft._ConvLayer(Conv(np.ones((32, 32, 11), np.float32), np.zeros(32), 1), 0.0, fft._Kernel(0))
    seen = []
    layer.kernel.layer = lambda call: seen.append(alive[-1]() is not None)
    monkeypatch.setattr(fft, "twiddles", fresh)
    rows = np.zeros((200, 32), np.float32)
    layer(rows.ctypes.data, 200, rows.ctypes.data, fft._Workspace())
    assert seen == [True]


def test_tiling_equals_one_piece():
    nets = [random_net(200)]
    engine, codes = engines.build(nets, "fft"), random_codes(2000, 200)
    whole = engine.score(codes)
    for piece in (1999, 333, 50):
        engine.piece = piece
        assert np.abs(engine.score(codes) - whole).max() < 2e-6


def test_what_does_not_fit():
    assert "16 and 11; use --engine torch" in fft.unfit([random_net(40, channels=16)], "cpu", "float32")
    assert "not 32 and 131" in fft.unfit([custom_net([(131, 1)])], "cpu", "float32")
    assert fft.unfit([random_net(40)], "cpu", "float32") is None
    with pytest.raises(MetaError, match="float32 on the CPU, not in bfloat16 on cpu; use --engine torch"):
        engines.build([random_net(40)], "fft", dtype="bfloat16")


def test_hidden_kernel(monkeypatch):
    assert engines.available() == ("fft", "gemm", "torch", "reference")
    assert engines.build([random_net(40)]).name == "fft"
    monkeypatch.setenv("MS_NO_KERNEL", "1")
    assert engines.available() == ("gemm", "torch", "reference")
    assert engines.build([random_net(40)]).name == "gemm"
    with pytest.raises(MetaError, match="hidden by MS_NO_KERNEL; unset it or use --engine torch"):
        engines.build([random_net(40)], "fft")


def test_no_kernel_installed(monkeypatch):
    monkeypatch.setattr(fft, "_library_path", lambda: None)
    assert engines.build([random_net(40)]).name == "gemm"
    with pytest.raises(MetaError, match="install again with a C compiler or use --engine torch"):
        engines.build([random_net(40)], "fft")


@pytest.mark.skipif(sys.platform == "win32" or not shutil.which("cc"), reason="there is no C compiler")
def test_the_source_compiles_without_warnings(tmp_path):
    flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-Wno-psabi", "-Wno-unknown-pragmas", "-fPIC", "-shared"]
    subprocess.run(["cc", *flags, "-o", tmp_path / "k.so", SOURCE, "-lm"], check=True, capture_output=True)
