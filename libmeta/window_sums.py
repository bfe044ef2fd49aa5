"""Sums, counts and maxima over the surroundings of many positions at once, NaN left out."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


def sums_around(values: np.ndarray, at: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(count, sum, sum of squares) of the known values in [i - reach, i + reach] for each index i of `at`.

    values: float64 (L,) with NaN for unknown; every window must lie inside. Prefix sums restart from the mean of the
    known values, so that long arrays lose no digits.
    """
    known = np.isfinite(values)
    centre = values[known].mean() if known.any() else 0.0
    shifted = np.where(known, values - centre, 0.0)
    low, high = at - reach, at + reach + 1

    def between(x: np.ndarray) -> np.ndarray:
        prefix = np.concatenate([[0.0], np.cumsum(x)])
        return prefix[high] - prefix[low]

    count = between(known.astype(np.float64))
    first, second = between(shifted), between(shifted**2)
    return count, first + count * centre, second + 2 * centre * first + count * centre**2


def max_around(values: np.ndarray, at: np.ndarray, reach: int) -> np.ndarray:
    """Maximum of the known values in [i - reach, i + reach]; NaN where none is known. (For small reach: gathers.)"""
    filled = np.where(np.isfinite(values), values, -np.inf)
    if len(values) < 2 * reach + 1 or not len(at):
        return np.full(len(at), np.nan)
    top = sliding_window_view(filled, 2 * reach + 1)[at - reach].max(axis=1)
    return np.where(np.isfinite(top), top, np.nan)


class PrefixSums:
    """Count and mean of the known values of any stretches [low, high) of an array, NaN left out.

    values: (L,) with NaN for unknown. Prefix sums restart from the mean of the known values, so that long arrays lose no
    digits. Stretches are cut to [0, L).
    """

    def __init__(self, values: np.ndarray):
        known = np.isfinite(values)
        self._centre = float(values[known].mean(dtype=np.float64)) if known.any() else 0.0
        shifted = np.where(known, values, self._centre).astype(np.float64)
        shifted -= self._centre
        self._count = np.concatenate([[0], np.cumsum(known, dtype=np.int64)])
        self._sum = np.concatenate([[0.0], np.cumsum(shifted)])

    def mean(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Mean of the known values in each [low, high), float64 (n,); NaN where none is known."""
        top = len(self._count) - 1
        low, high = np.clip(low, 0, top), np.clip(high, 0, top)
        count = self._count[high] - self._count[low]
        total = self._sum[high] - self._sum[low]
        return np.where(count > 0, total / np.maximum(count, 1) + self._centre, np.nan)
