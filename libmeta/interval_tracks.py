"""Intervals as tracks: what a sorted sweep over their ends makes of each base.

What a base without an interval is, follows from the kind of file: of a bedGraph it was not measured and is NaN, as in a
bigWig; of peaks (BED, narrowPeak, broadPeak) it is a true 0, but NaN on contigs that the file does not have.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from libmeta.contigs import Contigs
from libmeta.interval_files import IntervalFile, is_bigwig
from libmeta.tracks import BigWig

_PAIRS = 1 << 22  # (stretch, interval) pairs held at once


@dataclass
class Steps:
    """A piecewise constant function: disjoint ascending [start, end) int64 (n,) with values (n,) or (n, k)."""

    start: np.ndarray
    end: np.ndarray
    values: np.ndarray

    def at(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row of the step at each position, whether there is one)."""
        if not len(self.start):
            return np.zeros(len(positions), np.int64), np.zeros(len(positions), bool)
        row = np.clip(np.searchsorted(self.start, positions, side="right") - 1, 0, None)
        return row, (self.start[row] <= positions) & (positions < self.end[row])

    def dense(self, values: np.ndarray, low: int, high: int, fill: float) -> np.ndarray:
        """float32 (high - low,): `values` (n,) of the steps at every base of [low, high), `fill` between them."""
        first, last = np.searchsorted(self.end, low, side="right"), np.searchsorted(self.start, high, side="left")
        n = max(last - first, 0)
        edges = np.full(2 * n + 2, low, np.int64)
        edges[1:-1:2], edges[2:-1:2] = np.maximum(self.start[first:last], low), np.minimum(self.end[first:last], high)
        edges[-1] = high
        parts = np.full(2 * n + 1, fill, np.float32)
        parts[1::2] = values[first:last]
        return np.repeat(parts, np.diff(edges))


def sweep(start: np.ndarray, end: np.ndarray):
    """Cut the bases that intervals cover at all their ends; which intervals cover each stretch.

    start, end: int64 (n,). Yields, along the contig, (stretch start (m,), stretch end (m,), stretch of each pair (p,),
    interval of each pair (p,)), pairs sorted by stretch; stretches that no interval covers have no pair.
    """
    edges = np.unique(np.concatenate([start, end]))
    first, last = np.searchsorted(edges, start), np.searchsorted(edges, end)
    cover = np.cumsum(np.bincount(first, minlength=len(edges)) - np.bincount(last, minlength=len(edges)))
    total = np.concatenate([[0], np.cumsum(cover)])
    low = 0
    while low < len(edges) - 1:
        high = max(int(np.searchsorted(total, total[low] + _PAIRS, side="right")) - 1, low + 1)
        high = min(high, len(edges) - 1)
        inside = np.flatnonzero((first < high) & (last > low))
        a, b = np.maximum(first[inside], low), np.minimum(last[inside], high)
        count = b - a
        interval = np.repeat(inside, count)
        stretch = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + np.repeat(a, count) - low
        order = np.argsort(stretch, kind="stable")
        yield edges[low:high], edges[low + 1 : high + 1], stretch[order], interval[order]
        low = high


def highest(start: np.ndarray, end: np.ndarray, value: np.ndarray) -> Steps:
    """The maximum of the intervals at each base, as steps."""
    found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    for low, high, stretch, interval in sweep(start, end):
        covered, at = np.unique(stretch, return_index=True)
        if len(covered):
            found.append((low[covered], high[covered], np.maximum.reduceat(value[interval], at)))
    return Steps(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


class IntervalTrack:
    """bedGraph or peaks as one value per base, read like a BigWig; where peaks overlap, the highest."""

    def __init__(self, path: str | Path, contigs: Contigs):
        self.file = IntervalFile(path, contigs)
        self.path, self.contigs, self.kind = self.file.path, contigs, self.file.layout.kind
        self.gap = np.nan if self.kind == "bedGraph" else 0.0
        self._chrom, self._steps = None, None

    def __contains__(self, chrom: str) -> bool:
        return chrom in self.file

    def steps(self, chrom: str) -> Steps:
        """The track on a contig that the file has."""
        if self._chrom != chrom:
            found = self.file.intervals(chrom)
            start, end = found.start.astype(np.int64), found.end.astype(np.int64)
            whole = self.kind == "bedGraph"  # never overlaps
            self._steps = Steps(start, end, found.value) if whole else highest(start, end, found.value)
            self._chrom = chrom
        return self._steps

    def values(self, chrom: str, start: int, end: int) -> np.ndarray:
        """float32 (end - start,): NaN beyond the contig, on a contig the file lacks and, of a bedGraph, between lines."""
        out = np.full(end - start, np.nan, np.float32)
        low, high = max(start, 0), min(end, self.contigs.lengths[chrom])
        if chrom in self and low < high:
            steps = self.steps(chrom)
            out[low - start : high - start] = steps.dense(steps.values, low, high, self.gap)
        return out

    def cover(self, chrom: str) -> int:
        """Bases of a contig under an interval."""
        return self.file.cover(chrom)


def open_track(path: str | Path, contigs: Contigs) -> BigWig | IntervalTrack:
    """A bigWig, or any interval file, as a track: `values(chrom, start, end)`."""
    if is_bigwig(path) or str(path).lower().endswith((".bw", ".bigwig")):
        return BigWig(path, contigs)
    return IntervalTrack(path, contigs)
