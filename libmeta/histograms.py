"""Weighted scores of negatives, exact while they are few, in fine logit bins beyond: constant memory, mergeable.

A bin holds scores of equal relative width in the odds: 4,096 to a factor of two, towards 0 for scores below 0.5 and
towards 1 above, so that 0.5 is an edge and scores near 0 and near 1 keep their order. Bin numbers come from the bits of
the float32 score, without a logarithm.
"""

import numpy as np

_SHIFT = 11  # of the 23 mantissa bits of a float32, 12 are kept: 2**12 bins to a factor of two
_ZERO = np.float32(2.0**-24).view(np.uint32)  # scores below 6e-8 share the first bin
_HALF = np.float32(0.5).view(np.uint32)
_ONE = np.float32(2.0**-25).view(np.uint32)  # below the smallest non-zero 1 - score of a float32: the bin of 1.0
_LOWER = int(_HALF - _ZERO) >> _SHIFT
BINS = _LOWER + (int(_HALF - _ONE) >> _SHIFT) + 1
COARSE_SHIFT = 8  # 16 coarse bins to a factor of two, for the counts per gene
COARSE_BINS = (BINS >> COARSE_SHIFT) + 1
EXACT_ROWS = 1 << 20


def bin_of(score: np.ndarray) -> np.ndarray:
    """Bin numbers, int64 (n,), of probabilities float32 (n,) in [0, 1]; never decreasing with the score."""
    score = np.ascontiguousarray(score, np.float32)
    lower = (np.maximum(score.view(np.uint32), _ZERO) - _ZERO) >> _SHIFT
    rest = np.float32(1) - score  # exact for scores of 0.5 and more
    upper = (_HALF - np.clip(rest.view(np.uint32), _ONE, _HALF)) >> _SHIFT
    return np.where(score < np.float32(0.5), lower, upper + np.uint32(_LOWER)).astype(np.int64)


def _make_edges() -> np.ndarray:
    lower = (_ZERO + (np.arange(_LOWER, dtype=np.uint32) << _SHIFT)).view(np.float32).astype(np.float64)
    steps = np.arange(BINS - _LOWER, dtype=np.uint32)
    upper = 1.0 - (_HALF - (steps << _SHIFT)).view(np.float32).astype(np.float64)
    lower[0], upper[-1] = 0.0, 1.0
    return np.concatenate([lower, upper, [1.0]])


_EDGES = _make_edges()
EDGES = _EDGES[:-1]  # float64 (BINS,): the smallest score of each bin
CENTRES = (_EDGES[:-1] + _EDGES[1:]) / 2  # float64 (BINS,): what a score of the bin is taken for in calibration


class Scores:
    """Weighted scores of one class and one model, kept apart by cell (say, one contig and strand).

    Up to `exact_rows` rows are kept as they are; with more, all go to the bins. Which of the two holds depends on the
    number of rows alone, so that neither their order nor the way they were split up matters.
    """

    def __init__(self, cells: int, exact_rows: int = EXACT_ROWS):
        self.cells, self.exact_rows, self.rows = cells, exact_rows, 0
        self.kept: list[tuple[int, np.ndarray, np.ndarray]] = []
        self.binned: dict[int, np.ndarray] | None = None

    def add(self, cell: int, score: np.ndarray, weight: np.ndarray, bins: np.ndarray | None = None) -> None:
        """Add scores float32 (n,) with weights (n,) to one cell; bins: bin_of(score), where it is known already."""
        self.rows += len(score)
        if self.binned is None and self.rows <= self.exact_rows:
            self.kept.append((cell, score.copy(), weight.astype(np.float64)))
            return
        self._to_bins()
        self._add_binned(cell, bin_of(score) if bins is None else bins, weight)

    def _to_bins(self) -> None:
        if self.binned is None:
            self.binned = {}
            for cell, score, weight in self.kept:
                self._add_binned(cell, bin_of(score), weight)
            self.kept = []

    def _add_binned(self, cell: int, bins: np.ndarray, weight: np.ndarray) -> None:
        counts = self.binned.setdefault(cell, np.zeros(BINS))
        np.add.at(counts, bins, weight.astype(np.float64, copy=False))

    def merge(self, other: "Scores") -> None:
        """Take in the scores of another piece of the same evaluation."""
        self.rows += other.rows
        self.kept += other.kept
        if self.binned is not None or other.binned is not None or self.rows > self.exact_rows:
            self._to_bins()
        for cell, counts in (other.binned or {}).items():
            self.binned[cell] = self.binned.get(cell, 0) + counts

    def select(self, cells: set[int] | None = None) -> tuple[np.ndarray, np.ndarray, bool]:
        """Scores (m,), weights (m,), and whether the scores are bin numbers; of some cells, or of all."""
        if self.binned is None:
            chosen = [k for k in self.kept if cells is None or k[0] in cells]
            score = np.concatenate([k[1] for k in chosen]) if chosen else np.empty(0, np.float32)
            weight = np.concatenate([k[2] for k in chosen]) if chosen else np.empty(0)
            return score, weight, False
        total = np.zeros(BINS)
        for cell, counts in self.binned.items():
            if cells is None or cell in cells:
                total += counts
        bins = np.flatnonzero(total)
        return bins, total[bins], True
