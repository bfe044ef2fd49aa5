"""Readers of RNA-seq junction files -> introns, 0-based half-open, as the file has them (strand 0: it does not tell).

| format | interval in the file | intron |
|---|---|---|
| STAR SJ.out.tab | 1-based inclusive intron | start - 1 .. end |
| regtools (TopHat) BED12 | two anchors as blocks | start + first block .. end - last block |
| leafcutter BED6 | 0-based half-open intron | as it is |
| GTEx GCT | 1-based inclusive intron in the name | start - 1 .. end |
| TSV with header | 0-based half-open intron | as it is |
| junctions table of ours | 0-based half-open intron | as it is |
"""

import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from libmeta.errors import CUT_SHORT, MetaError
from libmeta.lines import head, reading
from libmeta.streams import PARQUET_MAGIC, open_table

UNTOLD = -1  # unique reads, overhang, annotated: the source does not tell
_STRANDS = {b"+": 1, b"-": -1, b".": 0, b"?": 0, b"*": 0, b"": 0, b"1": 1, b"2": -1, b"0": 0}
_GCT_NAME = re.compile(r"^(.+?)[_:](\d+)[_-](\d+)(?:[_:]([+-]))?$")
_NOT_DATA = (b"#", b"track", b"browser")


@dataclass
class Raw:
    """One file. Introns (U,): contig index, start, end, strand (+1, -1, 0). Entries (N,): intron, tissue, counts."""

    where: str
    contigs: list[str]
    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    tissues: list[str]
    intron: np.ndarray
    tissue: np.ndarray
    reads: np.ndarray
    unique: np.ndarray
    overhang: np.ndarray
    annotated: np.ndarray


@dataclass
class _Rows:
    """Collects lines of a file that has one count per line."""

    where: str
    contigs: dict[bytes, int] = field(default_factory=dict)
    tissues: dict[str, int] = field(default_factory=dict)
    columns: list[array] = field(default_factory=lambda: [array("q") for _ in range(9)])

    def add(
        self,
        number,
        chrom,
        start,
        end,
        strand,
        reads,
        unique=UNTOLD,
        overhang=UNTOLD,
        annotated=UNTOLD,
        tissue="",
    ):
        if not 1 <= start < end:  # a base of the exon before it is needed
            raise self.bad(number, f"intron {start}-{end} (0-based) is empty or starts before its contig")
        if reads < 0:
            raise self.bad(number, f"{reads} reads")
        name = self.contigs.setdefault(chrom, len(self.contigs))
        group = self.tissues.setdefault(tissue, len(self.tissues))
        values = (name, start, end, strand, reads, unique, overhang, annotated, group)
        for column, value in zip(self.columns, values, strict=True):
            column.append(value)

    def bad(self, number: int, what: str) -> MetaError:
        return MetaError(f"{what}, {self.where} line {number}; mend or remove the line")

    def strand(self, number: int, text: bytes) -> int:
        if text not in _STRANDS:
            raise self.bad(number, f"strand {text.decode('utf-8', 'replace')!r} is not + - . or ?")
        return _STRANDS[text]

    def raw(self, tissue: str) -> Raw:
        chrom, start, end, strand, reads, unique, overhang, annotated, group = (np.array(c) for c in self.columns)
        contigs = [n.decode("utf-8", "replace") for n in self.contigs]
        tissues = [t or tissue for t in self.tissues]
        return Raw(self.where, contigs, chrom, start, end, strand, tissues, np.arange(len(start)), group, reads, unique,
                   overhang, annotated)  # fmt: skip


def read(path: str | Path, tissue: str | None = None) -> Raw:
    """Read a junction file of any known format, plain or gzip; the format is taken from its content.

    tissue: name of the tissue or sample; also merges the samples of a file that has several. None: the file's own
    sample names, or the file name without its endings. Raises MetaError with the line number for a malformed line, and
    for a format that is not known, an empty or truncated file.
    """
    path = Path(path)
    name = tissue or _stem(path)
    with reading(path) as handle:
        start = handle.peek(4)[:4]
        if start == PARQUET_MAGIC:
            raw = _read_table(path)
        elif start.startswith(b"#1."):
            raw = _read_gct(handle, str(path))
        else:
            rows = _Rows(str(path))
            first = head(handle, _NOT_DATA)
            _sniff(first, str(path))(rows, _data_lines(chain(first, handle)))
            raw = rows.raw(name)
    if not len(raw.start):
        raise MetaError(f"no junctions, {path}; give a file with at least one")
    if tissue:
        raw.tissues = [tissue] * len(raw.tissues)
    return raw


