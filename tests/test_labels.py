"""Label rules of the recipes, row by row against the table of science.md in plain Python."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libmeta import labels, recipes
from libmeta.errors import MetaError
from libmeta.labels import Facts

NAN = float("nan")


def facts(*rows, breadth=None) -> Facts:
    """rows: (site, tier, reads, psi, measured)."""
    site, tier, reads, psi, measured = zip(*rows, strict=True)
    numbers = (np.array(c, float) for c in (tier, reads, psi))
    return Facts(np.array(site, np.uint8), *numbers, np.array(measured, bool), breadth)


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


# ---- alternative sites ----------------------------------------------------------------------------------------------

EVERY_TIER = ((0, 0, NAN, NAN, False), (1, 1, 0, NAN, True), (0, 2, 5, 0.5, True), (1, 3, 9, 1, True),
              (2, NAN, NAN, NAN, True))  # fmt: skip


def test_m2_takes_every_annotated_tier():
    label, weight = labels.m2(facts(*EVERY_TIER))
    assert label.tolist() == [0, 1, 0, 1, 2]
    assert weight.tolist() == [1, 1, 1, 0, 1]


def test_m2c_weighs_by_tier():
    label, weight = labels.m2c(facts(*EVERY_TIER))
    assert label.tolist() == [0, 1, 0, 1, 2]
    assert weight.tolist() == pytest.approx([1, 0.85, 0.65, 0, 1])
    assert labels.m2c(facts(*EVERY_TIER), (2, 0, 0.5))[1].tolist() == [2, 0, 0.5, 0, 1]


TRUST = {  # (tier, reads, psi, breadth) -> w of science.md section 1, worked out by hand
    "not measured: the prior": ((0, NAN, NAN, NAN), 1.0),
    "not measured, tier 2": ((2, NAN, NAN, NAN), 0.4),
    "everything for it": ((0, NAN, 0.5, 10), 1.0),
    "half of it": ((1, NAN, 0.25, 5), 0.34 + 0.175 + 0.125),
    "more adds nothing": ((1, 900, 1.0, 53), 0.34 + 0.35 + 0.25),
    "a silent site of a gene that reads cover": ((0, 0, NAN, 0), 0.4),
    "PSI 0 is measured": ((1, NAN, 0.0, 0), 0.34),
    "the floor": ((2, 0, 0.0, 0), 0.16),
}


@pytest.mark.parametrize("name", TRUST)
def test_m2d_weighs_by_evidence(name):
    (tier, reads, psi, breadth), want = TRUST[name]
    label, weight = labels.m2d(facts((1, tier, reads, psi, True), breadth=np.array([breadth], float)))
    assert label[0] == 1
    assert weight[0] == pytest.approx(want)


def test_m2d_never_falls_below_its_floor(monkeypatch):
    monkeypatch.setattr(labels, "TIER_PRIORS", (1.0, 0.85, 0.1))
    assert labels.m2d(facts((0, 2, 0, 0.0, True)))[1][0] == pytest.approx(0.15)
    novel_and_none = facts((0, 3, 9, 1, True), (2, NAN, NAN, NAN, True))
    assert labels.m2d(novel_and_none)[1].tolist() == [0, 1]


@pytest.mark.parametrize(
    ("rule", "options", "label", "weight"),
    [
        ("m2a", {}, [0, 1, 0, 1, 2], [0, 1, 0, 0, 1]),
        ("m2b", {}, [0, 1, 0, 1, 2], [0, 1, 1, 0, 1]),
        ("m2b", {"minus": (0, 1)}, [0, 1, 0, 1, 2], [0, 0, 1, 0, 1]),
        ("m2a", {"others": "negative"}, [2, 1, 2, 2, 2], [1, 1, 1, 1, 1]),
        ("m2b", {"others": "negative"}, [2, 1, 0, 2, 2], [1, 1, 1, 1, 1]),
    ],
)
def test_what_m2a_and_m2b_evaluate_on(rule, options, label, weight):
    found = labels.RULES[rule](facts(*EVERY_TIER), **options)
    assert found[0].tolist() == label
    assert found[1].tolist() == weight


def table(weights):
    return pa.table({"weight": pa.array(weights, pa.float32())})


@pytest.mark.parametrize(
    ("weights", "recipe", "says"),
    [
        ([1, -0.5], "m2", "a weight is negative or infinite, s.parquet"),
        ([float("inf")], None, "a weight is negative or infinite"),
        ([0.3, 1.5], "m2d", r"soft target 1.5 is outside \[0, 1\], s.parquet"),
    ],
)
def test_weights_that_are_none(weights, recipe, says):
    with pytest.raises(MetaError, match=says):
        labels.check(table(weights), recipe, "s.parquet")


def test_weights_that_are_some():
    labels.check(table([None, 0, 1.5]), "m2c", "s.parquet")
    labels.check(table([0, 1, None]), "m2d", "s.parquet")
