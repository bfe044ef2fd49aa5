"""evaluate, truth, summary against a plain-Python oracle on small random cases, and the properties that must
hold.
"""

import json

import numpy as np
import pyarrow as pa
import pytest
from evaluation_case import SITES, scores_table, sites_table, synthetic
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from libmeta.cautions import cautions
from libmeta.errors import NOTHING_TO_SCORE, MetaError
from libmeta.evaluate import Evaluation
from libmeta.scored_rows import Rows, TableRows
from libmeta.streams import Stream
from libmeta.summary import document, rounded
from libmeta.truth import Truth

GENES = [
    ["chr1", 10, 60, "+", "A", True], ["chr1", 40, 90, "+", "B", True], ["chr1", 20, 70, "-", "C", False],
    ["chr2", 0, 50, "-", "D", True], ["chr2", 60, 99, "-", "E", True], ["chr2", 62, 64, "-", "F", True],
]  # fmt: skip


def in_scope(chrom, pos, strand, genes=GENES):
    held = [g for g in genes if g[0] == chrom and g[3] == strand and g[1] <= pos < g[2]]
    return min(held, key=lambda g: (g[1], g[2]))[4] if held else None


@st.composite
def cases(draw):
    """(site rows, score rows): any positions, some sites masked or labelled neither, some without a row."""
    seed = draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    keys = [(c, p, s) for c in ("chr1", "chr2") for s in "+-" for p in range(100)]
    sites = []
    for k in rng.choice(len(keys), rng.integers(4, 40), replace=False):
        for i, site in enumerate(SITES):
            if rng.random() < 0.6:
                label = 2 if rng.random() < 0.1 else i
                sites.append(
                    (
                        *keys[k],
                        site,
                        int(rng.integers(4)),
                        label,
                        float(rng.choice([0, 1, 0.65], p=[0.2, 0.6, 0.2])),
                    )
                )
    scored = sorted(rng.choice(len(keys), rng.integers(100, 400), replace=False))
    values = rng.choice([0.0, 1.0, 0.5, 0.3, 0.01], (4, len(scored)))
    values = np.where(rng.random(values.shape) < 0.5, rng.random(values.shape), values).astype(np.float32)
    weight = rng.choice([1.0, 1.0, 20.0], len(scored))
    positions = {k[:3] for k in sites}
    weight = np.where([keys[k] in positions for k in scored], 1.0, weight)
    return sorted(sites), [(*keys[k], weight[i], *values[:, i]) for i, k in enumerate(scored)], seed


def table_of(rows):
    return scores_table(*(list(c) for c in zip(*rows, strict=True)))


def rows_of(table, truth, size=None):
    batches = table.to_batches(max_chunksize=size) if size else table.to_batches()
    return TableRows(Stream("scores", table.schema, iter(batches)), truth)


def evaluate(sites, rows, truth=None, order=None, size=None, **options):
    truth = truth or Truth(sites_table(sites, GENES), [], "sites")
    table = table_of(rows)
    table = table.take(order) if order is not None else table
    source = rows_of(table, truth, size)
    evaluation = Evaluation(truth, source.compared, **options)
    for piece in source:
        evaluation.add(piece)
    return evaluation


def brute(sites, rows, i, model, tier=None, strand=None):
    """(truth, score, weight) of class i, from first principles."""
    states = {k[:3]: k for k in sites if k[3] == SITES[i]}
    out, seen = [], set()
    for chrom, pos, one, weight, *scores in rows:
        gene = in_scope(chrom, pos, one)
        if gene is None or (strand and one != strand):
            continue
        key = (chrom, pos, one)
        seen.add(key)
        site = states.get(key)
        if site is None or (site[5] == 2 and site[6] > 0):
            out.append((False, scores[i + 2 * model], weight))
        elif site[6] > 0 and (tier is None or site[4] == tier):
            out.append((True, scores[i + 2 * model], weight))
    for key, site in states.items():
        if key in seen or in_scope(*key) is None or site[6] == 0 or site[5] == 2:
            continue
        if (tier is None or site[4] == tier) and (strand is None or key[2] == strand):
            out.append((True, 0.0, 1.0))
    return map(np.array, zip(*out, strict=True))


