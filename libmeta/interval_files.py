"""bedGraph, BED, narrowPeak, broadPeak (plain, gzip, bgzip with or without tabix) and bigBed -> checked intervals.

| kind | told by | value |
|---|---|---|
| bedGraph | 4 columns | column 4 |
| BED | 5 or 6 columns | column 5, the score |
| broadPeak | 9 columns and a name with "broadPeak" | column 7, signalValue |
| narrowPeak | 10 columns | column 7, signalValue; column 8, -log10 p (-1: not told) |

A bigBed holds one of them. Intervals are 0-based half-open and sorted: `sort -k1,1 -k2,2n`.
"""

import io
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyBigWig
import pysam
from pyarrow import csv

from libmeta.contigs import Contigs, guess_build
from libmeta.errors import MetaError
from libmeta.lines import head, reading

log = logging.getLogger("libmeta")

BIGBED_MAGICS = (b"\xeb\xf2\x89\x87", b"\x87\x89\xf2\xeb")
BIGWIG_MAGICS = (b"\x26\xfc\x8f\x88", b"\x88\x8f\xfc\x26")
_NOT_DATA = (b"#", b"track", b"browser")
_BLOCK = 8 << 20  # bytes of text parsed at once
_COLUMNS = ("chrom", "start", "end", "name", "score", "strand", "signal", "p", "q", "peak")
_NUMBERS = {"start": pa.int64(), "end": pa.int64()} | dict.fromkeys(("value", "score", "signal", "p"), pa.float64())
_STRANDS = {"+": 1, "-": -1, ".": 0}


@dataclass
class Intervals:
    """Of one contig, sorted by start: [start, end) int32 (n,), value float32 (n,); strand (+1, -1, 0), -log10 p (NaN: not
    told) and name (index into `names`) of peaks."""

    start: np.ndarray
    end: np.ndarray
    value: np.ndarray
    strand: np.ndarray
    neg_log10_p: np.ndarray
    name: np.ndarray


@dataclass(frozen=True)
class _Layout:
    kind: str
    delimiter: str
    names: tuple[str, ...]
    value: str  # the column that holds it


