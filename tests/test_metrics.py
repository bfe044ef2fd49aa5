"""metrics, histograms, bootstrap against independent oracles: scikit-learn, brute force in plain Python."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss

from libmeta import bootstrap, metrics
from libmeta.histograms import BINS, COARSE_BINS, COARSE_SHIFT, EDGES, Scores, bin_of

SCORE = st.one_of(
    st.sampled_from([0.0, 1.0, 0.5, 1e-45, 1.1754944e-38, 0.99999994, 0.25]),
    st.floats(0, 1, width=32),
)
WEIGHT = st.one_of(st.sampled_from([1.0, 20.0, 1e-6, 1e6]), st.floats(2**-10, 1024, width=32))
ROWS = st.lists(st.tuples(SCORE, st.booleans(), WEIGHT), min_size=1, max_size=60)
MORE = settings(max_examples=60, deadline=None)


def split(rows):
    score = np.array([r[0] for r in rows], np.float32)
    truth = np.array([r[1] for r in rows])
    weight = np.array([r[2] for r in rows], np.float64)
    return score, truth, weight


def curve_of(score, truth, weight=None):
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, float)
    return metrics.make_curve(score, np.where(truth, weight, 0), np.where(truth, 0, weight))


def binned_curve(score, truth, weight, exact_rows):
    negatives = Scores(exact_rows)
    for part in np.array_split(np.flatnonzero(~truth), 7):
        negatives.add(0, score[part], weight[part])
    assert negatives.rows <= exact_rows
    other, negative, _ = negatives.select()
    own = negatives.place(score[truth])[0]
    zero, one = np.zeros(len(own)), np.zeros(len(other))
    return metrics.make_curve(
        np.concatenate([own, other]), np.concatenate([weight[truth], one]), np.concatenate([zero, negative])
    )


@MORE
@given(ROWS)
def test_average_precision_equals_sklearn(rows):
    score, truth, weight = split(rows)
    found = metrics.average_precision(curve_of(score, truth, weight))
    if not truth.any():
        assert found is None
        return
    assert found == pytest.approx(average_precision_score(truth, score, sample_weight=weight), abs=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_binned_average_precision_is_within_1e_4(seed):
    """Shapes of score distributions from hopeless to nearly perfect, few and many positives, saturated
    scores, ties.
    """
    rng = np.random.default_rng(seed)
    n, m = 400_000, (12, 100, 3000, 300, 3000, 50)[seed]
    logits = np.concatenate(
        [rng.normal((3, 0, 5, 8, -3, 14)[seed], 3, m), rng.normal(-9, (2, 3, 2.5, 5, 3, 4)[seed], n)]
    )
    score = (1 / (1 + np.exp(-logits))).astype(np.float32)
    if seed == 3:
        score = np.round(score, 3)  # ties, and many scores of exactly 0 and 1
    truth = np.arange(n + m) < m
    weight = np.where(truth, 1.0, rng.choice([1.0, 100.0], n + m))
    oracle = average_precision_score(truth, score, sample_weight=weight)
    for exact_rows in (20_000, 100_000, 10**6):
        found = metrics.average_precision(binned_curve(score, truth, weight, exact_rows))
        assert found == pytest.approx(oracle, abs=1e-4 if exact_rows < 10**6 else 1e-12)


@MORE
@given(st.lists(SCORE, min_size=1, max_size=50))
def test_bins_keep_the_order_and_hold_their_scores(scores):
    score = np.sort(np.array(scores, np.float32))
    bins = bin_of(score)
    assert np.all(np.diff(bins) >= 0)
    assert np.all((bins >= 0) & (bins < BINS))
    assert np.all(EDGES[bins] <= score.astype(np.float64))
    assert np.all(np.append(EDGES, 2.0)[bins + 1] > score)
    assert np.array_equal(score >= 0.5, bins >= bin_of(np.float32([0.5]))[0])
    assert BINS >> COARSE_SHIFT < COARSE_BINS


@MORE
@given(ROWS, st.integers(0, 3))
def test_merge_of_halves_is_the_whole(rows, limit_of):
    score, _, weight = split(rows)
    limit = (0, len(score) - 1, len(score), 10**6)[limit_of]
    half = len(score) // 2
    whole, left, right = (Scores(limit) for _ in range(3))
    for i in range(len(score)):
        whole.add(i % 2, score[i : i + 1], weight[i : i + 1])
        (left if i < half else right).add(i % 2, score[i : i + 1], weight[i : i + 1])
    left.merge(right)
    for cells in (None, {0}, {1}):
        for a, b in zip(whole.select(cells), left.select(cells), strict=True):
            assert np.allclose(a, b)


def brute_top_k(score, truth, times):
    """SpliceAI's own print_topl_statistics, for one top length, without ties."""
    true = np.nonzero(truth)[0]
    order = np.argsort(score)
    called = order[len(order) - int(times * len(true)) :] if int(times * len(true)) else []
    return np.size(np.intersect1d(true, called)) / float(min(len(called), len(true)))


