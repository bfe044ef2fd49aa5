"""The gemm engine: its layers are direct convolutions, at every length and whatever was left in its memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import custom_net, random_codes, random_net

from libmeta import engines
from libmeta.engines import gemm
from libmeta.engines.gemm import GemmEngine
from libmeta.resnet import Conv

FLOAT32 = 1e-5


def exact(nets, codes):
    return engines.build(nets, "reference", dtype="float64").score(codes)


class Poisoned(gemm._Memory):
    """Memory in which nothing but NaN was left."""

    def get(self, name, *shape):
        return super().get(name, *shape).fill_(torch.nan)


def layer_error(kernel, count, columns, channels, add, seed=0):
    """Largest difference of one layer from the direct convolution in float64; what it must not write stays as it is."""
    random = np.random.default_rng(seed)
    weight = random.standard_normal((channels, channels, kernel)) / np.sqrt(channels * kernel)
    conv = Conv(weight, random.standard_normal(channels))
    rows = random.standard_normal((count + kernel - 1, channels, columns))
    before = random.standard_normal((count + 5, channels, columns))
    layer = gemm._Layer(conv)
    source = torch.full((len(rows) + layer.points, channels, columns), torch.nan)
    source[: len(rows)] = torch.tensor(rows)
    target = torch.tensor(before, dtype=torch.float32)
    stretches = list(layer(source, count, target, Poisoned(), add))
    assert [start for start, _ in stretches] == list(range(0, count, layer.points - kernel + 1))
    assert sum(len(part) for _, part in stretches) == count
    wanted = sum(np.einsum("oi,niq->noq", weight[:, :, j], rows[j : j + count]) for j in range(kernel))
    wanted += conv.bias[:, None] + (before[:count] if add else 0)
    assert np.array_equal(target[count:].numpy(), before[count:].astype(np.float32))
    return np.abs(target[:count].numpy() - wanted).max()


@pytest.mark.parametrize("kernel", [1, 3, 11, 21, 41, 131])
@pytest.mark.parametrize("add", [True, False])
def test_layer_around_the_edges_of_frames(kernel, add):
    useful = gemm.cheapest(kernel, 32) - kernel + 1
    for count in (1, useful - 1, useful, useful + 1, 3 * useful):
        if count:
            assert layer_error(kernel, count, 5, 32, add) < FLOAT32, count


@settings(max_examples=30, deadline=None)
@given(
    half=st.integers(0, 25),
    count=st.integers(1, 300),
    columns=st.integers(1, 40),
    channels=st.integers(1, 40),
    add=st.booleans(),
)
def test_layer_of_any_shape(half, count, columns, channels, add):
    assert layer_error(2 * half + 1, count, columns, channels, add, seed=count) < FLOAT32


def test_transforms_are_a_convolution():
    random = np.random.default_rng(0)
    weight, rows = random.standard_normal((3, 3, 5)), random.standard_normal((16, 3))
    forward, products, inverse = gemm.matrices(weight, 16)
    spectrum = (forward @ rows).reshape(8, 6, 1)
    found = inverse @ (products @ spectrum).reshape(16, 3)
    wanted = sum(rows[j : j + 12] @ weight[:, :, j].T for j in range(5))
    assert np.abs(found - wanted).max() < 1e-12


def test_transforms_fit_the_kernels():
    for kernel in range(1, 200, 2):
        points = gemm.cheapest(kernel, 32)
        assert points % gemm.STEP == 0 and points >= kernel
    assert [gemm.cheapest(kernel, 32) for kernel in (11, 21, 41)] == [32, 48, 96]


def test_sections_trade_columns_for_context():
    assert gemm.sections(1, 5000, 1) == 1
    assert gemm.sections(60_000, 4000, 25) < gemm.sections(600_000, 4000, 25)
    assert 128 <= gemm.sections(60_000, 40, 1) <= 256


@pytest.mark.parametrize(("context", "slope", "eps"), [(5000, 0.0, 1e-3), (5000, 0.1, 1e-5), (1000, 0.1, 1e-5)])
def test_networks_equal_float64(context, slope, eps):
    nets = [random_net(context, slope, eps, seed=seed) for seed in range(2)]
    for length in (1, 26, 1500):
        codes = random_codes(length, context)
        assert np.abs(GemmEngine(nets).score(codes) - exact(nets, codes)).max() < 2e-6


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 700), seed=st.integers(0, 99))
def test_any_length_of_odd_shapes(length, seed):
    shapes = [(9, 3), (5, 2), (5, 2), (3, 7), (11, 1)]
    nets = [custom_net(shapes, 0.1, 1e-5, seed, channels=24, every=3)]
    codes = random_codes(length, nets[0].context, seed)
    assert np.abs(GemmEngine(nets).score(codes) - exact(nets, codes)).max() < FLOAT32


def test_what_was_left_in_memory_does_not_matter(monkeypatch):
    nets, codes = [random_net(200)], random_codes(2000, 200)
    fresh = GemmEngine(nets).score(codes)
    monkeypatch.setattr(gemm, "_Memory", Poisoned)
    assert np.array_equal(GemmEngine(nets).score(codes), fresh)


def test_threads_and_order_do_not_change_the_numbers():
    nets = [random_net(200, seed=seed) for seed in range(3)]
    codes, other = random_codes(3000, 200), random_codes(4000, 200, seed=1)
    built = {threads: engines.build(nets, "gemm", threads=threads) for threads in (1, 2, 5)}
    for engine in built.values():
        engine.piece = 700
    scores = built[1].score(codes)
    for engine in built.values():
        engine.score(other)
        assert np.array_equal(engine.score(codes), scores)
    each = built[2].score_each(codes)
    assert each.shape == (3, 3000, 3) and np.array_equal(each.mean(0), scores)


def test_torch_keeps_its_threads():
    before = torch.get_num_threads()
    try:
        engine = engines.build([random_net(40)], "gemm", threads=2)
        engine.score(random_codes(100, 40))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