class IntervalFile:
    """An interval file, its contigs matched to the genome's. Read whole once, or by contig where it has an index.

    Raises MetaError for a missing, empty, truncated or foreign file, contigs of another genome, and (with the line, where
    lines are counted) for intervals that are empty, negative, unsorted, past the end of their contig or without a number;
    of indexed files when their contig is read. least_p: peaks with a smaller -log10 p, or none, are checked and dropped.
    """

    def __init__(self, path: str | Path, contigs: Contigs, least_p: float | None = None):
        self.path, self.contigs, self._least_p = str(path), contigs, least_p
        self.tells_p = False  # any line read so far has a -log10 p
        self.names: list[str] = []  # distinct names of peaks
        self._name_index: dict[str, int] = {}
        self._held: dict[str, Intervals] = {}
        self._fetch: Callable[[str], bytes] | None = None
        if _magic(self.path) in BIGBED_MAGICS:
            self._open_bigbed()
        else:
            self._open_text()

    def __contains__(self, chrom: str) -> bool:
        return chrom in self._theirs

    @property
    def kind(self) -> str:
        return self.layout.kind

    def cover(self, chrom: str) -> int:
        """Bases of a contig under an interval (of those kept)."""
        found = self.intervals(chrom)
        reach = np.maximum.accumulate(found.end.astype(np.int64)) if len(found.end) else found.end
        begin = np.maximum(found.start, np.concatenate([[0], reach[:-1]])) if len(reach) else reach
        return int(np.maximum(found.end - begin, 0).sum())

    def intervals(self, chrom: str) -> Intervals | None:
        """All intervals of a contig; None where the file does not have it."""
        if chrom not in self._theirs:
            return None
        if self._fetch is not None and chrom not in self._held:
            text = self._fetch(self._theirs[chrom])
            self._held = self._collect([(text, lambda row: self.path)]) if text else {}  # one contig at a time
        return self._held.get(chrom, _NONE)

    # ---- opening ----------------------------------------------------------------------------------------------------

    def _open_text(self) -> None:
        with reading(self.path) as handle:
            lines = head(handle, _NOT_DATA)
        first = lines[-1].decode("utf-8", "replace") if lines else ""
        if not first.strip() or first.startswith(tuple(m.decode() for m in _NOT_DATA)):
            raise MetaError(f"no interval, {self.path}; give a file with at least one")
        self.layout = _layout(first.rstrip("\r\n"), self.path)
        if self._indexed():
            file = pysam.TabixFile(self.path)
            self._match(dict.fromkeys(file.contigs))
            self._fetch = lambda theirs: "\n".join(file.fetch(theirs)).encode()
            return
        before = len(lines) - 1

        def line(row: int) -> str:
            return f"{self.path} line {_line_number(self.path, before, row)}"

        self._theirs = {}
        with reading(self.path) as handle:
            for _ in range(before):
                handle.readline()
            self._held = self._collect([(handle, line)])
        self._match(self._seen)

    def _indexed(self) -> bool:
        index = f"{self.path}.tbi"
        return os.path.exists(index) and os.path.getmtime(index) >= os.path.getmtime(self.path)

    def _open_bigbed(self) -> None:
        try:
            file = pyBigWig.open(self.path)
            lengths = file.chroms()
        except RuntimeError as error:
            raise MetaError(f"not a bigBed or truncated, {self.path}; make or download it again") from error
        self._match(lengths)

        def fetch(theirs: str) -> bytes:
            try:
                found = file.entries(theirs, 0, lengths[theirs]) or ()
            except RuntimeError as error:
                raise MetaError(f"cannot read {theirs}, {self.path}; the file is damaged") from error
            return "\n".join(f"{theirs}\t{a}\t{b}\t{rest}".rstrip("\t") for a, b, rest in found).encode()

        first = next((text for name in self._theirs.values() if (text := fetch(name))), None)
        if first is None:
            raise MetaError(f"no interval on the genome's contigs, {self.path}; give a file with at least one")
        self.layout = _layout(first.split(b"\n", 1)[0].decode("utf-8", "replace"), self.path)
        self._fetch = fetch

    def _match(self, lengths: dict[str, int | None]) -> None:
        if not lengths:
            raise MetaError(f"no interval, {self.path}; give a file with at least one")
        shared = self.contigs.match(lengths, self.path)
        self._theirs = {ours: theirs for theirs, ours in shared.items()}
        if left := len(lengths) - len(shared):
            log.info("%s: %d contigs that the genome does not have left out", self.path, left)

    # ---- parsing ----------------------------------------------------------------------------------------------------

    def _collect(self, sources: list[tuple]) -> dict[str, Intervals]:
        """{contig of the genome: its intervals}, checked. sources: (text, row -> where it stands)."""
        parts: dict[str, list[Intervals]] = {}
        self._seen: dict[str, None] = {}
        for text, where in sources:
            row, last = 0, ("", -1, -1)
            for table in self._tables(text, where):
                last = self._check(table, row, last, where)
                row += table.num_rows
                for theirs, low, high in _runs(table["chrom"]):
                    ours = self.contigs.resolve(theirs)
                    if ours is not None:
                        parts.setdefault(ours, []).append(self._piece(table.slice(low, high - low)))
        return {
            ours: Intervals(*(np.concatenate([getattr(p, f.name) for p in pieces]) for f in fields(Intervals)))
            for ours, pieces in parts.items()
        }

    def _tables(self, text, where) -> Iterator[pa.Table]:
        layout = self.layout
        keep = [c for c in ("chrom", "start", "end", "name", "strand", "p", layout.value) if c in layout.names]
        types = {c: _NUMBERS.get(c, pa.string()) for c in keep}
        types["chrom"] = pa.dictionary(pa.int32(), pa.string())
        handle = io.BytesIO(text) if isinstance(text, bytes) else text
        row = 0
        try:
            for batch in csv.open_csv(
                handle,
                read_options=csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=layout.names),
                parse_options=csv.ParseOptions(delimiter=layout.delimiter, quote_char=False),
                convert_options=csv.ConvertOptions(column_types=types, include_columns=keep, null_values=[]),
            ):
                if batch.num_rows:
                    yield pa.Table.from_batches([batch])
                row += batch.num_rows
        except pa.ArrowInvalid as error:
            raise self._unreadable(text, row, where) from error

    def _unreadable(self, text, row: int, where) -> MetaError:
        """The first line from data row `row` on that is not as the layout says."""
        if isinstance(text, bytes):
            lines = enumerate(text.splitlines())
        else:
            lines = enumerate(line for _, line in _data_lines(self.path))
        for i, line in lines:
            if i >= row and (what := _fault(line, self.layout)):
                return MetaError(f"{what}, {where(i)}; mend or remove the line")
        return MetaError(f"not {self.layout.kind}, {self.path}; make or download it again")

    def _check(self, table: pa.Table, row: int, last: tuple, where) -> tuple:
        """Refuse what no track can hold; `last` is (contig, start, end) of the line before. Returns the new one."""
        start, end = table["start"].to_numpy(), table["end"].to_numpy()
        value = table[self.layout.value].to_numpy()
        names, codes = _coded(table["chrom"])
        lengths = np.array([self.contigs.lengths.get(self.contigs.resolve(n), np.iinfo(np.int64).max) for n in names])
        new = np.r_[names[codes[0]] != last[0], codes[1:] != codes[:-1]]
        before = np.r_[last[1], start[:-1]]
        until = np.r_[last[2], end[:-1]]
        sort = "run: sort -k1,1 -k2,2n"
        faults = [
            (start < 0, "interval starts before its contig", "BED is 0-based half-open"),
            (end <= start, "interval is empty", "BED is 0-based half-open"),
            (end > lengths[codes], "interval ends past its contig", "likely another build"),
            (~np.isfinite(value), f"{self._value_name} is not a finite number", "remove the line"),
            (~new & (start < before), "not sorted", sort),
        ]
        if self.layout.kind == "bedGraph":
            faults.append((~new & (start < until), "interval overlaps the one before", "bedGraph has one value a base"))
        for bad, what, remedy in faults:
            if (at := np.flatnonzero(bad)).size:
                i = int(at[0])
                told = f"{what} ({names[codes[i]]}:{start[i]}-{end[i]}), {where(row + i)}"
                raise MetaError(f"{told}; {self._build(remedy)}")
        for name, at in ((names[codes[i]], i) for i in np.flatnonzero(new)):
            if name in self._seen:
                raise MetaError(f"contig {name} in two places, {where(row + int(at))}; {sort}")
            self._seen[name] = None
        return names[codes[-1]], int(start[-1]), int(end[-1])

    @property
    def _value_name(self) -> str:
        return "signalValue" if self.layout.value == "signal" else self.layout.value

    def _build(self, remedy: str) -> str:
        named = f" (the genome is {self.contigs.build})" if self.contigs.build and "build" in remedy else ""
        return remedy + named

    def _piece(self, table: pa.Table) -> Intervals:
        n = table.num_rows
        peaks = "strand" in self.layout.names
        strand, p, name = np.zeros(n, np.int8), np.full(n, np.nan, np.float32), np.zeros(n, np.int32)
        if peaks:
            text, codes = _coded(table["strand"])
            strand = np.array([_STRANDS.get(t, 0) for t in text], np.int8)[codes]
            text, codes = _coded(table["name"])
            name = np.array([self._name(t) for t in text], np.int32)[codes]
        if "p" in self.layout.names:
            p = table["p"].to_numpy().astype(np.float32)
            p[p < 0] = np.nan
            self.tells_p |= bool(np.isfinite(p).any())
        start, end = (table[c].to_numpy().astype(np.int32) for c in ("start", "end"))
        value = table[self.layout.value].to_numpy().astype(np.float32)
        columns = (start, end, value, strand, p, name)
        keep = np.ones(n, bool) if self._least_p is None else p >= self._least_p  # NaN is not
        return Intervals(*(c[keep] for c in columns))

    def _name(self, text: str) -> int:
        if text not in self._name_index:
            self._name_index[text] = len(self.names)
            self.names.append(text)
        return self._name_index[text]


