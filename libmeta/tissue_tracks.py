"""One mark (H3K36me3, ATAC, ...) in one or several tissues: a bigWig or interval file each, and what they say together.

Across the tissues that have a value at a base: maximum, mean, variance (population; 0 with one tissue) and breadth, the
number above a threshold. Surroundings are those of the mean across tissues, taken over its known bases; the track's own
value at the position counts in +-reach, but not in the 500 bp upstream and downstream of the exon-intron ratio.
"""

import os
from functools import lru_cache
from pathlib import Path

import numpy as np

from libmeta.contigs import Contigs, guess_build, plain_name
from libmeta.errors import USAGE, MetaError
from libmeta.interval_files import contig_lengths, is_bigwig
from libmeta.interval_tracks import open_track
from libmeta.tracks import check_content, check_whole
from libmeta.window_sums import PrefixSums

FLANK = 500  # bp on each side, of the exon-intron ratio
_KEPT = 1 << 25  # values kept for the other strand of the same stretch
ONE = "one"  # name of the tissue where only one file is named
_SIGNAL = "give fold change, p-value or coverage (0 and more), not a log ratio"


class TissueTracks:
    """The tracks of a mark.

    named: a path, or {tissue: path}, as Config.modality gives it; key: where it stands in ms.toml. Raises MetaError for an
    empty table, an unnamed or repeated tissue, one file under two names, files of two builds, and what the tracks' readers
    refuse. A value below 0 or infinite is refused when it is met: signal is fold change, p-value or coverage.
    """

    def __init__(self, named: Path | dict[str, Path], contigs: Contigs, key: str):
        paths = named_files(named, key)
        _check_builds(paths, key)
        self.key, self.tissues = key, list(paths)
        self.tracks = [open_track(p, contigs) for p in paths.values()]
        for track in self.tracks:
            _check_content(track.path)
        names = (f".{t}" if isinstance(named, dict) else "" for t in paths)
        self.opened = dict(zip(names, self.tracks, strict=True))  # by what stands behind the mark in a key
        self._block = (None, None)
        self.around = lru_cache(maxsize=1)(self._around)  # the same on both strands

    def values(self, chrom: str, start: int, end: int) -> np.ndarray:
        """float32 (tissues, end - start), NaN where a tissue's track tells nothing."""
        place = (chrom, start, end)
        if self._block[0] == place:
            return self._block[1]
        out = np.stack([_checked(t.values(chrom, start, end), t.path, place) for t in self.tracks])
        self._block = (place, out) if out.size <= _KEPT else (None, None)
        return out

    def _around(self, chrom: str, start: int, end: int) -> PrefixSums:
        """Prefix sums of the mean across tissues."""
        return PrefixSums(across(self.values(chrom, start, end)))

    def highest(self, chrom: str, start: int, end: int) -> np.ndarray:
        """float32 (end - start,): the maximum across tissues."""
        return np.fmax.reduce(self.values(chrom, start, end), axis=0)


def summaries(tracks: TissueTracks, window, positions: np.ndarray, above: float, reach: int) -> dict[str, np.ndarray]:
    """The columns that every mark has, float64 (n,) each, NaN where no tissue has a value at the position (context_mean,
    upstream and downstream: no known base around).

    above: threshold of breadth. reach: of context_mean, bp. upstream and downstream are means of FLANK bp on either side
    of the position in transcript direction.
    """
    margin = max(reach, FLANK)
    values = tracks.values(window.chrom, window.start - margin, window.end + margin)
    at = positions - window.start + margin
    here = values[:, at].astype(np.float64)
    known = np.isfinite(here)
    count = known.sum(axis=0)
    some = np.maximum(count, 1)
    mean = np.where(known, here, 0).sum(axis=0) / some
    variance = np.where(known, (here - mean) ** 2, 0).sum(axis=0) / some
    around = tracks.around(window.chrom, window.start - margin, window.end + margin)
    up, down = around.mean(at - FLANK, at), around.mean(at + 1, at + 1 + FLANK)
    if window.strand == "-":
        up, down = down, up
    found = {
        "max_across_tissues": np.fmax.reduce(here, axis=0),
        "mean_across_tissues": mean,
        "tissue_breadth": (here > above).sum(axis=0).astype(np.float64),
        "variance": variance,
    }
    found = {name: np.where(count > 0, v, np.nan) for name, v in found.items()}
    return {**found, "context_mean": around.mean(at - reach, at + reach + 1), "upstream": up, "downstream": down}


