"""Weighted scores of negatives, exact while they are few, in fine logit bins beyond: constant memory,
mergeable.

A bin holds scores of equal relative width in the odds: 4,096 to a factor of two, towards 0 for scores below
0.5 and towards 1 above, so that 0.5 is an edge and scores near 0 and near 1 keep their order. Bin numbers
come from the bits of the float32 score, without a logarithm.
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
EXACT_ROWS = 1 << 18
_SHIFT_STEP = 12  # a factor of two in the odds
_STEPS = (BINS >> _SHIFT_STEP) + 1


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

    At most `exact_rows` rows, those with the highest scores, are kept as they are; the rest goes to the bins.
    The floor between the two is a power of two in the odds, the lowest that leaves no more rows above it. It
    follows from the scores alone, so that neither their order nor the way they were split up matters.
    """

    def __init__(self, exact_rows: int = EXACT_ROWS):
        self.exact_rows = exact_rows
        self.floor = 0  # rows in lower bins are binned
        self.rows = 0  # kept as they are
        self.kept: list[tuple[int, np.ndarray, np.ndarray]] = []
        self.binned: dict[int, np.ndarray] = {}

    def add(self, cell: int, score: np.ndarray, weight: np.ndarray, bins: np.ndarray | None = None) -> None:
        """Add scores float32 (n,) with weights (n,) to one cell; bins: bin_of(score), where it is known."""
        if self.floor:
            bins = bin_of(score) if bins is None else bins
            high = np.flatnonzero(bins >= self.floor)
            rest = weight.astype(np.float64)
            rest[high] = 0
            np.add.at(self._counts(cell), bins, rest)
            score, weight = score[high], weight[high]
        self._keep(cell, score.copy(), weight.astype(np.float64))
        self._lower()

    def _counts(self, cell: int) -> np.ndarray:
        if cell not in self.binned:
            self.binned[cell] = np.zeros(BINS)
        return self.binned[cell]

    def _keep(self, cell: int, score: np.ndarray, weight: np.ndarray) -> None:
        if len(score):
            self.kept.append((cell, score, weight))
            self.rows += len(score)

    def _lower(self, floor: int = 0) -> None:
        """Raise the floor to at least `floor`, and as far as the number of rows asks; bin what is below."""
        if self.rows > self.exact_rows:
            steps = np.zeros(_STEPS, np.int64)
            for _, score, _ in self.kept:
                steps += np.bincount(bin_of(score) >> _SHIFT_STEP, minlength=_STEPS)
            above = np.append(np.cumsum(steps[::-1])[::-1], 0)
            floor = max(floor, int(np.argmax(above <= self.exact_rows)) << _SHIFT_STEP)
        if floor <= self.floor:
            return
        self.floor, self.rows, kept, self.kept = floor, 0, self.kept, []
        for cell, score, weight in kept:
            bins = bin_of(score)
            low = bins < floor
            np.add.at(self._counts(cell), bins[low], weight[low])
            self._keep(cell, score[~low], weight[~low])

    def merge(self, other: "Scores") -> None:
        """Take in the scores of another piece of the same evaluation."""
        for cell, counts in other.binned.items():
            self.binned[cell] = self.binned.get(cell, 0) + counts
        self.kept += other.kept
        self.rows += other.rows
        floor, self.floor = max(self.floor, other.floor), min(self.floor, other.floor)
        self._lower(floor)

    def select(self, cells: set[int] | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Scores, weights and centres (m,), float64, of some cells or of all: see place()."""
        chosen = [k for k in self.kept if cells is None or k[0] in cells]
        score = np.concatenate([np.empty(0, np.float32), *(k[1] for k in chosen)]).astype(np.float64)
        weight = np.concatenate([np.empty(0), *(k[2] for k in chosen)])
        total = np.zeros(BINS)
        for cell, counts in self.binned.items():
            if cells is None or cell in cells:
                total += counts
        bins = np.flatnonzero(total)
        return (
            np.concatenate([EDGES[bins], score]),
            np.concatenate([total[bins], weight]),
            np.concatenate([CENTRES[bins], score]),
        )

    def place(self, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """What other scores float32 (n,) are called here: the smallest score and the centre of their bin, or
        as is.
        """
        bins = bin_of(score)
        low = bins < self.floor
        return np.where(low, EDGES[bins], score), np.where(low, CENTRES[bins], score)
