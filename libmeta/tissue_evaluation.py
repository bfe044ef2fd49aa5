"""Scores by tissue against the sites table of recipe m2e: does the model know a tissue's sites, and a site's tissues?

Two questions, two baselines each. AP of a tissue, at true prevalence: active sites against all other bases and its inactive
sites; beside the same model without regard to the tissue (the mean over tissues) and the base model. Within a
tissue-variable site: are active tissues ranked above inactive ones; beside chance and the prior of each tissue alone.
"""

from dataclasses import dataclass, field

import numpy as np

from libmeta import bootstrap, metrics, tissue_ranking
from libmeta.bootstrap import GeneCounts
from libmeta.errors import MetaError
from libmeta.histograms import Scores, bin_of
from libmeta.scored_rows import Rows
from libmeta.site_tissues import ACTIVE, INACTIVE, SiteTissues
from libmeta.truth import SITES, Truth

VARIABLE = 0.3  # PSI range over tissues from which a site counts as tissue-variable
EXACT = 1 << 14  # scores kept as they are, per tissue and kind of site
MODELS = ("meta", "blind", "base")


@dataclass
class _Pool:
    """Bases that are no site, of one model and kind."""

    scores: Scores = field(default_factory=lambda: Scores(EXACT))
    genes: GeneCounts = field(default_factory=GeneCounts)

    def add(self, gene: np.ndarray, score: np.ndarray, weight: np.ndarray) -> None:
        bins = bin_of(score)
        self.scores.add(0, score, weight, bins)
        self.genes.add(gene, bins, weight)


@dataclass
class _SiteRows:
    """Rows that stand on a site of a kind: gene and weight (n,), state (n, T), variable bool (n,), scores (n, T + 2): of
    each tissue, without regard to it, of the base (NaN where there is none)."""

    gene: np.ndarray
    weight: np.ndarray
    state: np.ndarray
    variable: np.ndarray
    scores: np.ndarray