@MORE
@given(st.integers(0, 10**6), st.integers(2, 60), st.sampled_from(metrics.TOP_K))
def test_top_k_is_that_of_spliceai(seed, n, times):
    rng = np.random.default_rng(seed)
    score, truth = rng.permutation(4 * n)[:n] / (4 * n), rng.random(n) < 0.2
    truth[:2] = True
    if times * truth.sum() > n:
        return
    assert metrics.top_k(curve_of(score, truth), times) == pytest.approx(brute_top_k(score, truth, times))


def test_top_k_shares_ties():
    """k = 2; three positions with the highest score, two of them sites: 2/3 of two calls are sites on
    average.
    """
    assert metrics.top_k(curve_of([0.9, 0.9, 0.9, 0.1], np.array([1, 1, 0, 0]) > 0)) == pytest.approx(2 / 3)


def brute_points(score, truth, weight):
    """(threshold, tp, fp, precision, recall) at every distinct score above 0, highest first."""
    found = []
    total = sum(w for t, w in zip(truth, weight, strict=True) if t)
    for threshold in sorted({float(s) for s in score if s > 0}, reverse=True):
        rows = list(zip(score, truth, weight, strict=True))
        tp = sum(w for s, t, w in rows if s >= threshold and t)
        fp = sum(w for s, t, w in rows if s >= threshold and not t)
        found.append((threshold, tp, fp, tp / (tp + fp), tp / total))
    return found


@MORE
@given(ROWS, st.sampled_from([0.1, 0.5, 0.9, 1.0]))
def test_operating_points_equal_brute_force(rows, level):
    score, truth, weight = split([(s, t, 1.0 if w < 1 else 20.0) for s, t, w in rows] + [(0.5, True, 1.0)])
    curve, points = curve_of(score, truth, weight), brute_points(score, truth, weight)
    good = [p for p in points if p[3] >= level - 1e-9]
    found = metrics.at_precision(curve, level)
    assert (found is None) == (not good)
    if good:
        assert found["tp"] == pytest.approx(max(p[1] for p in good))
        assert found["fp"] == pytest.approx(min(p[2] for p in good if p[1] == pytest.approx(found["tp"])))
    good = [p for p in points if p[4] >= level - 1e-9]
    found = metrics.at_recall(curve, level)
    assert (found is None) == (not good)
    if good:
        assert found["threshold"] == pytest.approx(max(p[0] for p in good))
    total = weight[truth].sum()
    assert metrics.best_f1(curve)["f1"] == pytest.approx(max(2 * p[1] / (p[1] + p[2] + total) for p in points))
    at = metrics.at_threshold(curve, 0.5)
    assert at["tp"] == pytest.approx(weight[truth & (score >= 0.5)].sum())
    assert at["fp"] == pytest.approx(weight[~truth & (score >= 0.5)].sum())