_NONE = Intervals(*(np.zeros(0, t) for t in (np.int32, np.int32, np.float32, np.int8, np.float32, np.int32)))


def _magic(path: str | Path) -> bytes:
    """The first four bytes."""
    if not os.path.exists(path):
        raise MetaError(f"no such file, {path}; check the path")
    with open(path, "rb") as handle:
        return handle.read(4)


def is_bigwig(path: str | Path) -> bool:
    """Whether a file starts as a bigWig does."""
    return _magic(path) in BIGWIG_MAGICS


def contig_lengths(path: str | Path) -> dict[str, int] | None:
    """Contig lengths (bp) that a bigWig or bigBed tells; None for text, which tells none."""
    if _magic(path) not in (*BIGBED_MAGICS, *BIGWIG_MAGICS):
        return None
    try:
        file = pyBigWig.open(str(path))
        lengths = dict(file.chroms())
        file.close()
    except RuntimeError as error:
        raise MetaError(f"not a bigWig or bigBed, or truncated, {path}; make or download it again") from error
    return lengths


def build_of(path: str | Path) -> str | None:
    """The human build that a bigWig's or bigBed's contig lengths fit, or None."""
    return guess_build(contig_lengths(path) or {})


# ---- lines ----------------------------------------------------------------------------------------------------------