class TissueEvaluation:
    """Accumulates rows whose `further` are the donor and acceptor scores of tissues.

    names: of these tissues, in order. tissues: of the rows of the sites table (see site_tissues.of_table). compared: rows
    have base scores. activity: {name: prior} of the model, for those tissues that it gives one.
    """

    def __init__(self, truth: Truth, table, tissues: SiteTissues, names: list[str], compared: bool, activity: dict):
        known = [n for n in names if n in tissues.names]
        if not known:
            raise MetaError(
                f"no tissue in common, {truth.where} ({', '.join(tissues.names[:3])}, ...) and the scores "
                f"({', '.join(names[:3])}, ...); label with evidence of the tissues that were predicted"
            )
        self.truth, self.names, self.compared = truth, known, compared
        self.columns = [names.index(n) for n in known]
        self.activity = np.array([activity.get(n, np.nan) for n in known])
        at = [tissues.names.index(n) for n in known]
        self._keys, self._state, self._variable = _by_key(truth, table, tissues.state[:, at], tissues.psi[:, at])
        models = [*range(len(known)), "blind", *(["base"] if compared else [])]
        self.pools = {(k, m): _Pool() for k in (0, 1) for m in models}
        self.rows: tuple[list[_SiteRows], list[_SiteRows]] = ([], [])

    def add(self, rows: Rows) -> None:
        """Take in rows of one cell, with scores by tissue in rows.further (2 T, n): donor, acceptor of each in turn."""
        segments = self.truth.segments.get(rows.cell)
        if segments is None:
            return
        gene = segments.find(rows.pos)[0]
        keep = (gene >= 0) & np.isfinite(rows.scores).all(axis=0) & np.isfinite(rows.further).all(axis=0)
        pos, weight, gene = rows.pos[keep], rows.weight[keep], gene[keep]
        scores, further = rows.scores[:, keep], rows.further.reshape(-1, 2, len(keep))[self.columns][:, :, keep]
        for k in (0, 1):
            keys = self._keys[k]
            card = np.searchsorted(keys, _key(rows.cell, pos))
            card = np.minimum(card, max(len(keys) - 1, 0))
            hit = keys[card] == _key(rows.cell, pos) if len(keys) else np.zeros(len(pos), bool)
            rest = ~hit
            lines = {**dict(enumerate(further[:, k])), "blind": scores[k]}
            if self.compared:
                lines["base"] = scores[2 + k]
            for name, line in lines.items():
                self.pools[k, name].add(gene[rest], line[rest], weight[rest])
            base = scores[2 + k] if self.compared else np.full(len(pos), np.nan, np.float32)
            values = np.concatenate([further[:, k], scores[k][None], base[None]])[:, hit].T
            card = card[hit]
            found = _SiteRows(gene[hit], weight[hit], self._state[k][card], self._variable[k][card], values)
            self.rows[k].append(found)

    def document(self, draws: int, seed: int) -> dict:
        """The entry `tissues` of the metrics (schemas/metrics.toml); plain values, not yet rounded."""
        times = bootstrap.draw_genes(len(self.truth.genes), draws, seed)
        sites = [_joined(rows, len(self.names)) for rows in self.rows]
        models = MODELS if self.compared else MODELS[:2]
        each, totals = [], {m: [] for m in models}
        for t, name in enumerate(self.names):
            entry, drawn = self._tissue(t, sites, models, times)
            each.append({"name": name, **entry})
            if drawn:
                for m in models:
                    totals[m].append(drawn[m])
        overall = {"tissues": len(totals["meta"])}
        if overall["tissues"]:
            points = {m: np.mean(totals[m], axis=0) for m in models}
            overall |= {
                m: {"macro_ap": points[m][0], "interval": bootstrap.interval(points[m][1:], (0, 1))} for m in models
            }
            overall |= _gains(points)
        return {"by_tissue": each, "mean": overall, "within_site": self._within(sites, times)}

    def _tissue(self, t: int, sites: list[_SiteRows], models: tuple, times: np.ndarray) -> tuple[dict, dict]:
        """One tissue: its entry, and by model the macro AP of each draw (none where there are too few active sites)."""
        entry, drawn = {}, {m: [] for m in models}
        for k, site in enumerate(SITES):
            rows = sites[k]
            active, inactive = rows.state[:, t] == ACTIVE, rows.state[:, t] == INACTIVE
            one = entry[site] = {"active": int(active.sum()), "inactive": int(inactive.sum())}
            if not active.any():
                continue
            curves = {}
            for m in models:
                column = {"meta": t, "blind": len(self.names), "base": len(self.names) + 1}[m]
                pool = self.pools[k, t if m == "meta" else m]
                curves[m], ap = _judge(pool, rows, column, active, inactive, times)
                one[m] = {"ap": ap[0]}
                drawn[m].append(ap)
            one["prevalence"] = metrics.prevalence(curves["meta"])
            precision = metrics.at_threshold(curves[models[-1]])["precision"]
            for m in models:
                point = metrics.at_precision(curves[m], precision) if precision else None
                one[m]["recall"] = (point or {}).get("recall")
            one["at_precision"] = precision
        if any(len(drawn[m]) < 2 for m in models):
            return entry, {}
        macro = {m: np.mean(drawn[m], axis=0) for m in models}
        entry["macro"] = {m: {"ap": macro[m][0]} for m in models} | _gains(macro)
        return entry, macro

    def _within(self, sites: list[_SiteRows], times: np.ndarray) -> dict:
        """Ranking of the tissues of tissue-variable sites."""
        width = len(self.names)
        gene, score, state = (
            np.concatenate(parts)
            for parts in zip(
                *((r.gene[r.variable], r.scores[r.variable, :width], r.state[r.variable]) for r in sites), strict=True
            )
        )
        telling = tissue_ranking.telling(state)
        gene, score, state = gene[telling], score[telling], state[telling]
        entry = {"sites": len(gene), "genes": len(np.unique(gene)), "variable_without_both": int((~telling).sum())}
        if not len(gene):
            return entry
        prior = np.tile(self.activity, (len(gene), 1))
        rows = {
            "meta": tissue_ranking.average_precision(score, state),
            "chance": tissue_ranking.chance(state),
            "meta_auc": tissue_ranking.auc(score, state),
        }
        if np.isfinite(prior).all():
            rows["tissue_prior"] = tissue_ranking.average_precision(prior, state)
            rows["tissue_prior_auc"] = tissue_ranking.auc(prior, state)
        drawn = {name: _means(gene, values, times) for name, values in rows.items()}
        for name, values in drawn.items():
            entry[name] = {"mean": values[0], "interval": bootstrap.interval(values[1:], (0, 1))}
        for other in ("chance", "tissue_prior"):
            if other in drawn:
                gap = drawn["meta"] - drawn[other]
                inside = bootstrap.interval(gap[1:])
                entry[f"above_{other}"] = {"mean": gap[0], "interval": inside, "verdict": bootstrap.verdict(inside)}
        return entry