@MORE
@given(ROWS)
def test_calibration_equals_brute_force(rows):
    score, truth, weight = split([(s, t, 1.0 if w < 1 else 20.0) for s, t, w in rows])
    curve = curve_of(score, truth, weight)
    gaps = {}
    for s, t, w in zip(score.astype(float), truth, weight, strict=True):
        bin_ = min(int(s * 15), 14)
        gaps[bin_] = gaps.get(bin_, 0) + w * (s - t)
    ece = sum(abs(g) for g in gaps.values()) / weight.sum()
    assert metrics.expected_calibration_error(curve) == pytest.approx(ece, abs=1e-9)
    oracle = float(np.average((score.astype(float) - truth) ** 2, weights=weight))
    assert metrics.brier(curve) == pytest.approx(oracle, abs=1e-9)
    if 0 < truth.sum() < len(truth):
        assert oracle == pytest.approx(brier_score_loss(truth, score.astype(float), sample_weight=weight), abs=1e-6)
    bins = metrics.reliability(curve)
    assert sum(b["weight"] for b in bins) == pytest.approx(weight.sum())
    assert sum(b["positive"] for b in bins) == pytest.approx(weight[truth].sum())


@MORE
@given(st.lists(st.tuples(SCORE, st.booleans(), st.integers(1, 4)), min_size=1, max_size=30))
def test_weights_are_repeated_rows(rows):
    score, truth, weight = split(rows)
    once = metrics.summary(curve_of(score, truth, weight))
    times = weight.astype(int)
    again = metrics.summary(curve_of(np.repeat(score, times), np.repeat(truth, times)))
    assert flat(once) == pytest.approx(flat(again), abs=1e-9)


def flat(value) -> list:
    if isinstance(value, dict):
        return [x for k in sorted(value) for x in flat(value[k])]
    return [-1.0 if value is None else value]


@MORE
@given(ROWS)
def test_a_model_that_equals_the_base_reduces_nothing(rows):
    curve = curve_of(*split([*rows, (0.6, True, 1.0), (0.6, False, 1.0)]))
    common = metrics.common_points(curve, curve)
    for kind, count in (("same_precision", "fn"), ("same_recall", "fp"), ("threshold_0.5", "fn")):
        assert common[kind]["base"] == common[kind]["meta"]
        assert common[kind][f"{count}_reduction_percent"] in (None, 0)


def test_golden_by_hand():
    """Two sites, three negatives, one of weight 4. Scores in order: + - + -(4) -.

    Precisions at the sites: 1/1 and 2/3, so AP = (1 + 2/3) / 2; prevalence 2 / 8; top-k: 1 of the best 2; at
    0.5: three calls, one of them false; Brier: (0.01 + 0.64 + 0.16 + 4 * 0.09 + 0.01) / 8.
    """
    score, truth, weight = [0.9, 0.8, 0.6, 0.3, 0.1], np.array([1, 0, 1, 0, 0]) > 0, [1, 1, 1, 4, 1]
    curve = curve_of(score, truth, weight)
    found = metrics.summary(curve)
    assert found["ap"] == pytest.approx(5 / 6)
    assert metrics.prevalence(curve) == 0.25
    assert found["lift"] == pytest.approx(5 / 6 / 0.25)
    assert found["top_k"] == pytest.approx({"0.5": 1, "1": 0.5, "2": 1, "4": 1})
    point = found["threshold_0.5"]
    assert (point["tp"], point["fp"], point["fn"]) == (2, 1, 0)
    assert found["best_f1"]["threshold"] == 0.6
    assert found["best_f1"]["f1"] == pytest.approx(0.8)
    assert found["precision_at_recall_0.9"] == pytest.approx(2 / 3)
    assert found["recall_at_precision_0.9"] == 0.5
    assert found["brier"] == pytest.approx((0.01 + 0.64 + 0.16 + 4 * 0.09 + 0.01) / 8)


def test_a_score_of_0_is_never_found():
    curve = curve_of([0.9, 0.0, 0.0], np.array([1, 1, 0]) > 0)
    assert metrics.at_recall(curve, 0.9) is None
    assert metrics.best_f1(curve)["recall"] == 0.5
    assert metrics.thin(curve)["recall"] == [0.5]


