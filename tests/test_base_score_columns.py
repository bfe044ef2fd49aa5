"""The 43 base score columns against a plain-Python derivation, one position at a time."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libmeta.modalities import base_scores

EPS = 1e-6


def oracle(donor, acceptor):
    """Formulas of the schema, scalar by scalar; donor, acceptor: five floats m2 m1 0 p1 p2."""
    d, a = donor[2], acceptor[2]
    n = max(1 - d - a, 0)
    s = [max(x, y) for x, y in zip(donor, acceptor, strict=True)]
    out = {
        "donor_score": d, "acceptor_score": a, "neither_score": n,
        "context_score_m2": s[0], "context_score_m1": s[1], "context_score_p1": s[3], "context_score_p2": s[4],
        "relative_donor_probability": d / (d + a + EPS), "splice_probability": d + a,
        "donor_acceptor_diff": (d - a) / (max(d, a) + EPS),
        "splice_neither_diff": (d + a - n) / (max(d + a, n) + EPS),
        "donor_acceptor_logodds": math.log((d + EPS) / (a + EPS)),
        "splice_neither_logodds": math.log((d + a + EPS) / (n + EPS)),
        "probability_entropy": -sum(p * math.log(p) for p in (d, a, n) if p > 0),
        "context_neighbor_mean": (s[0] + s[1] + s[3] + s[4]) / 4,
        "context_asymmetry": s[1] + s[0] - s[3] - s[4],
        "context_max": max(s[0], s[1], s[3], s[4]),
        "score_difference_ratio": (d - a) / (d + a + EPS),
    }  # fmt: skip
    for name, (m2, m1, t, p1, p2) in (("donor", donor), ("acceptor", acceptor)):
        mean = (m2 + m1 + p1 + p2) / 4
        out |= {
            f"{name}_diff_m1": t - m1, f"{name}_diff_p1": t - p1, f"{name}_diff_m2": t - m2, f"{name}_diff_p2": t - p2,
            f"{name}_surge_ratio": t / (t + m1 + p1 + EPS), f"{name}_is_local_peak": float(t > m1 and t > p1),
            f"{name}_weighted_context": 0.4 * t + 0.2 * m1 + 0.2 * p1 + 0.1 * m2 + 0.1 * p2,
            f"{name}_peak_height_ratio": t / (t + mean + EPS), f"{name}_second_derivative": m1 - 2 * t + p1,
            f"{name}_signal_strength": t - mean, f"{name}_context_diff_ratio": t / (t + max(m2, m1, p1, p2) + EPS),
        }  # fmt: skip
    out["donor_acceptor_peak_ratio"] = out["donor_peak_height_ratio"] - out["acceptor_peak_height_ratio"]
    out["type_signal_difference"] = out["donor_signal_strength"] - out["acceptor_signal_strength"]
    up, down = (max(out[f"{x}_signal_strength"], 0) + EPS for x in ("donor", "acceptor"))
    out["signal_strength_ratio"] = math.log(up / down)
    return out


probability = st.floats(0, 1, width=32)


@given(st.lists(st.tuples(probability, probability), min_size=5, max_size=5))
def test_columns_equal_the_oracle(pairs):
    pairs = [(d, a * (1 - d)) for d, a in pairs]
    donor, acceptor = (np.array([[p[i] for p in pairs]], np.float32) for i in (0, 1))
    found = base_scores.compute(donor, acceptor)
    expected = oracle(*(x[0].astype(float).tolist() for x in (donor, acceptor)))
    assert set(found) == set(expected) == {c.name for c in base_scores.COLUMNS}
    for name, value in expected.items():
        assert found[name][0] == pytest.approx(value, abs=2e-5, rel=1e-5), name


def test_there_are_43_within_their_ranges():
    assert len(base_scores.COLUMNS) == 43
    rng = np.random.default_rng(1)
    p = rng.dirichlet([0.05, 0.05, 1], (20_000, 5)).astype(np.float32)
    found = base_scores.compute(p[:, :, 0], p[:, :, 1])
    for column in base_scores.COLUMNS:
        values = found[column.name]
        assert np.isfinite(values).all(), column.name
        assert values.min() >= column.min - 1e-5, column.name
        assert values.max() <= column.max + 1e-5, column.name


def test_unknown_neighbours_are_missing_not_zero():
    x = np.full((1, 5), 0.2, np.float32)
    x[0, 0] = np.nan
    found = base_scores.compute(x, x)
    assert np.isnan(found["context_score_m2"][0])
    assert np.isnan(found["context_max"][0])
    assert found["donor_score"][0] == pytest.approx(0.2)
    assert found["donor_diff_m1"][0] == 0
