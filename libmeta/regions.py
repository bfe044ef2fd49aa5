"""Regions: parsing, BED, merging. 0-based half-open; strand "+", "-" or "." (scored on both)."""

import gzip
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from libmeta.contigs import Contigs
from libmeta.errors import NOTHING_TO_SCORE, USAGE, MetaError
from libmeta.streams import open_input

WINDOW = 1 << 20
_REGION = re.compile(r"^(?P<chrom>.+?)(?::(?P<start>[\d,]+)-(?P<end>[\d,]+))?(?::(?P<strand>[+-]))?$")


@dataclass(frozen=True, order=True)
class Region:
    """[start, end) of a contig, 0-based half-open, with strand + - or . and a name (a gene, say)."""

    chrom: str
    start: int
    end: int
    strand: str = "."
    name: str = "."

    @property
    def strands(self) -> str:
        return "+-" if self.strand == "." else self.strand

    def __str__(self):
        return f"{self.chrom}:{self.start + 1}-{self.end}" + ("" if self.strand == "." else f":{self.strand}")


def region_fields(text: str) -> tuple[str, int, int | None, str]:
    """(contig as written, start, end or None for a whole contig, strand) of chr1, chr1:100-200 or chr1:100-200:+.

    The text is 1-based inclusive, the answer 0-based half-open.
    """
    match = _REGION.match(text.strip())
    if not match:
        raise MetaError(f"not a region, {text!r}; write chr1, chr1:100-200 or chr1:100-200:+", USAGE)
    strand = match["strand"] or "."
    if match["start"] is None:
        return match["chrom"], 0, None, strand
    start, end = (int(match[k].replace(",", "")) for k in ("start", "end"))
    if not 1 <= start <= end:
        raise MetaError(f"start must be at least 1 and at most the end, region {text!r}; regions are 1-based", USAGE)
    return match["chrom"], start - 1, end, strand


def parse_region(text: str, contigs: Contigs) -> Region:
    """A region of the command line (see region_fields) on the genome's contigs."""
    name, start, end, strand = region_fields(text)
    chrom = contigs.require(name, f"region {text!r}")
    length = contigs.lengths[chrom]
    if (end or 0) > length:
        raise MetaError(f"past the end of {chrom} ({length:,} bp), region {text!r}; likely another build")
    return Region(chrom, start, length if end is None else end, strand)


def read_bed(source: str | Path | io.BufferedReader, contigs: Contigs, name: str | None = None) -> list[Region]:
    """Regions of a BED file (plain or gzip), sorted by contig of the genome and start.

    Raises MetaError with the line number for what is not BED, unsorted, duplicated or past the contig's end, and
    NOTHING_TO_SCORE for an empty one.
    """
    where = name or ("standard input" if str(source) == "-" else str(source))
    handle = source if isinstance(source, io.BufferedReader) else open_input(source)
    regions: list[Region] = []
    seen: set[tuple] = set()
    finished: set[str] = set()
    packed = handle.peek(2)[:2] == b"\x1f\x8b"
    try:
        with handle, io.TextIOWrapper(gzip.open(handle) if packed else handle, encoding="utf-8") as text:
            for number, line in enumerate(text, 1):
                if not line.strip() or line.startswith(("#", "track", "browser")):
                    continue
                region = _bed_line(line, contigs, f"{where} line {number}")
                _check_order(region, regions[-1] if regions else None, finished, seen, f"{where} line {number}")
                regions.append(region)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise MetaError(f"truncated or damaged gzip, {where}; make it again") from error
    except UnicodeDecodeError as error:
        raise MetaError(f"not text, {where}; give a BED file") from error
    if not regions:
        raise MetaError(f"no interval, {where}; give a BED with at least one line", NOTHING_TO_SCORE)
    contigs.match({r.chrom for r in regions}, where)
    return sorted(regions, key=lambda r: (contigs.order[r.chrom], r.start, r.end, r.strand))


def _bed_line(line: str, contigs: Contigs, where: str) -> Region:
    fields = line.rstrip("\r\n").split("\t")
    if len(fields) < 3:
        fields = line.split()
    if len(fields) < 3 or not (fields[1].isdigit() and fields[2].isdigit()):
        raise MetaError(f"not BED (chrom, start, end), {where}; give tab-separated columns, 0-based")
    start, end = int(fields[1]), int(fields[2])
    chrom = contigs.require(fields[0], where)
    if start >= end:
        raise MetaError(f"start {start} is not before end {end}, {where}; BED is 0-based half-open")
    if end > contigs.lengths[chrom]:
        raise MetaError(
            f"interval ends at {end:,}, past {chrom} ({contigs.lengths[chrom]:,} bp), {where}; likely another build"
        )
    strand = fields[5] if len(fields) > 5 and fields[5] else "."
    if strand not in "+-.":
        raise MetaError(f"strand {strand!r} is not + - or ., {where}; mend column 6")
    return Region(chrom, start, end, strand, fields[3] if len(fields) > 3 and fields[3] else ".")


def _check_order(region: Region, last: Region | None, finished: set, seen: set, where: str) -> None:
    key = (region.chrom, region.start, region.end, region.strand)
    if key in seen:
        raise MetaError(f"interval {region} stands twice, {where}; run: sort -u -k1,1 -k2,2n -k3,3n -k6,6")
    if last is not None and (region.chrom in finished or (region.chrom == last.chrom and region.start < last.start)):
        raise MetaError(f"not sorted, {where}; run: sort -k1,1 -k2,2n")
    if last is not None and region.chrom != last.chrom:
        finished.add(last.chrom)
    seen.add(key)


def widen(regions: list[Region], flank: int, contigs: Contigs) -> list[Region]:
    """Regions with `flank` further bases on both sides, as far as the contig goes."""
    return [
        replace(r, start=max(r.start - flank, 0), end=min(r.end + flank, contigs.lengths[r.chrom])) for r in regions
    ]


def merge(regions: list[Region], contigs: Contigs, gap: int = 0) -> list[Region]:
    """Per strand, the union of regions as disjoint ones (joined when at most `gap` bp apart), sorted by contig, start.

    A region of strand "." counts on both strands. Names are dropped.
    """
    merged: list[Region] = []
    for strand in "+-":
        last: Region | None = None
        for region in sorted(regions, key=lambda r: (contigs.order[r.chrom], r.start, r.end)):
            if strand not in region.strands:
                continue
            if last and last.chrom == region.chrom and region.start <= last.end + gap:
                last = replace(last, end=max(last.end, region.end))
                merged[-1] = last
            else:
                last = Region(region.chrom, region.start, region.end, strand)
                merged.append(last)
    return sorted(merged, key=lambda r: (contigs.order[r.chrom], r.start, r.end, r.strand))


def windows(regions: list[Region], contigs: Contigs, size: int = WINDOW) -> Iterator[list[Region]]:
    """The merged regions, cut on a fixed grid of `size` bases: per stretch, in genome order, its pieces of either strand.

    The grid does not depend on the regions, so what is computed in one stretch does not either.
    """
    merged = merge(regions, contigs)
    for chrom in dict.fromkeys(r.chrom for r in merged):
        cells: dict[int, list[Region]] = {}
        for region in (r for r in merged if r.chrom == chrom):
            for cell in range(region.start // size, (region.end - 1) // size + 1):
                low, high = max(region.start, cell * size), min(region.end, (cell + 1) * size)
                cells.setdefault(cell, []).append(Region(chrom, low, high, region.strand))
        for cell in sorted(cells):
            yield cells[cell]