def test_nothing_called_and_no_positive():
    curve = curve_of([0.2, 0.1], np.array([1, 0]) > 0)
    assert metrics.at_threshold(curve)["precision"] is None
    assert metrics.common_points(curve, curve)["same_precision"] is None
    empty = metrics.summary(curve_of([0.2], np.array([False])))
    assert empty["ap"] is None and empty["best_f1"] is None


# ---- bootstrap ------------------------------------------------------------------------------------------


def simulate(rng, genes, shift):
    """Draw (gene, truth, base, meta) of genes that differ in how hard they are."""
    sizes = rng.integers(30, 60, genes)
    gene = np.repeat(np.arange(genes), sizes)
    truth = rng.random(len(gene)) < 0.15
    hard = rng.normal(0, 1.0, genes)[gene]
    logits = np.where(truth, 1.0 - hard, -1.5) + rng.normal(0, 1, len(gene))
    better = logits + np.where(truth, shift, 0) + rng.normal(0, 0.7, len(gene))
    return gene, truth, *((1 / (1 + np.exp(-x))).astype(np.float32) for x in (logits, better))


def interval_of(gene, truth, base, meta, draws, seed):
    genes = int(gene.max()) + 1
    times = bootstrap.draw_genes(genes, draws, seed)
    shifted = []
    for score in (base, meta):
        counts = bootstrap.GeneCounts()
        counts.add(gene[~truth], bin_of(score[~truth]), np.ones((~truth).sum()))
        negative = counts.matrix(genes) @ times
        positive = bootstrap.positive_matrix(gene[truth], score[truth], np.ones(truth.sum()), genes) @ times
        point = average_precision_score(truth, score)
        drawn = bootstrap.draw_average_precision(positive, negative)
        assert drawn[0] == pytest.approx(point, abs=0.02)
        shifted.append(bootstrap.shifted(drawn, point))
    return bootstrap.interval(shifted[1] - shifted[0]), shifted


def test_bootstrap_interval_covers():
    rng = np.random.default_rng(5)
    _, truth, base, meta = simulate(rng, 20_000, 0.3)
    real = average_precision_score(truth, meta) - average_precision_score(truth, base)
    hits = 0
    for i in range(100):
        low, high = interval_of(*simulate(rng, 60, 0.3), 150, i)[0]
        hits += low <= real <= high
    assert 0.86 <= hits / 100 <= 1.0


def test_bootstrap_draws_equal_resampled_genes():
    """One draw by hand: the rows of the drawn genes, repeated, scored by scikit-learn."""
    gene, truth, base, meta = simulate(np.random.default_rng(2), 30, 0.5)
    times = bootstrap.draw_genes(30, 3, 7)
    _, shifted = interval_of(gene, truth, base, meta, 3, 7)
    for k in range(3):
        weight = times[gene, 1 + k]
        for j, score in enumerate((base, meta)):
            assert shifted[j][k] == pytest.approx(average_precision_score(truth, score, sample_weight=weight), abs=0.01)


def test_bootstrap_of_identical_models_and_verdicts():
    gene, truth, base, _ = simulate(np.random.default_rng(3), 30, 0)
    assert interval_of(gene, truth, base, base, 100, 1)[0] == [0, 0]
    assert bootstrap.verdict([0.0, 0.0]) == "not distinguishable"
    assert bootstrap.verdict([0.01, 0.2]) == "above"
    assert bootstrap.verdict([-0.2, -0.01]) == "below"
    assert bootstrap.verdict(None) == "too few"


def test_gene_counts_merge_and_order():
    rng = np.random.default_rng(4)
    gene, bins, weight = rng.integers(0, 5000, 4000), rng.integers(0, BINS, 4000), rng.random(4000)
    whole, left, right = bootstrap.GeneCounts(), bootstrap.GeneCounts(), bootstrap.GeneCounts()
    whole.add(gene, bins, weight)
    for i, part in enumerate(np.array_split(rng.permutation(4000), 50)):
        (left if i % 2 else right).add(gene[part], bins[part], weight[part])
    left.merge(right)
    assert abs(whole.matrix(5000) - left.matrix(5000)).max() < 1e-12
