"""Paired gene bootstrap of average precision: weights per gene and coarse score bin, resampled by gene.

Genes are drawn with replacement, the same draw for base and meta. The coarse bins (16 to a factor of two in
the odds) serve for the spread only: each draw is shifted by what they do to the point estimate.
"""

import numpy as np
from scipy import sparse

from libmeta.histograms import COARSE_BINS, COARSE_SHIFT, bin_of

MINIMUM_GENES = 5  # resampling fewer says nothing of other genes
ABOVE, SAME, BELOW, TOO_FEW = "above", "not distinguishable", "below", "too few"
_PENDING = 1 << 22


class GeneCounts:
    """Sparse weights (gene, coarse bin) of one class and one model, mergeable."""

    def __init__(self):
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []
        self.pending = 0

    def add(self, gene: np.ndarray, bins: np.ndarray, weight: np.ndarray) -> None:
        """Add rows: gene number int (n,), fine bin (histograms.bin_of) int (n,), weight (n,)."""
        if not len(gene):
            return
        first = int(gene.min())
        width = int(gene.max()) - first + 1
        key = (gene.astype(np.int64) - first) * COARSE_BINS + (bins >> COARSE_SHIFT)
        if width * COARSE_BINS <= 16 * len(gene) + (1 << 16):  # few genes, as in sorted rows: no sort
            total = np.bincount(key, weight, width * COARSE_BINS)
            keys = np.flatnonzero(total)
            self._append(keys + first * COARSE_BINS, total[keys])
        else:
            self._append(*_sum(key + first * COARSE_BINS, weight))

    def _append(self, keys: np.ndarray, weights: np.ndarray) -> None:
        self.parts.append((keys, weights))
        self.pending += len(keys)
        if self.pending > _PENDING:
            self.parts = [self.total()]
            self.pending = 0

    def total(self) -> tuple[np.ndarray, np.ndarray]:
        """Distinct keys gene * COARSE_BINS + bin, sorted, and their weights."""
        if not self.parts:
            return np.empty(0, np.int64), np.empty(0)
        return _sum(np.concatenate([k for k, _ in self.parts]), np.concatenate([w for _, w in self.parts]))

    def merge(self, other: "GeneCounts") -> None:
        """Take in another piece of the same evaluation."""
        for keys, weights in other.parts:
            self._append(keys, weights)

    def matrix(self, genes: int) -> sparse.csr_matrix:
        """Weights as a sparse matrix (COARSE_BINS, genes)."""
        keys, weights = self.total()
        return sparse.csr_matrix((weights, (keys % COARSE_BINS, keys // COARSE_BINS)), (COARSE_BINS, genes))


def _sum(keys: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distinct, inverse = np.unique(keys, return_inverse=True)
    return distinct, np.bincount(inverse, weights, len(distinct))


def positive_matrix(gene: np.ndarray, score: np.ndarray, weight: np.ndarray, genes: int) -> sparse.csr_matrix:
    """Weights of positives as a sparse matrix (COARSE_BINS, genes), from gene number, score and weight, each
    (n,).
    """
    bins = bin_of(score) >> COARSE_SHIFT
    return sparse.csr_matrix((weight.astype(np.float64), (bins, gene)), (COARSE_BINS, genes))


def draw_genes(genes: int, draws: int, seed: int) -> np.ndarray:
    """How often each gene is drawn, float64 (genes, 1 + draws); column 0 is the data as it is, all ones."""
    generator = np.random.default_rng(seed)
    times = np.ones((genes, 1 + draws))
    for i in range(draws):
        times[:, 1 + i] = np.bincount(generator.integers(0, genes, genes), minlength=genes)
    return times


def draw_average_precision(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """AP of every column of weights (bins, draws), lowest bin first; NaN where a draw has no positive."""
    tp = np.cumsum(positive[::-1], axis=0)
    called = tp + np.cumsum(negative[::-1], axis=0)
    precision = np.divide(tp, called, out=np.zeros_like(tp), where=called > 0)
    found = (positive[::-1] * precision).sum(axis=0)
    return np.divide(found, tp[-1], out=np.full(tp.shape[1], np.nan), where=tp[-1] > 0)


def shifted(draws: np.ndarray, point: float) -> np.ndarray:
    """Draws (1 + n,) without the first, moved by what coarse bins do to the point estimate (the first)."""
    return draws[1:] - draws[0] + point


def interval(draws: np.ndarray, bounds: tuple[float, float] | None = None) -> list[float] | None:
    """The 95 % percentile interval [low, high] of draws (n,), NaN left out; None with fewer than 20."""
    good = draws[np.isfinite(draws)]
    if len(good) < 20:
        return None
    low, high = np.percentile(good, [2.5, 97.5])
    if bounds is not None:
        low, high = np.clip([low, high], *bounds)
    return [float(low), float(high)]


def verdict(difference: list[float] | None) -> str:
    """Of the interval of meta - base: above or below where it excludes zero."""
    if difference is None:
        return TOO_FEW
    return ABOVE if difference[0] > 0 else BELOW if difference[1] < 0 else SAME
