"""bigWig in and out. One base one value, 0-based; missing is NaN in memory and no interval in the file."""

import contextlib
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyBigWig

from libmeta.bigwig_writer import BigWigWriter
from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.streams import atomic

BLOCK = 1 << 20
TRACKS = {
    (site, strand): f"{site}.{word}.bw"
    for strand, word in (("+", "plus"), ("-", "minus"))
    for site in ("donor", "acceptor")
}


def check_whole(path: str) -> None:
    """Refuse what is not a whole bigWig before the reader in C meets it: that crashes on some truncated files.

    Looks at the magic number at the start and at the end and at every offset of the header and of the zoom headers.
    """
    size = os.path.getsize(path)
    with open(path, "rb") as handle:
        head = handle.read(64)
        order = {b"\x26\xfc\x8f\x88": "<", b"\x88\x8f\xfc\x26": ">"}.get(head[:4])
        if order is None:
            raise MetaError(f"not a bigWig, {path}; give one made by bedGraphToBigWig, deepTools or an ms- tool")
        whole = size > 68
        if whole:
            zooms, *offsets = struct.unpack(f"{order}xxxxxxHQQQ", head[:32])
            levels = handle.read(24 * zooms)
            whole = len(levels) == 24 * zooms
            if whole:
                offsets += [
                    o for i in range(zooms) for o in struct.unpack(f"{order}QQ", levels[24 * i + 8 : 24 * i + 24])
                ]
                handle.seek(-4, os.SEEK_END)
                whole = max(offsets) < size and handle.read() == head[:4]
    if not whole:
        raise MetaError(f"truncated bigWig, {path}; make or download it again")


def check_content(path: str) -> tuple[float, float]:
    """(lowest, highest) value of a bigWig by its own summary, NaN where it has none.

    MetaError where it has no value at all, which is no evidence, and where one lies past the end of a contig.
    """
    with open(path, "rb") as handle:
        head = handle.read(64)
        order = "<" if head[:4] == b"\x26\xfc\x8f\x88" else ">"
        (offset,) = struct.unpack(f"{order}Q", head[44:52])
        covered, low, high = None, np.nan, np.nan
        if offset:
            handle.seek(offset)
            covered, low, high = struct.unpack(f"{order}Qdd", handle.read(24))
    if covered == 0:
        raise MetaError(f"no value in the whole file, {path}; remove it from ms.toml, or make it again")
    file = pyBigWig.open(path)
    for chrom, length in file.chroms().items():
        try:
            last = file.intervals(chrom, length - 1, length) or ()
        except RuntimeError as error:
            raise MetaError(f"cannot read the end of {chrom}, {path}; the file is damaged") from error
        if any(end > length for _, end, _ in last):
            raise MetaError(
                f"value past the end of {chrom} ({length:,} bp), {path}; likely another build: make it again"
            )
    file.close()
    return low, high


class BigWig:
    """An open bigWig, its contigs matched to the genome's.

    Raises MetaError for a missing file, one that is not bigWig or is truncated, and one of another build.
    """

    def __init__(self, path: str | Path, contigs: Contigs):
        self.path = str(path)
        if not os.path.exists(self.path):
            raise MetaError(f"no such bigWig, {self.path}; check the path")
        check_whole(self.path)
        try:
            self._file = pyBigWig.open(self.path)
            lengths = self._file.chroms()
        except RuntimeError as error:
            raise MetaError(f"not a bigWig or truncated, {self.path}; make or download it again") from error
        if not lengths:
            raise MetaError(f"no contig in the bigWig, {self.path}; make it again")
        shared = contigs.match(lengths, self.path)
        self._theirs = {ours: theirs for theirs, ours in shared.items()}

    def __contains__(self, chrom: str) -> bool:
        return chrom in self._theirs

    def values(self, chrom: str, start: int, end: int) -> np.ndarray:
        """float32 (end - start,): NaN where the track has no value, beyond the contig, or on a contig it lacks."""
        out = np.full(end - start, np.nan, np.float32)
        theirs = self._theirs.get(chrom)
        if theirs is None:
            return out
        low, high = max(start, 0), min(end, self._file.chroms(theirs))
        if low < high:
            try:
                found = self._file.values(theirs, low, high, numpy=True)
                if np.isinf(found).any():
                    at = low + int(np.argmax(np.isinf(found)))
                    raise MetaError(f"infinite value at {chrom}:{at + 1}, {self.path}; make the file again without it")
                if len(found):  # none at all where the file has no value anywhere
                    out[low - start : high - start] = found
            except RuntimeError as error:
                raise MetaError(f"cannot read {chrom}:{low + 1}-{high}, {self.path}; the file is damaged") from error
        return out


def evidence_bigwig(path: str | Path, contigs: Contigs) -> BigWig:
    """A BigWig that has values, all of them on its contigs: see check_content."""
    track = BigWig(path, contigs)
    check_content(track.path)
    return track


class ScoreWriter:
    """The four score bigWigs PREFIX.{donor,acceptor}.{plus,minus}.bw and PREFIX.json, all atomic; a context manager.

    about: what goes into the .json (format, version, provenance, ...).
    """

    def __init__(self, prefix: str | Path, contigs: Contigs, about: dict):
        self.prefix, self.contigs, self.about = str(prefix), contigs, about
        self._stack = contextlib.ExitStack()

    def __enter__(self):
        self._about = self._stack.enter_context(atomic(f"{self.prefix}.json"))  # renamed last: it tells all is there
        self._files = {}
        for key, ending in TRACKS.items():
            path = self._stack.enter_context(atomic(f"{self.prefix}.{ending}"))
            self._files[key] = self._stack.enter_context(BigWigWriter(path, self.contigs))
        return self

    def dense(self, chrom: str, start: int, strand: str, donor: np.ndarray, acceptor: np.ndarray) -> None:
        """Every base from `start` on, genome orientation."""
        self._files["donor", strand].dense(chrom, start, donor)
        self._files["acceptor", strand].dense(chrom, start, acceptor)

    def sparse(self, chrom: str, strand: str, positions: np.ndarray, donor: np.ndarray, acceptor: np.ndarray) -> None:
        """Single positions, ascending."""
        self._files["donor", strand].sparse(chrom, positions, donor)
        self._files["acceptor", strand].sparse(chrom, positions, acceptor)

    def __exit__(self, kind, error, trace):
        if kind is None:
            self._about.write_text(json.dumps(self.about, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        return self._stack.__exit__(kind, error, trace)


class ScoreTracks:
    """Read the four score bigWigs of a prefix."""

    def __init__(self, prefix: str | Path, contigs: Contigs):
        self.prefix = str(prefix)
        self.inputs = {ending.removesuffix(".bw"): f"{self.prefix}.{ending}" for ending in TRACKS.values()}
        self._files = {key: BigWig(f"{self.prefix}.{ending}", contigs) for key, ending in TRACKS.items()}
        beside = Path(f"{self.prefix}.json")
        self.about = json.loads(beside.read_text(encoding="utf-8")) if beside.exists() else {}

    def read(self, chrom: str, start: int, end: int, strand: str) -> tuple[np.ndarray, np.ndarray]:
        """(donor, acceptor) of [start, end), float32, genome orientation; NaN where the base model was not run."""
        return tuple(self._files[site, strand].values(chrom, start, end) for site in ("donor", "acceptor"))

    def dense(self, chrom: str, start: int, end: int, strand: str) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Blocks (start, donor, acceptor) of at most 1 Mb."""
        for low in range(start, end, BLOCK):
            yield low, *self.read(chrom, low, min(low + BLOCK, end), strand)
