"""From a filled Evaluation to the metrics document: strata, comparison, bootstrap intervals, verdicts, curves
to draw.

Strata are kept apart by positives and by negatives: a tier has its own positives against all negatives (other
tiers are left out), a strand or a chromosome has its own of both. `base-uncertain positions` holds only
positions where the base model's highest score is in [0.1, 0.9]: its AP has nothing to do with the AP at true
prevalence of the whole.
"""

from dataclasses import dataclass

import numpy as np

from libmeta import bootstrap, metrics
from libmeta.evaluate import UNCERTAIN, Evaluation
from libmeta.metrics import Curve
from libmeta.truth import SITES

MINIMUM_POSITIVES = 10
SITE_HISTOGRAM = 20  # bins of the histogram of site scores


@dataclass(frozen=True)
class Stratum:
    """name as shown; by, value: what it splits; cells: of its negatives and positives (None all); tier;
    uncertain.
    """

    name: str
    by: str
    value: str
    cells: frozenset[int] | None = None
    tier: int | None = None
    uncertain: bool = False

    def chosen(self, evaluation: Evaluation, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Positives of class i in the stratum: numbers, weights (n,), scores (models, n)."""
        card, weight, score = evaluation.positives(i)
        keep = np.ones(len(card), bool)
        if self.cells is not None:
            keep &= np.isin(evaluation.truth.cell[card], list(self.cells))
        if self.tier is not None:
            keep &= evaluation.truth.tier[i, card] == self.tier
        if self.uncertain:
            highest = evaluation.score[2:, card].max(axis=0)
            keep &= evaluation.seen[card] & (highest >= UNCERTAIN[0]) & (highest <= UNCERTAIN[1])
        return card[keep], weight[keep], score[:, keep]


def strata(evaluation: Evaluation) -> list[Stratum]:
    """Overall, then every tier with a site, the strands, the chromosomes if several, and base-uncertain
    positions.
    """
    truth = evaluation.truth
    found = [Stratum("overall", "overall", "all")]
    tiers = {int(t) for i in (0, 1) for t in np.unique(truth.tier[i, evaluation.positives(i)[0]])}
    for tier in sorted(tiers - {-1}):
        name = truth.tiers[tier] if tier < len(truth.tiers) else "novel" if tier == 3 else ""
        found.append(Stratum(f"tier {tier}" + (f" ({name})" if name else ""), "tier", str(tier), tier=tier))
    cells = sorted(truth.segments)
    if len({c % 2 for c in cells}) > 1:
        for i, strand in enumerate("+-"):
            found.append(Stratum(f"strand {strand}", "strand", strand, frozenset(c for c in cells if c % 2 == i)))
    if len({c // 2 for c in cells}) > 1:
        for contig in sorted({c // 2 for c in cells}):
            both = frozenset(c for c in cells if c // 2 == contig)
            found.append(Stratum(truth.names[contig], "chromosome", truth.names[contig], both))
    if evaluation.compared:
        found.append(Stratum("base-uncertain positions", "base_uncertain", "0.1-0.9", uncertain=True))
    return found


def curve(evaluation: Evaluation, stratum: Stratum, i: int, j: int) -> Curve:
    """The Curve of class i and model j in a stratum."""
    stack = (SITES[i], evaluation.models[j])
    _, weight, scores = stratum.chosen(evaluation, i)
    source = evaluation.uncertain[stack] if stratum.uncertain else evaluation.negatives[stack]
    other, negative, middle = source.select(None if stratum.cells is None else set(stratum.cells))
    own, centre = source.place(scores[j])
    return metrics.make_curve(
        np.concatenate([own, other]),
        np.concatenate([weight, np.zeros(len(other))]),
        np.concatenate([np.zeros(len(own)), negative]),
        np.concatenate([centre, middle]),
    )


class _Draws:
    """AP of every bootstrap draw, and of the data as it is (first), by stratum, class and model."""

    def __init__(self, evaluation: Evaluation, chosen: list[Stratum], draws: int, seed: int):
        self.evaluation = evaluation
        present = evaluation.scored_genes.copy()
        present[evaluation.truth.gene] = True
        self.times = np.zeros((len(present), 1 + draws))
        self.times[present] = bootstrap.draw_genes(int(present.sum()), draws, seed)
        self.gene_cell = np.array([cell for _, cell in evaluation.truth.genes])
        self.values: dict[tuple[str, int, int], np.ndarray] = {}
        for i, site in enumerate(SITES):
            for j, model in enumerate(evaluation.models):
                self._stack(chosen, i, j, (site, model))

    def _stack(self, chosen: list[Stratum], i: int, j: int, stack: tuple[str, str]) -> None:
        by_cell = {}
        matrix = self.evaluation.genes[stack].matrix(len(self.times))
        for cell in np.unique(self.gene_cell):
            mine = self.gene_cell == cell
            by_cell[cell] = matrix[:, mine] @ self.times[mine]
        total = sum(by_cell.values())
        for stratum in chosen:
            card, weight, scores = stratum.chosen(self.evaluation, i)
            if stratum.uncertain:
                negative = self.evaluation.genes_uncertain[stack].matrix(len(self.times)) @ self.times
            else:
                negative = total if stratum.cells is None else sum(by_cell[c] for c in stratum.cells)
            gene = self.evaluation.truth.gene[card]
            positive = bootstrap.positive_matrix(gene, scores[j], weight, len(self.times)) @ self.times
            self.values[stratum.name, i, j] = bootstrap.draw_average_precision(positive, negative)


def document(evaluation: Evaluation, draws: int = 500, seed: int = 1) -> dict:
    """The metrics: overall and strata as in schemas/metrics.toml, counts and curves; plain Python values, not
    yet rounded.
    """
    chosen = strata(evaluation)
    drawn = _Draws(evaluation, chosen, draws, seed) if draws else None
    described = [_describe(evaluation, s, drawn) for s in chosen]
    return {
        "models": list(evaluation.models),
        "recipe": evaluation.truth.recipe,
        "counts": _counts(evaluation),
        "overall": described[0],
        "strata": described[1:],
        "curves": _curves(evaluation, chosen[0]),
        "bootstrap": {"draws": draws, "seed": seed, "unit": "gene"},
    }


def _describe(evaluation: Evaluation, stratum: Stratum, drawn: _Draws | None) -> dict:
    entry = {"name": stratum.name, "by": stratum.by, "value": stratum.value}
    shifted = {}
    for i, site in enumerate(SITES):
        entry[site], shifted[i] = _class(evaluation, stratum, i, drawn)
    entry["macro"] = _macro(entry, shifted, evaluation.models)
    return entry


def _class(evaluation: Evaluation, stratum: Stratum, i: int, drawn: _Draws | None) -> tuple[dict, dict]:
    """One class of a stratum, and its draws by model."""
    card, _, _ = stratum.chosen(evaluation, i)
    enough = len(card) >= MINIMUM_POSITIVES
    entry = {"status": "ok" if enough else bootstrap.TOO_FEW, "positives": len(card)}
    entry["genes"] = len(np.unique(evaluation.truth.gene[card]))
    if not enough and (stratum.by != "overall" or not len(card)):
        return entry, {}
    curves = [curve(evaluation, stratum, i, j) for j in range(len(evaluation.models))]
    entry["positive_weight"], entry["negative_weight"] = curves[0].positives, curves[0].negatives
    entry["prevalence"] = metrics.prevalence(curves[0])
    shifted = {}
    for j, model in enumerate(evaluation.models):
        entry[model] = metrics.summary(curves[j])
        if drawn is not None and enough and entry["genes"] >= bootstrap.MINIMUM_GENES:
            shifted[model] = bootstrap.shifted(drawn.values[stratum.name, i, j], entry[model]["ap"])
        entry[model]["ap_interval"] = bootstrap.interval(shifted[model], (0, 1)) if model in shifted else None
    if evaluation.compared:
        base, meta = curves[1], curves[0]
        entry["common"] = metrics.common_points(base, meta)
        precision = entry["base"]["threshold_0.5"]["precision"]
        for model, one in (("meta", meta), ("base", base)):
            point = metrics.at_precision(one, precision) if precision else None
            entry[model]["recall_at_base_precision"] = (point or {}).get("recall")
        entry["difference"] = _difference(entry, shifted)
    return entry, shifted


def _difference(entry: dict, shifted: dict) -> dict:
    interval = bootstrap.interval(shifted["meta"] - shifted["base"]) if shifted else None
    change = entry["meta"]["ap"] - entry["base"]["ap"]
    return {"ap": change, "interval": interval, "verdict": bootstrap.verdict(interval)}


def _macro(entry: dict, shifted: dict[int, dict], models: tuple[str, ...]) -> dict:
    """Mean of donor and acceptor; status as the poorer of the two. "Neither" is never averaged in."""
    both = [entry[site] for site in SITES]
    few = any(b["status"] != "ok" for b in both)
    macro: dict = {"status": bootstrap.TOO_FEW if few else "ok"}
    if not all(models[0] in b for b in both):
        return macro
    share = macro["prevalence"] = float(np.mean([b["prevalence"] for b in both]))
    draws = {}
    for model in models:
        ap = float(np.mean([b[model]["ap"] for b in both]))
        if all(model in shifted[i] for i in (0, 1)):
            draws[model] = (shifted[0][model] + shifted[1][model]) / 2
        interval = bootstrap.interval(draws[model], (0, 1)) if model in draws else None
        top = [b[model]["top_k"]["1"] for b in both]
        macro[model] = {"ap": ap, "lift": ap / share, "ap_interval": interval}
        macro[model]["top_k_1"] = None if None in top else float(np.mean(top))
    if len(models) > 1:
        macro["difference"] = _difference(macro, draws)
    return macro


def _counts(evaluation: Evaluation) -> dict:
    truth, counts = evaluation.truth, evaluation.counts
    return {
        "rows": counts.rows,
        "rows_in_scope": counts.scored,
        "rows_outside_scope": counts.outside,
        "rows_without_base_score": counts.without_base,
        "weight_sum": counts.weight,
        "scope_positions": truth.size,
        "scope_genes": len(truth.genes),
        "scored_genes": int(evaluation.scored_genes.sum()),
        "genes_left_out_unmeasured": truth.genes_unmeasured,
        "site_rows_outside_scope": truth.sites_outside,
        "regions": [str(r) for r in truth.regions],
        "sites": {site: evaluation.site_counts(i) for i, site in enumerate(SITES)},
    }


def _curves(evaluation: Evaluation, overall: Stratum) -> dict:
    found: dict = {}
    edges = np.linspace(0, 1, SITE_HISTOGRAM + 1)
    for i, site in enumerate(SITES):
        _, weight, scores = overall.chosen(evaluation, i)
        if not len(weight):
            continue
        found[site] = {}
        for j, model in enumerate(evaluation.models):
            one = curve(evaluation, overall, i, j)
            found[site][model] = {
                "precision_recall": metrics.thin(one),
                "reliability": metrics.reliability(one),
                "site_scores": np.histogram(scores[j], edges, weights=weight)[0].tolist(),
            }
    return found


def rounded(value):
    """A document with numbers at 6 significant digits, NaN and infinity as None, numpy values as Python's."""
    if isinstance(value, dict):
        return {str(k): rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(v) for v in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
