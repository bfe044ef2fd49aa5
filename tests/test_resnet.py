"""Every engine gives the numbers of the plain network in float64."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from random_weights import custom_net, random_codes, random_net

from libmeta import engines
from libmeta.engines import channels_last
from libmeta.engines.base import cuts
from libmeta.engines.reference import PlainResNet, one_hot
from libmeta.errors import MetaError
from libmeta.resnet import check, fold

SPLICEAI = {"slope": 0.0, "eps": 1e-3}
OPENSPLICEAI = {"slope": 0.1, "eps": 1e-5}
FLOAT32 = 1e-5
BFLOAT16 = 0.02


def exact(nets, codes):
    return engines.build(nets, "reference", dtype="float64").score(codes)


def far(ours, reference):
    assert ours.dtype == np.float32 and ours.shape == reference.shape
    return float(np.abs(ours - reference).max())


@pytest.mark.parametrize(
    ("context", "family"),
    [(5000, SPLICEAI), (5000, OPENSPLICEAI), (1000, OPENSPLICEAI), (200, OPENSPLICEAI), (40, OPENSPLICEAI)],
)
def test_engines_equal_float64(context, family):
    nets = [random_net(context, **family, seed=seed) for seed in range(1 if context > 1000 else 2)]
    codes = random_codes(200, context)
    assert nets[0].context == context
    wanted = exact(nets, codes)
    for engine in ("reference", "torch", "gemm"):
        assert far(engines.build(nets, engine).score(codes), wanted) < FLOAT32, engine


def test_probabilities_of_the_random_networks_spread():
    scores = exact([random_net(200)], random_codes(2000, 200))
    assert scores.min() < 0.1 and scores.max() > 0.9
    assert np.allclose(scores.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("family", [SPLICEAI, OPENSPLICEAI])
def test_bfloat16_is_near(family):
    nets = [random_net(200, **family, seed=seed) for seed in range(5)]
    codes = random_codes(500, 200)
    # Random networks amplify rounding more than trained ones do; the bound of trained ones is in
    # test_basemodels.
    assert far(engines.build(nets, "torch", dtype="bfloat16").score(codes), exact(nets, codes)) < 5 * BFLOAT16


def test_without_the_private_operators(monkeypatch):
    nets = [random_net(200, **family) for family in (SPLICEAI,)]
    codes = random_codes(400, 200)
    monkeypatch.setattr(channels_last, "prepack_available", lambda dtype: False)
    assert far(engines.build(nets, "torch").score(codes), exact(nets, codes)) < FLOAT32
    leaky = [random_net(200, **OPENSPLICEAI)]
    assert far(engines.build(leaky, "torch").score(codes), exact(leaky, codes)) < FLOAT32


@pytest.mark.parametrize("engine", ["reference", "torch", "gemm"])
def test_other_channels_and_shapes(engine):
    nets = [custom_net([(9, 3), (5, 2), (3, 7)], 0.1, 1e-5, seed, channels=24, every=2) for seed in (0, 1)]
    codes = random_codes(77, nets[0].context)
    assert far(engines.build(nets, engine).score(codes), exact(nets, codes)) < FLOAT32


@pytest.mark.parametrize("engine", ["reference", "torch", "gemm"])
@pytest.mark.parametrize("length", [1, 2, 7, 999])
def test_any_length(engine, length):
    nets = [random_net(200)]
    codes = random_codes(length, 200)
    scores = engines.build(nets, engine).score(codes)
    assert scores.shape == (length, 3)
    assert far(scores, exact(nets, codes)) < FLOAT32


@pytest.mark.parametrize("engine", ["reference", "torch", "gemm"])
def test_tiling_equals_one_piece(engine):
    nets = [random_net(200, seed=seed) for seed in (0, 1)]
    codes = random_codes(1000, 200)
    built = engines.build(nets, engine)
    whole, each = built.score(codes), built.score_each(codes)
    for piece in (1000, 501, 97):
        built.piece = piece
        assert far(built.score(codes), whole) < 2e-6
        assert far(built.score_each(codes), each) < 2e-6
    assert np.allclose(each.mean(0), whole, atol=1e-7)


def test_score_each_is_each_network():
    nets = [random_net(40, seed=seed) for seed in range(3)]
    codes = random_codes(60, 40)
    each = engines.build(nets, "torch").score_each(codes)
    assert each.shape == (3, 60, 3)
    for number, net in enumerate(nets):
        assert far(each[number], exact([net], codes)) < FLOAT32


@given(st.integers(1, 10_000), st.integers(1, 3000))
def test_cuts_tile_the_length(length, piece):
    bounds = cuts(length, piece)
    assert bounds[0][0] == 0 and bounds[-1][1] == length
    assert all(before[1] == after[0] for before, after in itertools.pairwise(bounds))
    sizes = [stop - start for start, stop in bounds]
    assert min(sizes) >= 1 and max(sizes) <= piece and max(sizes) - min(sizes) <= 1


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(0, 40))
def test_a_window_of_a_longer_score(seed, length, offset):
    nets = [custom_net([(5, 1), (5, 3)])]
    context = nets[0].context
    codes = random_codes(100, context, seed)
    engine = engines.build(nets, "torch")
    part = engine.score(codes[offset : offset + length + 2 * context])
    assert far(part, engine.score(codes)[offset : offset + length]) < 2e-6


def test_unknown_bases_are_all_zero():
    codes = np.array([0, 1, 2, 3, 4], np.uint8)
    assert one_hot(codes, torch.float32)[0].T.tolist() == [[0] * 4, *np.eye(4).tolist()]
    net = random_net(40)
    table = fold(net).table
    assert np.allclose(table[0], net.initial.bias) and np.allclose(
        table[3], net.initial.bias + net.initial.weight[:, 2, 0]
    )


def test_the_plain_network_takes_a_batch():
    net = random_net(40)
    codes = [random_codes(30, 40, seed) for seed in range(4)]
    batch = torch.cat([one_hot(each, torch.float64) for each in codes])
    probabilities = PlainResNet(net).double()(batch)
    assert probabilities.shape == (4, 3, 30)
    for row, each in zip(probabilities, codes, strict=True):
        assert far(exact([net], each), row.T.numpy()) < 1e-6


@pytest.mark.parametrize(
    "codes",
    [
        np.zeros(80, np.uint8),
        np.zeros(100, np.int64),
        np.full(100, 5, np.uint8),
        np.zeros((100, 1), np.uint8),
    ],
)
def test_codes_that_are_not_codes(codes):
    with pytest.raises(ValueError, match="codes must be"):
        engines.build([random_net(40)], "torch").score(codes)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"engine": "quantum"}, "unknown engine quantum; choose one of auto"),
        ({"engine": "torch", "dtype": "float64"}, "the torch engine has no float64; choose"),
        ({"engine": "fft", "dtype": "bfloat16"}, "--engine torch"),
        ({"engine": "fft", "device": "cuda"}, "--engine torch"),
        ({"engine": "gemm", "dtype": "bfloat16"}, "the gemm engine runs in float32 on the CPU, .* --engine torch"),
        ({"engine": "gemm", "device": "cuda"}, "--engine torch"),
    ],
)
def test_what_an_engine_cannot_do(asked, message):
    with pytest.raises(MetaError, match=message):
        engines.build([random_net(40)], **asked)


def test_networks_that_do_not_go_together():
    with pytest.raises(MetaError, match="different contexts"):
        engines.build([random_net(40), random_net(200)])
    with pytest.raises(MetaError, match="no networks"):
        engines.build([])


def test_auto_takes_what_fits():
    assert set(engines.available()) <= set(engines.NAMES)
    assert engines.build([random_net(40)]).name == engines.available()[0]
    assert engines.build([random_net(40)], dtype="bfloat16").name == "torch"
    assert engines.build([random_net(40, channels=16)]).name == "gemm"


def test_check_names_what_is_wrong():
    net = random_net(40)
    net.blocks[2].bn1.gamma[3] = np.nan
    with pytest.raises(MetaError, match=r"not finite numbers, in x\.h5"):
        check(net, "in x.h5")
