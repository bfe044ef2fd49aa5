"""Sums, counts and maxima over the surroundings of many positions at once, NaN left out."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view


class Moments:
    """Count, sum and sum of squares of the known values around any indices of an array.

    values: (L,) with NaN for unknown. Prefix sums restart from the mean of the known values, so that long arrays lose no
    digits.
    """

    def __init__(self, values: np.ndarray):
        self._centre, shifted, self._count = _from_the_mean(values)
        self._first = _prefix(shifted)
        shifted *= shifted
        self._second = _prefix(shifted)

    def around(self, at: np.ndarray, reach: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(count, sum, sum of squares) of the known values in [i - reach, i + reach] for each index i of `at`, float64.

        Every window must lie inside the array.
        """
        low, high = at - reach, at + reach + 1
        count, first, second = (p[high] - p[low] for p in (self._count, self._first, self._second))
        centre = self._centre
        return count.astype(np.float64), first + count * centre, second + 2 * centre * first + count * centre**2


def _from_the_mean(values: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """(mean of the known values, float64 (L,) distance from it, 0 where unknown; int32 (L + 1,) prefix counts of known)."""
    known = np.isfinite(values)
    count = np.zeros(len(values) + 1, np.int32)
    np.cumsum(known, out=count[1:])
    total = int(count[-1])
    if total == len(values):
        centre = float(values.mean(dtype=np.float64)) if total else 0.0
        return centre, values - centre if values.dtype == np.float64 else values.astype(np.float64) - centre, count
    shifted = np.where(known, values, 0).astype(np.float64)
    centre = float(shifted.sum()) / total if total else 0.0
    shifted -= centre
    shifted[~known] = 0.0
    return centre, shifted, count


def _prefix(values: np.ndarray) -> np.ndarray:
    """float64 (L + 1,): sums of values[:i]."""
    out = np.zeros(len(values) + 1)
    np.cumsum(values, out=out[1:])
    return out


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
        self._centre, shifted, self._count = _from_the_mean(values)
        self._sum = _prefix(shifted)

    def mean(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Mean of the known values in each [low, high), float64 (n,); NaN where none is known."""
        top = len(self._count) - 1
        low, high = np.clip(low, 0, top), np.clip(high, 0, top)
        count = self._count[high] - self._count[low]
        total = self._sum[high] - self._sum[low]
        return np.where(count > 0, total / np.maximum(count, 1) + self._centre, np.nan)
