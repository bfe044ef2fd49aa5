"""Scored rows against the truth: one pass, in pieces, in memory that does not grow with the rows.

Sites keep their own scores (there are few); all other positions of the scope are negatives and go into
histograms (`histograms.Scores`) and counts per gene (`bootstrap.GeneCounts`). Each class is judged by itself:
a position that is donor and acceptor is a positive of both, a donor is a negative among acceptors, a masked
donor leaves the donors only.
"""

from dataclasses import dataclass

import numpy as np

from libmeta.bootstrap import GeneCounts
from libmeta.errors import MetaError
from libmeta.histograms import EXACT_ROWS, Scores, bin_of
from libmeta.scored_rows import Rows
from libmeta.truth import MASKED, NEGATIVE, SITES, Truth

MODELS = ("meta", "base")
UNCERTAIN = (0.1, 0.9)  # the base model's highest score of a position it is unsure of
PEAK = 0.02  # rows with a score from here on are kept for pictures


@dataclass
class Counts:
    """Numbers of rows, and the sum of the sampling weights of those in the scope."""

    rows: int = 0
    outside: int = 0
    without_base: int = 0
    scored: int = 0
    unit_weights: int = 0
    weight: float = 0.0

    def merge(self, other: "Counts") -> None:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)


class Evaluation:
    """Accumulates scored rows against a Truth; pieces may come in any order and be merged.

    compared: rows hold base scores too. peaks: keep rows with a notable score for pictures.

    Filled by add(): counts; negatives[class, model] (Scores by cell) and uncertain[class, model] (the same,
    of positions that the base model is unsure of), genes and genes_uncertain (GeneCounts); of the sites of
    truth, by number: seen bool (n,), weight (n,), score float32 (4, n) as in Rows, dropped bool (n,): no base
    score.
    """

    def __init__(self, truth: Truth, compared: bool, peaks: bool = False, exact_rows: int = EXACT_ROWS):
        self.truth, self.compared = truth, compared
        self.models = MODELS if compared else MODELS[:1]
        self.counts = Counts()
        stacks = [(site, model) for site in SITES for model in self.models]
        self.negatives = {s: Scores(exact_rows) for s in stacks}
        self.uncertain = {s: Scores(exact_rows) for s in stacks} if compared else {}
        self.genes = {s: GeneCounts() for s in stacks}
        self.genes_uncertain = {s: GeneCounts() for s in self.uncertain}
        n = len(truth.pos)
        self.seen, self.dropped, self.weight = np.zeros(n, bool), np.zeros(n, bool), np.zeros(n)
        self.score = np.zeros((2 * len(self.models), n), np.float32)
        self.scored_genes = np.zeros(len(truth.genes), bool)
        self.peaks: list[Rows] | None = [] if peaks else None
        self._marks: dict[int, np.ndarray] = {}  # one bit for every position of the scope that has been scored

    # ---- rows in -----------------------------------------------------------------------------------------

    def add(self, rows: Rows) -> None:
        """Take in rows of one cell. Raises MetaError for a score that is not in [0, 1] and for a position met
        twice.
        """
        n = len(rows.pos)
        self.counts.rows += n
        segments = self.truth.segments.get(rows.cell)
        if segments is None:
            self.counts.outside += n
            return
        pos, weight, scores = _by_position(rows)
        gene, offset = segments.find(pos)
        if not np.all(inside := gene >= 0):
            self.counts.outside += n - int(inside.sum())
            pos, weight, scores = pos[inside], weight[inside], scores[:, inside]
            gene, offset = gene[inside], offset[inside]
        if not len(pos):
            return
        self._check(rows.cell, pos, scores)
        self._mark(rows.cell, offset, pos)
        self.counts.scored += len(pos)
        self.counts.weight += float(weight.sum())
        self.counts.unit_weights += int(np.count_nonzero(weight == 1))
        self.scored_genes[gene] = True
        self._score(rows.cell, pos, weight, scores, gene)

    def _check(self, cell: int, pos: np.ndarray, scores: np.ndarray) -> None:
        if scores.min() >= 0 and scores.max() <= 1:
            return
        for values, whose in ((scores[:2], "refined"), (scores[2:], "base")):
            wrong = ~((values >= 0) & (values <= 1))
            # a refined score may be missing where the base score is: what refines it has nothing to start from
            wrong &= ~(np.isnan(values) if whose == "base" else np.isnan(values) & np.isnan(scores[2:]).any(axis=0))
            if wrong.any():
                site, at = np.argwhere(wrong)[0]
                where = self._where(cell, pos[at])
                raise MetaError(
                    f"{whose} {SITES[site]} score {values[site, at]} is no probability, {where}; make the scores again"
                )

    def _where(self, cell: int, pos: int) -> str:
        chrom, strand = self.truth.cell_name(cell)
        return f"{chrom}:{pos + 1}:{strand}"

    def _mark(self, cell: int, offset: np.ndarray, pos: np.ndarray) -> None:
        """Set the bit of every position; one that is set already was met before. Positions ascend, offsets
        too.
        """
        marks = self._marks.get(cell)
        if marks is None:
            marks = self._marks[cell] = np.zeros((self.truth.segments[cell].size + 7) // 8, np.uint8)
        twice = np.flatnonzero(offset[1:] == offset[:-1])
        if len(twice):
            raise self._duplicate(cell, pos[twice[0]])
        byte, bit = offset >> 3, np.left_shift(1, offset & 7).astype(np.uint8)
        starts = np.flatnonzero(np.concatenate([[True], byte[1:] != byte[:-1]]))
        bits, places = np.bitwise_or.reduceat(bit, starts), byte[starts]
        if np.any(marks[places] & bits):
            raise self._duplicate(cell, pos[np.flatnonzero(marks[byte] & bit)[0]])
        marks[places] |= bits

    def _duplicate(self, cell: int, pos: int) -> MetaError:
        return MetaError(f"a position stands twice in the scores, {self._where(cell, pos)}; keep one row of each")

    def _score(self, cell: int, pos: np.ndarray, weight: np.ndarray, scores: np.ndarray, gene: np.ndarray) -> None:
        first = self.truth.cards(cell)
        low, high = first.start + np.searchsorted(self.truth.pos[first], (pos[0], pos[-1] + 1))
        at = np.searchsorted(pos, self.truth.pos[low:high])
        hit = pos[at] == self.truth.pos[low:high]
        card, at = np.arange(low, high)[hit], at[hit]
        self.seen[card], self.weight[card], self.score[:, card] = True, weight[at], scores[:, at]
        if self.compared and np.isnan(scores[2:].sum()):
            lacking = np.isnan(scores[2:]).any(axis=0)
            self.counts.without_base += int(lacking.sum())
            self.dropped[card[lacking[at]]] = True
            weight = np.where(lacking, 0.0, weight)
            scores = np.where(lacking, np.float32(0), scores)
        if self.peaks is not None:
            self._keep_peaks(cell, pos, weight, scores)
        self._add_negatives(cell, weight, scores, gene, card, at)

    def _add_negatives(self, cell, weight, scores, gene, card, at) -> None:
        unsure = np.empty(0, np.int64)
        if self.compared:
            highest = scores[2:].max(axis=0)
            unsure = np.flatnonzero((highest >= UNCERTAIN[0]) & (highest <= UNCERTAIN[1]))
        for i, site in enumerate(SITES):
            own = weight.copy()
            own[at[self.truth.state[i, card] != NEGATIVE]] = 0  # a positive, or masked
            for j, model in enumerate(self.models):
                score = scores[2 * j + i]
                bins = bin_of(score)
                self.negatives[site, model].add(cell, score, own, bins)
                self.genes[site, model].add(gene, bins, own)
                if len(unsure):
                    self.uncertain[site, model].add(0, score[unsure], own[unsure], bins[unsure])
                    self.genes_uncertain[site, model].add(gene[unsure], bins[unsure], own[unsure])

    def _keep_peaks(self, cell: int, pos: np.ndarray, weight: np.ndarray, scores: np.ndarray) -> None:
        high = np.flatnonzero((scores.max(axis=0) >= PEAK) & (weight > 0))
        if len(high):
            self.peaks.append(Rows(cell, pos[high], weight[high], scores[:, high]))

    # ---- pieces together ---------------------------------------------------------------------------------

    def merge(self, other: "Evaluation") -> None:
        """Take in another piece of the same evaluation (same Truth); a position in both is an error."""
        for cell, marks in other._marks.items():
            mine = self._marks.setdefault(cell, np.zeros_like(marks))
            if np.any(mine & marks):
                chrom, strand = self.truth.cell_name(cell)
                raise MetaError(f"positions stand in both pieces, {chrom} strand {strand}; keep one row of each")
            mine |= marks
        self.counts.merge(other.counts)
        for mine, theirs in (
            (self.negatives, other.negatives),
            (self.uncertain, other.uncertain),
            (self.genes, other.genes),
            (self.genes_uncertain, other.genes_uncertain),
        ):
            for stack, scores in mine.items():
                scores.merge(theirs[stack])
        self.seen |= other.seen
        self.dropped |= other.dropped
        self.scored_genes |= other.scored_genes
        self.weight += other.weight
        self.score += other.score
        if self.peaks is not None:
            self.peaks += other.peaks or []

    # ---- sites -------------------------------------------------------------------------------------------

    def positives(self, i: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of class i: numbers of its positives, weights (n,), scores (models, n); a site without a row has
        score 0.

        A sampled site may stand for others (weight above 1): sites without a row count only as far as the
        weights of the scored ones do not stand for them already. Sites that the base model did not score are
        left out.
        """
        chosen = np.flatnonzero((self.truth.state[i] > NEGATIVE) & (self.truth.state[i] != MASKED) & ~self.dropped)
        seen = self.seen[chosen]
        lacking = int((~seen).sum())
        weight = np.where(seen, self.weight[chosen], 0.0)
        if lacking:
            weight[~seen] = min(1.0, max(0.0, (len(chosen) - weight.sum()) / lacking))
        return chosen, weight, self.score[i::2, chosen]

    def site_counts(self, i: int) -> dict[str, int | float]:
        """Of class i: sites in the scope, with a row, without, taken for missed, left out as masked or
        without base score.
        """
        state = self.truth.state[i]
        chosen, weight, _ = self.positives(i)
        positive = (state != NEGATIVE) & (state != MASKED)
        seen = self.seen[chosen]
        return {
            "in_scope": int(positive.sum()),
            "scored": int(seen.sum()),
            "without_row": int((~seen).sum()),
            "taken_for_missed": float(weight[~seen].sum()),
            "without_base_score": int((positive & self.dropped).sum()),
            "masked": int((state == MASKED).sum()),
        }


def _by_position(rows: Rows) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if np.all(rows.pos[1:] > rows.pos[:-1]):
        return rows.pos, rows.weight, rows.scores
    order = np.argsort(rows.pos, kind="stable")
    return rows.pos[order], rows.weight[order], rows.scores[:, order]