def _stem(path: Path) -> str:
    """liver.SJ.out.tab -> liver."""
    return re.sub(r"(\.(SJ\.out\.tab|junc|junctions|bed|tab|tsv|txt|gct|parquet|gz|bgz))+$", "", path.name) or path.name


def _data_lines(handle) -> Iterator[tuple[int, list[bytes]]]:
    for number, line in enumerate(handle, 1):
        if line.strip() and not line.startswith(_NOT_DATA):
            yield number, line.rstrip(b"\r\n").split(b"\t")


def _sniff(first: list[bytes], where: str):
    for _, columns in _data_lines(first):
        if {b"chrom", b"start", b"end"} <= {c.strip().lower() for c in columns}:
            return _read_tsv
        numbers = [c.isdigit() for c in columns]
        if len(columns) == 9 and all(numbers[1:]) and columns[3] in (b"0", b"1", b"2"):
            return _read_star
        if len(columns) >= 6 and all(numbers[1:3]) and columns[5] in (b"+", b"-", b".", b"?", b"*"):
            return _read_bed12 if len(columns) >= 12 else _read_bed6
        break
    raise MetaError(
        f"not a junction file that is known, {where}; give STAR SJ.out.tab, regtools BED12, leafcutter BED6, GTEx GCT, "
        "or TSV with columns chrom start end strand count"
    )


def _integers(rows: _Rows, number: int, columns: list[bytes], *at: int) -> list[int]:
    try:
        return [int(columns[i]) for i in at]
    except (ValueError, IndexError) as error:
        raise rows.bad(number, "a column is missing or not an integer") from error


def _read_star(rows: _Rows, lines) -> None:
    """chrom, first and last base of the intron (1-based), strand, motif, annotated, unique, multi-mapped, overhang."""
    for number, columns in lines:
        start, end, known, unique, multi, overhang = _integers(rows, number, columns, 1, 2, 5, 6, 7, 8)
        strand = rows.strand(number, columns[3])
        rows.add(number, columns[0], start - 1, end, strand, unique + multi, unique, overhang, int(known > 0))


def _read_bed12(rows: _Rows, lines) -> None:
    """The blocks are the anchors on either side: the intron lies between them."""
    for number, columns in lines:
        if len(columns) < 12:
            raise rows.bad(number, f"{len(columns)} columns in a BED12")
        start, end, reads = _integers(rows, number, columns, 1, 2, 4)
        blocks = [b for b in columns[10].split(b",") if b]
        if len(blocks) != 2 or not all(b.isdigit() for b in blocks):
            raise rows.bad(number, f"{len(blocks)} blocks where a junction has two")
        left, right = map(int, blocks)
        strand = rows.strand(number, columns[5])
        rows.add(number, columns[0], start + left, end - right, strand, reads, overhang=min(left, right))


def _read_bed6(rows: _Rows, lines) -> None:
    for number, columns in lines:
        if len(columns) < 6:
            raise rows.bad(number, f"{len(columns)} columns in a BED6")
        start, end = _integers(rows, number, columns, 1, 2)
        rows.add(number, columns[0], start, end, rows.strand(number, columns[5]), _count(rows, number, columns[4]))


def _count(rows: _Rows, number: int, text: bytes) -> int:
    """Reads; counts that were averaged over samples are rounded."""
    try:
        return round(float(text))
    except (ValueError, OverflowError) as error:
        raise rows.bad(number, f"count {text.decode('utf-8', 'replace')!r} is not a number") from error


def _read_tsv(rows: _Rows, lines) -> None:
    """Header with chrom start end strand count (or reads), and at will unique_reads and tissue (or sample)."""
    number, header = next(lines)
    names = [c.strip().lower().decode("utf-8", "replace") for c in header]
    alias = {"count": "reads", "sample": "tissue"}
    at = {alias.get(n, n): i for i, n in enumerate(names)}
    if missing := [n for n in ("chrom", "start", "end", "strand", "reads") if n not in at]:
        shown = ", ".join("count" if n == "reads" else n for n in missing)
        raise rows.bad(number, f"no column {shown} in the header")
    for number, columns in lines:
        start, end = _integers(rows, number, columns, at["start"], at["end"])
        if len(columns) < len(names):
            raise rows.bad(number, f"{len(columns)} columns where the header has {len(names)}")
        unique = _count(rows, number, columns[at["unique_reads"]]) if "unique_reads" in at else UNTOLD
        tissue = columns[at["tissue"]].decode("utf-8", "replace") if "tissue" in at else ""
        rows.add(number, columns[at["chrom"]], start, end, rows.strand(number, columns[at["strand"]]),
                 _count(rows, number, columns[at["reads"]]), unique, tissue=tissue)  # fmt: skip


