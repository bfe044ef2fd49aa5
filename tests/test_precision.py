"""bfloat16 on real DNA with the real weights: what it may move and what it must not."""

import numpy as np
import pytest
from conftest import DATA
from sklearn.metrics import average_precision_score
from test_basemodels import real_spliceai

from libmeta import engines
from libmeta.basemodels import spliceai
from libmeta.genome import Genome
from libmeta.sites import build

START, END = 48_408_000, 48_528_000  # the second half of FBN1, minus strand


@pytest.fixture(scope="module")
def scores():
    nets = spliceai.read(real_spliceai()[:2])
    genome = Genome(DATA / "chr15.fa.gz")
    codes = genome.codes("chr15", START - 5000, END + 5000, "-")
    exact, low = (engines.build(nets, dtype=d).score(codes)[::-1] for d in ("float32", "bfloat16"))
    sites = build(genome, [{"name": "all", "gtf": DATA / "spliceai.grch38.txt", "tag": None}], genes={"FBN1"}).table
    kind = np.full(END - START, 2)
    for pos, site in zip(sites["pos"].to_pylist(), sites["site"].to_pylist(), strict=True):
        if START <= pos < END:
            kind[pos - START] = ("donor", "acceptor").index(site)
    return exact, low, kind


def test_bf16_moves_no_score_far_and_no_argmax(scores):
    exact, low, _ = scores
    assert np.abs(exact - low).max() < 0.02
    strong = exact[:, :2].max(axis=1) >= 0.1
    assert strong.sum() > 50
    assert (exact.argmax(1) == low.argmax(1))[strong].all()


def test_bf16_leaves_average_precision(scores):
    exact, low, kind = scores
    for k in (0, 1):
        assert (kind == k).sum() > 30
        a, b = (average_precision_score(kind == k, s[:, k]) for s in (exact, low))
        assert a > 0.9
        assert b == pytest.approx(a, abs=0.001)