def _key(cell: int, pos: np.ndarray) -> np.ndarray:
    return (cell << 40) + pos


def _by_key(truth: Truth, table, state: np.ndarray, psi: np.ndarray) -> tuple[list, list, list]:
    """Of donors and of acceptors: keys (sorted), states, and whether the PSI varies, of the sites that are known somewhere
    or in the labels.
    """
    cells = np.array(
        [truth.cell_of(c, s) for c, s in zip(*(table[k].to_pylist() for k in ("chrom", "strand")), strict=True)]
    )
    keys = (cells.astype(np.int64) << 40) + table["pos"].to_numpy()
    donor = np.array(table["site"].to_pylist(), object) == "donor"
    known = np.isfinite(psi)
    span = np.where(known, psi, -np.inf).max(axis=1) - np.where(known, psi, np.inf).min(axis=1)
    out: tuple[list, list, list] = ([], [], [])
    for mine in (np.flatnonzero(donor), np.flatnonzero(~donor)):
        mine = mine[np.argsort(keys[mine], kind="stable")]
        for place, values in zip(out, (keys, state, span > VARIABLE), strict=True):
            place.append(values[mine])
    return out


def _joined(rows: list[_SiteRows], width: int) -> _SiteRows:
    empty = _SiteRows(
        np.zeros(0, np.int64), np.zeros(0), np.zeros((0, width), np.int8), np.zeros(0, bool), np.zeros((0, width + 2), np.float32)
    )  # fmt: skip
    return _SiteRows(
        *(np.concatenate(parts) for parts in zip(*(vars(r).values() for r in (empty, *rows)), strict=True))
    )


def _judge(pool: _Pool, rows: _SiteRows, column: int, active, inactive, times) -> tuple[metrics.Curve, np.ndarray]:
    """(curve, AP as it is and in each draw) of active sites against inactive ones and the pool."""
    score, weight, gene = rows.scores[:, column], rows.weight, rows.gene
    edges, counts, _ = pool.scores.select(None)
    placed = [pool.scores.place(score[mine])[0] for mine in (active, inactive)]
    positive = np.concatenate([weight[active], np.zeros(inactive.sum() + len(edges))])
    negative = np.concatenate([np.zeros(active.sum()), weight[inactive], counts])
    curve = metrics.make_curve(np.concatenate([*placed, edges]), positive, negative)
    ap = metrics.average_precision(curve)
    n = len(times)
    up, down = (
        bootstrap.positive_matrix(gene[mine], score[mine], weight[mine], n) @ times for mine in (active, inactive)
    )
    drawn = bootstrap.draw_average_precision(up, down + pool.genes.matrix(n) @ times)
    return curve, np.concatenate([[ap], bootstrap.shifted(drawn, ap)])


def _gains(macro: dict) -> dict:
    """Differences of the model to the others, with intervals and verdicts."""
    out = {}
    for other in [m for m in macro if m != "meta"]:
        gap = macro["meta"] - macro[other]
        inside = bootstrap.interval(gap[1:])
        out[f"above_{other}"] = {"ap": gap[0], "interval": inside, "verdict": bootstrap.verdict(inside)}
    return out


def _means(gene: np.ndarray, values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Mean over sites, as it is and in each draw of genes; NaN where a draw has none."""
    weight = times[gene]
    total = weight.sum(axis=0)
    return np.divide(values @ weight, total, out=np.full(len(total), np.nan), where=total > 0)
