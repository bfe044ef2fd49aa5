"""Metrics of one class against the rest, at true prevalence, from weighted scores.

A `Curve` holds every distinct score with the weight of positives and negatives that have it; all else follows
from it. Weights are inverse sampling probabilities. Formulas: science.md, section 5.
"""

from dataclasses import dataclass, field

import numpy as np

DEFAULT_THRESHOLD = 0.5  # above it a model is taken to call a site
TOP_K = (0.5, 1.0, 2.0, 4.0)
ECE_BINS = 15
# calibration is told apart for scores from here on: at a prevalence of 1e-4 nearly all mass lies below
CALLED = 0.01
RELIABILITY_EDGES = (0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
_EPS = 1e-12  # sums of weights in another order must not move an operating point


@dataclass(frozen=True)
class Curve:
    """Weights of positives and negatives at each distinct score, highest score first; all arrays float64
    (m,).

    threshold: the smallest score of the entry. centre: the score it is taken for in calibration (the same,
    unless binned).
    """

    threshold: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    centre: np.ndarray
    tp: np.ndarray = field(init=False)
    fp: np.ndarray = field(init=False)
    precision: np.ndarray = field(init=False)
    recall: np.ndarray = field(init=False)

    def __post_init__(self):
        tp, fp = np.cumsum(self.positive), np.cumsum(self.negative)
        called = tp + fp
        set_ = object.__setattr__
        set_(self, "tp", tp)
        set_(self, "fp", fp)
        set_(self, "precision", np.divide(tp, called, out=np.zeros_like(tp), where=called > 0))
        set_(self, "recall", tp / tp[-1] if len(tp) and tp[-1] > 0 else np.zeros_like(tp))

    @property
    def positives(self) -> float:
        return float(self.tp[-1]) if len(self.tp) else 0.0

    @property
    def negatives(self) -> float:
        return float(self.fp[-1]) if len(self.fp) else 0.0


def make_curve(score, positive, negative, centre=None) -> Curve:
    """A Curve of scores (n,) in any order with ties, weights of positives (n,) and of negatives (n,), 0 where
    not.

    centre (n,): see Curve. Entries without weight are dropped.
    """
    score = np.asarray(score, np.float64)
    distinct, inverse = np.unique(score, return_inverse=True)
    pos = np.bincount(inverse, positive, len(distinct))[::-1]
    neg = np.bincount(inverse, negative, len(distinct))[::-1]
    middle = distinct.copy()
    if centre is not None:
        middle[inverse] = centre
    keep = pos + neg > 0
    return Curve(distinct[::-1][keep], pos[keep], neg[keep], middle[::-1][keep])


def average_precision(curve: Curve) -> float | None:
    """Area under the step-wise precision-recall curve; None without positives.

    Equals sklearn.metrics.average_precision_score with sample_weight.
    """
    if curve.positives <= 0:
        return None
    return float(np.dot(curve.positive, curve.precision) / curve.positives)


def prevalence(curve: Curve) -> float | None:
    """Share of positives among all positions, by weight."""
    total = curve.positives + curve.negatives
    return curve.positives / total if total > 0 else None


def top_k(curve: Curve, times: float = 1.0) -> float | None:
    """SpliceAI's top-k accuracy (Jaganathan et al. 2019), global: of the k * times best positions, the share
    that are sites.

    k is the number of true sites; the count found is divided by the smaller of k and k * times. Of positions
    with the same score, the share that fits is taken in the proportion of their weights. None where k * times
    is below 1.
    """
    size = np.floor(times * curve.positives + 1e-9)
    if size < 1:
        return None
    called = curve.tp + curve.fp
    before = called - curve.positive - curve.negative
    share = np.clip((size - before) / (curve.positive + curve.negative), 0, 1)
    return float(np.dot(share, curve.positive) / min(size, curve.positives))


def point_at(curve: Curve, index: int | None) -> dict | None:
    """The operating point of entry `index`: threshold, tp, fp, fn (weights), precision, recall, f1."""
    if index is None:
        return None
    tp, fp = float(curve.tp[index]), float(curve.fp[index])
    fn = max(0.0, curve.positives - tp)
    return {
        "threshold": float(curve.threshold[index]),
        "tp": tp,
        "fp": fp,
        "fn": fn,
        "precision": float(curve.precision[index]),
        "recall": float(curve.recall[index]),
        "f1": 2 * tp / (2 * tp + fp + fn) if tp > 0 else 0.0,
    }


def at_threshold(curve: Curve, threshold: float = DEFAULT_THRESHOLD) -> dict:
    """The operating point "score >= threshold"; precision is None where nothing is called."""
    called = int(np.searchsorted(-curve.threshold, -threshold, side="right"))
    if called == 0:
        zero = {"tp": 0.0, "fp": 0.0, "fn": curve.positives, "precision": None, "recall": 0.0, "f1": 0.0}
        return {"threshold": threshold, **zero}
    return {**point_at(curve, called - 1), "threshold": threshold}


def _findable(curve: Curve) -> int:
    """Entries with a score above 0: a position with score 0 is never called."""
    return int(np.searchsorted(-curve.threshold, 0, side="left"))


def at_precision(curve: Curve, precision: float) -> dict | None:
    """The operating point of highest recall (of these, the fewest fp) among those with at least this
    precision.
    """
    good = np.flatnonzero(curve.precision[: _findable(curve)] >= precision - _EPS)
    if not len(good):
        return None
    return point_at(curve, int(good[np.argmax(curve.tp[good] >= curve.tp[good[-1]] - _EPS)]))


def at_recall(curve: Curve, recall: float) -> dict | None:
    """The operating point of highest threshold among those with at least this recall; None where it is not
    reached.
    """
    good = np.flatnonzero(curve.recall[: _findable(curve)] >= recall - _EPS)
    return point_at(curve, int(good[0])) if len(good) else None


def best_f1(curve: Curve) -> dict | None:
    """The operating point with the highest F1 (of several, the highest threshold)."""
    n = _findable(curve)
    if not n or curve.positives <= 0:
        return None
    return point_at(curve, int(np.argmax(2 * curve.tp[:n] / (curve.tp[:n] + curve.fp[:n] + curve.positives))))


def reduction(base: float, meta: float) -> float | None:
    """By how many percent `meta` is smaller than `base`; None where base is 0."""
    return 100 * (base - meta) / base if base > 0 else None


def common_points(base: Curve, meta: Curve) -> dict:
    """FN and FP of base and meta at common operating points, and the reductions in percent.

    The base's default threshold, 0.5, sets the precision and the recall to be met. Then one rule for both
    models:

    - same_precision: the highest recall at no less than that precision; FN are compared.
    - same_recall: the fewest calls at no less than that recall; FP are compared.
    - threshold_0.5: both at the plain threshold; FN and FP are compared, but a model may trade one for the
      other.

    As the rule holds for the base too, its own counts can be better than at 0.5 (its precision need not fall
    with the threshold), and a model that equals the base has reductions of exactly 0. None where the base
    calls nothing at 0.5 or the meta model does not get there.
    """
    base_default, meta_default = at_threshold(base), at_threshold(meta)
    plain = {"base": base_default, "meta": meta_default}
    for count in ("fn", "fp"):
        plain[f"{count}_reduction_percent"] = reduction(base_default[count], meta_default[count])
    result = {"threshold_0.5": plain, "same_precision": None, "same_recall": None}
    if not base_default["precision"]:
        return result
    for name, find, kind, count in (
        ("same_precision", at_precision, "precision", "fn"),
        ("same_recall", at_recall, "recall", "fp"),
    ):
        points = {"base": find(base, base_default[kind]), "meta": find(meta, base_default[kind])}
        change = reduction(points["base"][count], points["meta"][count]) if points["meta"] else None
        result[name] = {kind: base_default[kind], **points, f"{count}_reduction_percent": change}
    return result


# ---- calibration ----------------------------------------------------------------------------------------


def expected_calibration_error(curve: Curve, minimum: float = 0.0) -> float | None:
    """ECE over 15 equal-width bins, by weight, of scores of at least `minimum`; None where there are none."""
    keep = curve.centre >= minimum
    score, pos, neg = curve.centre[keep], curve.positive[keep], curve.negative[keep]
    total = float(np.sum(pos + neg))
    if total <= 0:
        return None
    bins = np.minimum((score * ECE_BINS).astype(int), ECE_BINS - 1)
    gap = np.bincount(bins, (pos + neg) * score - pos, ECE_BINS)
    return float(np.abs(gap).sum() / total)


def brier(curve: Curve) -> float | None:
    """Mean squared difference of score and truth, by weight."""
    total = curve.positives + curve.negatives
    if total <= 0:
        return None
    return float(np.sum(curve.positive * (1 - curve.centre) ** 2 + curve.negative * curve.centre**2) / total)


def reliability(curve: Curve) -> list[dict]:
    """Per bin of RELIABILITY_EDGES that holds any weight: mean score, share of positives, weight, weight of
    positives.
    """
    bins = np.clip(np.searchsorted(RELIABILITY_EDGES, curve.centre, side="right") - 1, 0, len(RELIABILITY_EDGES) - 2)
    weight = np.bincount(bins, curve.positive + curve.negative, len(RELIABILITY_EDGES) - 1)
    score = np.bincount(bins, (curve.positive + curve.negative) * curve.centre, len(RELIABILITY_EDGES) - 1)
    pos = np.bincount(bins, curve.positive, len(RELIABILITY_EDGES) - 1)
    return [
        {
            "mean_score": score[i] / weight[i],
            "share": pos[i] / weight[i],
            "weight": weight[i],
            "positive": pos[i],
        }
        for i in np.flatnonzero(weight > 0)
    ]


# ---- everything of one curve ----------------------------------------------------------------------------


def summary(curve: Curve) -> dict:
    """All metrics of one class and one model that need no second model."""
    ap, share = average_precision(curve), prevalence(curve)
    return {
        "ap": ap,
        "lift": ap / share if ap is not None and share else None,
        "top_k": {f"{times:g}": top_k(curve, times) for times in TOP_K},
        "threshold_0.5": at_threshold(curve),
        "best_f1": best_f1(curve),
        "precision_at_recall_0.9": (at_recall(curve, 0.9) or {}).get("precision"),
        "recall_at_precision_0.9": (at_precision(curve, 0.9) or {}).get("recall"),
        "ece": expected_calibration_error(curve),
        f"ece_of_scores_from_{CALLED:g}": expected_calibration_error(curve, CALLED),
        "brier": brier(curve),
    }


def thin(curve: Curve, points: int = 200) -> dict[str, list[float]]:
    """The precision-recall curve for drawing: at most about `points` entries, spread evenly over recall."""
    n = _findable(curve)
    if not n:
        return {"recall": [], "precision": [], "threshold": []}
    steps = np.searchsorted(curve.recall[:n], np.linspace(0, curve.recall[n - 1], points) - _EPS)
    chosen = np.unique(np.concatenate([[0], np.minimum(steps, n - 1), [n - 1]]))
    names = ("recall", "precision", "threshold")
    return {name: [float(v) for v in getattr(curve, name)[chosen]] for name in names}