@settings(max_examples=25, deadline=None)
@given(cases(), st.booleans())
def test_strata_equal_brute_force(case, exact):
    sites, rows, _ = case
    evaluation = evaluate(sites, rows, exact_rows=10**6 if exact else 0)
    from libmeta import metrics, summary

    for stratum in summary.strata(evaluation):
        if stratum.by not in ("overall", "tier", "strand"):
            continue
        for i in (0, 1):
            for j, model in enumerate(("meta", "base")):
                tier = stratum.tier
                truth, score, weight = brute(sites, rows, i, j, tier, stratum.value if stratum.by == "strand" else None)
                found = metrics.average_precision(summary.curve(evaluation, stratum, i, j))
                if not truth.any():
                    assert found is None, (stratum, model)
                else:
                    oracle = average_precision_score(truth, score, sample_weight=weight)
                    assert found == pytest.approx(oracle, abs=1e-9 if exact else 2e-3)


@settings(max_examples=15, deadline=None)
@given(cases())
def test_order_batches_and_merge_do_not_matter(case):
    sites, rows, seed = case
    rng = np.random.default_rng(seed)
    whole = as_text(evaluate(sites, rows))
    assert as_text(evaluate(sites, rows, order=rng.permutation(len(rows)))) == whole
    assert as_text(evaluate(sites, rows, size=7)) == whole
    truth = Truth(sites_table(sites, GENES), [], "sites")
    half = len(rows) // 2
    left, right = evaluate(sites, rows[:half], truth), evaluate(sites, rows[half:], truth)
    left.merge(right)
    assert as_text(left) == whole
    with pytest.raises(MetaError, match="both pieces"):
        left.merge(right)


def as_text(evaluation):
    return json.dumps(rounded(document(evaluation, draws=25)), sort_keys=True)


def test_genes_first_by_start():
    truth = Truth(sites_table([("chr1", 50, "+", "donor", 0, 0, 1.0)], GENES), [], "sites")
    for cell, segments in truth.segments.items():
        chrom, strand = truth.cell_name(cell)
        numbers, offsets = segments.find(np.arange(-5, 120))
        expected = [in_scope(chrom, p, strand) for p in range(-5, 120)]
        assert [truth.genes[n][0] if n >= 0 else None for n in numbers] == expected
        assert list(offsets[numbers >= 0]) == list(range(segments.size))
    assert truth.size == 80 + 50 + 50 + 39


def test_region_and_m3_narrow_the_scope():
    sites = [("chr1", 50, "+", "donor", 0, 0, 1.0), ("chr2", 5, "-", "acceptor", 0, 1, 1.0)]
    truth = Truth(sites_table(sites, GENES), ["1:31-50:+", "chr2:1-10"], "sites")
    assert truth.size == 20 + 10
    assert truth.pos.tolist() == [5] and truth.sites_outside == 1
    assert Truth(sites_table(sites, GENES, recipe="m3"), [], "sites").size == 80 + 50 + 39
    with pytest.raises(MetaError, match="widen --region") as caught:
        Truth(sites_table(sites, GENES), ["chr1:95-99"], "sites")
    assert caught.value.code == NOTHING_TO_SCORE


