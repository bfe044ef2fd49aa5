"""Which positions become rows, and that their weights give true prevalence back."""

import numpy as np
import pytest
from conftest import random_sequence
from hypothesis import given
from hypothesis import strategies as st

from libmeta.errors import MetaError
from libmeta.features import Window
from libmeta.genome import encode, reverse_complement
from libmeta.sampling import Sampling, draw, splice_dinucleotides, uniform

NONE = np.zeros(0, np.int64)


def window(length, strand="+", start=1000):
    return Window(None, "c", start, start + length, strand)


@given(st.text("ACGTN", min_size=5, max_size=80))
def test_dinucleotides_by_brute_force(text):
    expected = [text[i + 1 : i + 3] in ("GT", "GC") or text[i - 2 : i] == "AG" for i in range(2, len(text) - 2)]
    assert splice_dinucleotides(encode(text)).tolist() == expected


def test_weights_sum_to_the_region():
    codes = encode(random_sequence(400_004))
    for rate, background in ((0.1, 0.01), (1.0, 0.05), (0.0, 1.0)):
        sampling = Sampling(dinucleotide=rate, background=background)
        positions, weights = draw(sampling, window(400_000), codes, None, NONE)
        assert weights.sum() == pytest.approx(400_000, rel=0.03)
        if background == 1:
            assert len(positions) == 400_000


def test_certain_positions():
    codes = encode("A" * 1004)
    score = np.zeros(1000, np.float32)
    score[[5, 500]] = 0.01, 0.5
    positions, weights = draw(Sampling(background=1e-9), window(1000), codes, score, np.array([1007, 1999]))
    assert positions.tolist() == [1005, 1007, 1500, 1999]
    assert weights.tolist() == [1, 1, 1, 1]


def test_unknown_bases_are_left_out():
    codes = encode("A" * 52 + "N" * 50 + "A" * 52)
    positions, _ = draw(Sampling(background=1), window(150), codes, None, NONE)
    assert len(positions) == 100
    assert not ((positions >= 1050) & (positions < 1100)).any()


def test_draw_does_not_depend_on_the_window():
    text = encode(random_sequence(5004))
    whole, weight = draw(Sampling(), window(5000), text, None, NONE)
    parts = [
        draw(Sampling(), window(1000, start=1000 + a), text[a : a + 1004], None, NONE) for a in range(0, 5000, 1000)
    ]
    assert whole.tolist() == np.concatenate([p for p, _ in parts]).tolist()
    assert weight.tolist() == np.concatenate([w for _, w in parts]).tolist()


def test_minus_strand_sees_the_mirror():
    text = encode(random_sequence(2004))
    sampling = Sampling(dinucleotide=1, background=1e-9)
    plus, _ = draw(sampling, window(2000, start=0), text, None, NONE)
    minus, _ = draw(sampling, window(2000, "-", start=0), text, None, NONE)  # the same letters as its transcript
    assert sorted((1999 - minus).tolist()) == plus.tolist()
    other, _ = draw(sampling, window(2000, "-", start=0), reverse_complement(text), None, NONE)
    assert other.tolist() != minus.tolist()


def test_draw_is_uniform_and_seeded():
    x = uniform(1, "chr1", "+", np.arange(100_000))
    assert abs(x.mean() - 0.5) < 0.01
    assert 0 <= x.min() < 0.001
    assert 0.999 < x.max() < 1
    assert abs(np.corrcoef(x[:-1], x[1:])[0, 1]) < 0.02
    for other in (uniform(2, "chr1", "+", np.arange(9)), uniform(1, "chr2", "+", np.arange(9))):
        assert (other != x[:9]).all()


def test_bad_rates():
    for bad in ({"background": 0}, {"dinucleotide": 2}, {"min_score": "x"}):
        with pytest.raises(MetaError):
            Sampling(**bad)