def _read_gct(handle, where: str) -> Raw:
    """#1.2, "rows columns", then Name (chr1_12058_12178, 1-based inclusive), Description and a column per sample."""
    samples, batches = _gct_batches(handle, where)
    names, entries = [], []
    for some, counts in batches:
        row, sample = np.nonzero(counts > 0)
        entries.append((row + len(names), sample, counts[row, sample].astype(np.int64)))
        names += some
    place = [gct_place(n, i, where) for i, n in enumerate(names, 4)]
    contigs = list(dict.fromkeys(p[0] for p in place))
    index = {n: i for i, n in enumerate(contigs)}
    intron, sample, reads = (
        (np.concatenate(e) for e in zip(*entries, strict=True)) if entries else [np.zeros(0, int)] * 3
    )
    untold = np.full(len(intron), UNTOLD)
    return Raw(where, contigs, np.array([index[p[0]] for p in place], int), *np.array([p[1:] for p in place], int).T,
               samples, intron, sample, reads, untold, untold, untold)  # fmt: skip


def gct_batches(path: str | Path) -> tuple[list[str], Iterator[tuple[list[str], np.ndarray]]]:
    """(samples, batches of (names, rounded counts float64 (n, samples))) of a GCT file, plain or gzip.

    Raises MetaError for what is not one, and where it has other rows than its second line promises.
    """
    with reading(path) as handle:
        samples = _gct_head(handle, str(path))[0]

    def batches():
        with reading(path) as handle:
            yield from _gct_batches(handle, str(path))[1]

    return samples, batches()


def _gct_head(handle, where: str) -> tuple[list[str], list[bytes]]:
    """(samples, what the second line promises)."""
    handle.readline()
    promised = handle.readline().split()
    header = handle.readline().decode("utf-8", "replace").rstrip("\r\n").split("\t")
    if len(header) < 3 or header[0].lower() not in ("name", "id"):
        raise MetaError(f"no Name, Description and samples, {where} line 3; give a GCT 1.2 of junctions")
    return header[2:], promised


def _gct_batches(handle, where: str) -> tuple[list[str], Iterator[tuple[list[str], np.ndarray]]]:
    samples, promised = _gct_head(handle, where)
    types = dict.fromkeys([f"s{i}" for i in range(len(samples))], pa.float64())
    options = csv.ReadOptions(column_names=["name", "description", *types], block_size=1 << 24)
    convert = csv.ConvertOptions(column_types={"name": pa.string(), "description": pa.string(), **types})

    def batches():
        seen = 0
        if not handle.peek(1)[:1]:
            raise MetaError(f"no rows, {where}; download it again", CUT_SHORT)
        try:
            with csv.open_csv(handle, options, csv.ParseOptions(delimiter="\t", quote_char=False), convert) as found:
                for batch in found:
                    counts = np.column_stack([np.rint(np.nan_to_num(c.to_numpy(False))) for c in batch.columns[2:]])
                    seen += len(counts)
                    yield batch.column(0).to_pylist(), counts
        except pa.ArrowInvalid as error:
            raise MetaError(
                f"malformed GCT ({error}), {where} after line 3; mend the line or download it again"
            ) from error
        if promised[:1] and promised[0].isdigit() and int(promised[0]) != seen:
            raise MetaError(
                f"{seen:,} rows where line 2 promises {int(promised[0]):,}, {where}; download it again, or mend line 2",
                CUT_SHORT,
            )

    return samples, batches()


def gct_place(name: str, number: int, where: str) -> tuple[str, int, int, int]:
    """(contig, start, end, strand) of the intron that a row of a GCT is named after, 0-based half-open."""
    match = _GCT_NAME.match(name or "")
    if not match or not 1 < int(match[2]) <= int(match[3]):
        raise MetaError(f"name {name!r} is not CONTIG_START_END, {where} line {number}; give a GCT of junctions")
    return match[1], int(match[2]) - 1, int(match[3]), _STRANDS[(match[4] or ".").encode()]


def _read_table(path: Path) -> Raw:
    """Our own junctions table."""
    table = open_table(path).expect("junctions").table().combine_chunks()
    chrom, tissue = (pc.dictionary_encode(table[c].combine_chunks()) for c in ("chrom", "tissue"))

    def column(name, fill=UNTOLD):
        return pc.fill_null(pc.cast(table[name], pa.int64()), fill).to_numpy()

    strand = np.where(pc.equal(table["strand"], "+").to_numpy(zero_copy_only=False), 1, -1)
    return Raw(str(path), chrom.dictionary.to_pylist(), chrom.indices.to_numpy().astype(int), column("start"),
               column("end"), strand, tissue.dictionary.to_pylist(), np.arange(table.num_rows),
               tissue.indices.to_numpy().astype(int), column("reads"), column("unique_reads"), column("overhang"),
               column("annotated"))  # fmt: skip