def test_perfect_and_identical_models():
    sites, scores = synthetic(genes=12, length=120_000, seed=3)
    truth = Truth(sites, [], "sites")
    perfect = dict.fromkeys(zip(*(sites[c].to_pylist() for c in ("pos", "strand", "site")), strict=True), 1.0)
    for site in SITES:
        keys = zip(scores["pos"].to_pylist(), scores["strand"].to_pylist(), strict=True)
        values = [perfect.get((p, s, site), 0.0) for p, s in keys]
        scores = scores.set_column(
            scores.column_names.index(site), scores.schema.field(site), pa.array(values, pa.float32())
        )
    better = _document(scores, truth)
    for site in SITES:
        assert better["overall"][site]["meta"]["ap"] == 1
        assert better["overall"][site]["meta"]["top_k"]["1"] == 1
        assert better["overall"][site]["difference"]["verdict"] == "above"
        assert better["overall"][site]["common"]["same_precision"]["fn_reduction_percent"] == 100
        assert better["overall"][site]["meta"]["ece"] == 0
    for site in SITES:
        base = scores[f"base_{site}"]
        scores = scores.set_column(scores.column_names.index(site), scores.schema.field(site), base)
    same = _document(scores, truth)
    for stratum in [same["overall"], *same["strata"]]:
        for kind in (*SITES, "macro"):
            change = stratum[kind].get("difference")
            if change:
                assert change["ap"] == 0 and change["verdict"] in ("not distinguishable", "too few")
                assert change["interval"] in (None, [0, 0])


def _document(scores, truth, draws=60):
    source = rows_of(scores, truth)
    evaluation = Evaluation(truth, source.compared)
    for piece in source:
        evaluation.add(piece)
    return document(evaluation, draws)


def test_few_positives_are_no_numbers():
    sites = [("chr1", 12 + 4 * i, "+", "donor", int(i > 11), 0, 1.0) for i in range(16)]
    rows = [("chr1", p, "+", 1.0, p / 100, 0.1, p / 100, 0.1) for p in range(10, 90)]
    found = document(evaluate(sites, rows), 20)
    tier = next(s for s in found["strata"] if s["value"] == "1")
    assert tier["donor"] == {"status": "too few", "positives": 4, "genes": 1}
    assert found["overall"]["acceptor"] == {"status": "too few", "positives": 0, "genes": 0}
    assert found["overall"]["macro"] == {"status": "too few"}
    assert found["overall"]["donor"]["difference"]["verdict"] == "too few"  # two genes say nothing of others


def test_sites_without_row_and_sampled_sites():
    """Two sites without a row count as missed; where a scored site stands for two (weight 2), one does."""
    sites = [("chr1", p, "+", "donor", 0, 0, 1.0) for p in (20, 30, 50, 60)]
    for weight, missed in ((1.0, 2.0), (2.0, 1.0), (9.0, 0.0)):
        rows = [
            ("chr1", 20, "+", weight, 0.9, 0, 0.8, 0),
            ("chr1", 30, "+", 1.0, 0.9, 0, 0.8, 0),
            ("chr1", 40, "+", 1.0, 0, 0, 0, 0),
        ]
        evaluation = evaluate(sites, rows)
        counts = evaluation.site_counts(0)
        assert (counts["in_scope"], counts["scored"], counts["without_row"]) == (4, 2, 2)
        assert counts["taken_for_missed"] == missed
        point = document(evaluation, 0)["overall"]["donor"]["meta"]["threshold_0.5"]
        assert (point["tp"], point["fn"]) == (weight + 1, missed)
    assert any("count as missed" in c for c in cautions(evaluation, None, ([], [])))


def test_rows_without_base_score_leave_both_models():
    sites = [("chr1", 20, "+", "donor", 0, 0, 1.0), ("chr1", 30, "+", "donor", 0, 0, 1.0)]
    rows = [
        ("chr1", 20, "+", 1.0, 0.9, 0, 0.8, 0),
        ("chr1", 30, "+", 1.0, 0.9, 0, None, None),
        ("chr1", 31, "+", 1.0, 0.9, 0, None, 0),
    ]
    evaluation = evaluate(sites, rows)
    counts = evaluation.site_counts(0)
    assert (counts["in_scope"], counts["without_base_score"], counts["without_row"]) == (2, 1, 0)
    point = document(evaluation, 0)["overall"]["donor"]["meta"]["threshold_0.5"]
    assert (point["tp"], point["fp"], point["fn"]) == (1, 0, 0)
    assert any("2 rows have no base score" in c for c in cautions(evaluation, None, ([], [])))