def _layout(line: str, path: str) -> _Layout:
    """What kind of file a data line belongs to."""
    delimiter = "\t" if "\t" in line else " "
    n = len(line.split(delimiter))
    if n == 4:
        return _Layout("bedGraph", delimiter, ("chrom", "start", "end", "value"), "value")
    if n in (5, 6):
        return _Layout("BED", delimiter, _COLUMNS[:n], "score")
    if n == 10:
        return _Layout("narrowPeak", delimiter, _COLUMNS, "signal")
    if n == 9 and "broadpeak" in os.path.basename(path).lower():
        return _Layout("broadPeak", delimiter, _COLUMNS[:9], "signal")
    raise MetaError(
        f"a line of {n} columns, {path}; give bedGraph (4), BED with a score (5 or 6), narrowPeak (10) or a file named "
        "*.broadPeak (9)"
    )


def _fault(line: bytes, layout: _Layout) -> str | None:
    """What is wrong with a line, or None."""
    cells = line.rstrip(b"\r\n").decode("utf-8", "replace").split(layout.delimiter)
    if len(cells) != len(layout.names):
        return f"{len(cells)} columns where the first line has {len(layout.names)}"
    for name, cell in zip(layout.names, cells, strict=True):
        wanted = {"start": int, "end": int, "p": float, layout.value: float}.get(name)
        try:
            if wanted:
                wanted(cell)
        except ValueError:
            return f"{cell!r} is not a number (column {layout.names.index(name) + 1} of {layout.kind})"
    return None


def _data_lines(path: str) -> Iterator[tuple[int, bytes]]:
    """(line number, line) of the lines that hold data, from the first on."""
    with reading(path) as handle:
        started = False
        for number, line in enumerate(handle, 1):
            started = started or bool(line.strip() and not line.startswith(_NOT_DATA))
            if started and line.strip(b"\r\n"):
                yield number, line


def _line_number(path: str, before: int, row: int) -> int:
    """Line number (from 1) of data row `row` (from 0)."""
    return next((n for i, (n, _) in enumerate(_data_lines(path)) if i == row), before + row + 1)


def _coded(column: pa.ChunkedArray) -> tuple[list[str], np.ndarray]:
    """(distinct texts, index of each row)."""
    merged = column.combine_chunks()
    if isinstance(merged, pa.ChunkedArray):
        merged = merged.chunk(0)
    coded = merged if pa.types.is_dictionary(merged.type) else merged.dictionary_encode()
    return coded.dictionary.to_pylist(), coded.indices.to_numpy()


def _runs(column: pa.ChunkedArray) -> Iterator[tuple[str, int, int]]:
    """(text, first row, one past the last) of each run of equal texts."""
    texts, codes = _coded(column)
    edges = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(codes)]
    for low, high in pairwise(edges):
        yield texts[codes[low]], low, high
