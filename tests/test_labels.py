"""Label rules of the recipes, row by row against the table of science.md in plain Python."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libmeta import labels, recipes
from libmeta.labels import Facts

NAN = float("nan")


def facts(*rows) -> Facts:
    """rows: (site, tier, reads, psi, measured)."""
    site, tier, reads, psi, measured = zip(*rows, strict=True)
    return Facts(np.array(site, np.uint8), *(np.array(c, float) for c in (tier, reads, psi)), np.array(measured, bool))


def test_m1():
    label, weight = labels.m1(facts(
        (0, 0, NAN, NAN, False), (1, 0, 0, NAN, True), (0, 1, 50, 1, True), (1, 2, NAN, NAN, False), (1, 3, 9, 1, True),
        (2, NAN, NAN, NAN, False), (2, NAN, NAN, NAN, True),
    ))  # fmt: skip
    assert label.tolist() == [0, 1, 0, 1, 1, 2, 2]
    assert weight.tolist() == [1, 1, 0, 0, 0, 1, 1]
    assert (label.dtype, weight.dtype) == (np.uint8, np.float32)


def as_batch(given_: Facts) -> pa.RecordBatch:
    names = {k: f"label.{k}" for k in ("site", "tier", "reads", "psi", "measured")}
    return pa.RecordBatch.from_pydict({column: pa.array(getattr(given_, k)) for k, column in names.items()})


def test_alternative_sites_are_kept_aside_for_training_canonical_ones():
    """With their class and a weight, marked as not for the score; novel ones stay masked."""
    rows = as_batch(facts(
        (0, 0, NAN, NAN, False), (1, 1, NAN, NAN, True), (0, 2, 50, 1, True), (1, 3, 9, 1, True), (2, NAN, NAN, NAN, True)
    ))  # fmt: skip
    target, weight, known = labels.assign_labels(rows, recipes.get("m1-s"), {})
    assert target[:, 0].tolist() == [0, 1, 0, 1, 2]
    assert weight.tolist() == [1, 0.5, 0.5, 0, 1]
    assert known.tolist() == [False, True, True, False, False]
    _, weight, known = labels.assign_labels(rows, recipes.get("m1-p"), {})
    assert weight.tolist() == [1, 0, 0, 0, 1] and not known.any()


CASES = {  # (facts, reference) -> (label, weight)
    "novel with reads": ((0, 3, 3, NAN, True), (0,), (0, 1)),
    "novel with few reads, whatever their PSI": ((0, 3, 2, 0.9, True), (0,), (0, 0)),
    "hidden tier with PSI": ((1, 2, NAN, 0.05, True), (0,), (1, 1)),
    "hidden tier, weak PSI": ((1, 2, NAN, 0.04, True), (0,), (1, 0)),
    "hidden tier, reads beside a weak PSI": ((1, 2, 30, 0.01, True), (0,), (1, 1)),
    "hidden tier, silent": ((1, 2, 0, NAN, True), (0,), (2, 1)),
    "hidden tier, PSI 0": ((1, 2, NAN, 0, True), (0,), (2, 1)),
    "hidden tier, no reads but PSI elsewhere": ((1, 2, 0, 0.4, True), (0,), (1, 1)),
    "hidden tier, nothing known": ((1, 2, NAN, NAN, True), (0,), (1, 0)),
    "gene not measured": ((1, 2, 0, NAN, False), (0,), (1, 0)),
    "reference": ((1, 0, 90, 1, True), (0,), (1, 0)),
    "all tiers are the reference": ((1, 2, 90, 1, True), (0, 1, 2), (1, 0)),
    "no site, measured": ((2, NAN, NAN, NAN, True), (0,), (2, 1)),
    "no site, not measured": ((2, NAN, NAN, NAN, False), (0,), (2, 0)),
}


@pytest.mark.parametrize("name", CASES)
def test_m3(name):
    row, reference, want = CASES[name]
    label, weight = labels.m3(facts(row), reference)
    assert (label[0], weight[0]) == want


numbers = st.one_of(st.just(NAN), st.just(0.0), st.floats(0, 1))
row = st.tuples(
    st.sampled_from([0, 1, 2]),
    st.sampled_from([0, 1, 2, 3]),
    st.sampled_from([NAN, 0, 1, 2, 3, 50]),
    numbers,
    st.booleans(),
).map(lambda r: (r[0], NAN if r[0] == 2 else r[1], *((NAN, NAN) if r[0] == 2 else r[2:4]), r[4]))


@given(st.lists(row, min_size=1, max_size=30), st.sets(st.sampled_from([0, 1, 2])))
def test_m3_invariants(rows, reference):
    given_ = facts(*rows)
    label, weight = labels.m3(given_, tuple(reference))
    for (site, tier, reads, psi, measured), kind, w in zip(rows, label, weight, strict=True):
        positive = w == 1 and kind < 2
        assert kind in (site, 2)
        if positive:
            assert tier not in reference and measured and (reads >= 3 or psi >= 0.05) and not 0 < reads < 3
        if w == 1 and kind == 2:
            assert measured and not reads > 0 and not psi > 0
        if w == 0 and site == 2:
            assert not measured