def test_warnings_of_sampling_and_training():
    sites = [("chr1", p, "+", "donor", 0, 0, 1.0) for p in range(12, 80, 5)]
    rows = [("chr1", p, "+", 1.0, 0.9, 0.0, 0.5, 0.0) for p in range(12, 80, 5)]
    evaluation = evaluate(sites, rows)
    model = {"train": [["1", 0, 11]], "valid": [["chr1", 85, 95]], "base_trained_on": ["1", "X"]}
    told = cautions(evaluation, model, ([], []))
    assert "sum of weights 14, scope 219 positions" in told[0] and "all weights are 1" in told[0]
    assert sum("was trained on regions of 1 " in c for c in told) == 1
    assert sum("selected (validated)" in c for c in told) == 1
    assert sum("base model was trained on chromosome 1:" in c for c in told) == 1
    rest = {"train": [], "valid": [], "test": [["chr1", 0, 60]]}
    assert any("1 genes tested here reach beyond" in c for c in cautions(evaluation, rest, ([], [])))
    rest["test"] = [["chr1", 5, None]]
    assert not any("trained" in c for c in cautions(evaluation, rest, ([], [])))
    far = {"train": [["chr1", 0, 10], ["chr9", 0, 10**6]], "base_trained_on": ["2"]}
    assert not any("trained" in c for c in cautions(evaluation, far, ([], [])))
    weighted = [(*r[:3], 219 / 14, *r[4:]) for r in rows]
    assert not any("prevalence" in c for c in cautions(evaluate(sites, weighted), None, ([], [])))
    chains = [[{"inputs": {"genome": h}}] for h in ("sha256:a", "sha256:b")]
    assert any("different genome files" in c for c in cautions(evaluation, None, tuple(chains)))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[0.1, np.nan], [0, 0], [0, 0], [0, 0]], "refined donor score nan"),
        ([[0.1, 0.2], [0, 1.5], [0, 0], [0, 0]], "refined acceptor score 1.5"),
        ([[0.1, 0.2], [0, 0], [0, -0.5], [0, 0]], "base donor score -0.5"),
    ],
)
def test_scores_that_are_no_probabilities(scores, message):
    truth = Truth(sites_table([("chr1", 20, "+", "donor", 0, 0, 1.0)], GENES), [], "sites")
    rows = Rows(truth.cell_of("1", "+"), np.array([20, 21]), np.ones(2), np.array(scores, np.float32))
    with pytest.raises(MetaError, match=message):
        Evaluation(truth, True).add(rows)


@pytest.mark.parametrize("pieces", [[[20, 20]], [[20, 21], [25, 21]], [[20, 30, 40], [35, 33, 30]]])
def test_a_position_met_twice(pieces):
    truth = Truth(sites_table([("chr1", 20, "+", "donor", 0, 0, 1.0)], GENES), [], "sites")
    evaluation = Evaluation(truth, True)
    with pytest.raises(MetaError, match="stands twice"):
        for pos in pieces:
            evaluation.add(Rows(0, np.array(pos), np.ones(len(pos)), np.zeros((4, len(pos)), np.float32)))


def test_bad_labels():
    good = [("chr1", 20, "+", "donor", 0, 0, 1.0)]
    bad = {
        "no labels": sites_table([(*good[0][:5], None, None)], GENES, recipe=None),
        "stands twice": sites_table(good * 2, GENES),
        "labelled acceptor": sites_table([(*good[0][:5], 1, 1.0)], GENES),
        "no column": sites_table(good, GENES).drop_columns("tier"),
        "no gene spans": sites_table(good, GENES).replace_schema_metadata({}),
        "empty scope": sites_table(good, []),
    }
    for message, table in bad.items():
        with pytest.raises(MetaError, match=message):
            Truth(table, [], "sites.parquet")


def test_a_site_without_label_asks_for_a_recipe():
    with pytest.raises(MetaError, match="ms-labels --recipe m1"):
        Truth(sites_table([("chr1", 20, "+", "donor", 0, None, None)], GENES, recipe=None), [], "sites.parquet")