def across(values: np.ndarray) -> np.ndarray:
    """Mean over the known tissues of each base: (tissues, L) -> float64 (L,), NaN where none is known."""
    if len(values) == 1:
        return values[0].astype(np.float64)
    total, count = np.zeros(values.shape[1]), np.zeros(values.shape[1], np.int32)
    for row in values:
        known = np.isfinite(row)
        total += np.where(known, row, 0)
        count += known
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


# ---- checks ---------------------------------------------------------------------------------------------------------


def named_files(named, key: str) -> dict[str, Path]:
    """{tissue: path} of a file or a table of files at a key of ms.toml.

    MetaError for an empty table, a tissue without a name or with another's (whatever the case), one file twice.
    """
    if isinstance(named, Path):
        return {ONE: named}
    if not isinstance(named, dict):
        raise MetaError(f'neither a file nor a table of files, {key}; write "x.bw" or {{K562 = "x.bw"}}', USAGE)
    if not named:
        raise MetaError(f"no file in the table, {key}; name one, or remove the key", USAGE)
    seen: dict[str, str] = {}
    files: dict[str, str] = {}
    for tissue, path in named.items():
        plain = tissue.strip().casefold()
        if not plain:
            raise MetaError(f"a tissue without a name, {key}; give each file a name", USAGE)
        if not isinstance(path, Path):
            raise MetaError(f"not a file name, {key}.{tissue}; write it in quotes", USAGE)
        if plain in seen:
            raise MetaError(
                f"tissue {tissue!r} is there as {seen[plain]!r} too, {key}; merge them or rename one", USAGE
            )
        real = os.path.realpath(path)
        if real in files:
            raise MetaError(f"one file for {files[real]} and {tissue} ({path}), {key}; name each file once", USAGE)
        seen[plain], files[real] = tissue, tissue
    return dict(named)


def _check_builds(paths: dict[str, Path], key: str) -> None:
    """Contigs that two files share, under any alias, must have one length."""
    known: dict[str, tuple[int, str, dict]] = {}
    for tissue, path in paths.items():
        if is_bigwig(path):
            check_whole(str(path))
        lengths = contig_lengths(path) or {}
        for name, length in lengths.items():
            first = known.setdefault(plain_name(name), (length, tissue, lengths))
            if first[0] != length:
                one, two = guess_build(first[2]) or "unknown", guess_build(lengths) or "unknown"
                raise MetaError(
                    f"two builds in one mark: contig {name} is {first[0]:,} bp in {first[1]} ({one}) and {length:,} bp in "
                    f"{tissue} ({two}), {key}; use files of one build"
                )


def _check_content(path: str) -> None:
    """A bigWig has values, none of them below 0 or infinite, and none past the end of a contig."""
    if is_bigwig(path):
        low, high = check_content(path)
        if low < 0 or np.isinf(high):
            raise MetaError(f"signal {low if low < 0 else high:g}, {path}; {_SIGNAL}")


def _checked(values: np.ndarray, path: str, place: tuple) -> np.ndarray:
    bad = (values < 0) | np.isinf(values)
    if bad.any():
        chrom, start, _ = place
        i = int(np.argmax(bad))
        raise MetaError(f"signal {values[i]:g} at {chrom}:{start + i + 1}, {path}; {_SIGNAL}")
    return values
