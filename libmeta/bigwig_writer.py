"""Write a bigWig as values arrive: memory does not grow with the bases, and the bytes depend on the values alone.

Layout (version 4): header, zoom headers, total summary, contig tree, sections of data, their index, then per zoom level
its blocks and their index; the magic number again at the end. What must wait for the end of the data (the index and the
finest summaries, 1.3 bytes per dense base) waits in temporary files without a name beside the output. Format: Kent et al.
2010, Bioinformatics 26:2204, supplementary tables.
"""

import contextlib
import struct
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from libmeta.bigwig_index import LEAF, SLOT, Spill, write_block, write_contigs, write_index
from libmeta.contigs import Contigs
from libmeta.errors import MetaError

MAGIC = 0x888FFC26
HEADER, ZOOM_HEADER, SUMMARY = struct.Struct("<IHHQQQHHQQIQ"), struct.Struct("<IIQQ"), struct.Struct("<Qdddd")
SECTION = struct.Struct("<IIIIIBBH")
VARIABLE_STEP, FIXED_STEP = 2, 3
BATCH = 64 * SLOT  # values held before they are written
REDUCTIONS = [32 * 4**i for i in range(10)]  # bp of a bin of each zoom level
SUMMARY_AT = HEADER.size + ZOOM_HEADER.size * len(REDUCTIONS)
CONTIGS_AT = SUMMARY_AT + SUMMARY.size
LONGEST = 2**32 - 1  # positions are 32 bits wide
BIGGEST = float(np.finfo(np.float32).max)

_PLACE = [("chrom", "<u4"), ("start", "<u4"), ("end", "<u4"), ("count", "<u4"), ("min", "<f4"), ("max", "<f4")]
BIN = np.dtype([*_PLACE, ("sum", "<f8"), ("squares", "<f8")])  # while it is summed
ZOOM = np.dtype([*_PLACE, ("sum", "<f4"), ("squares", "<f4")])  # as the file has it


class BigWigWriter:
    """Write one bigWig of single bases; pieces must come in the order of the genome's contigs and ascend within each.

    All contigs of the genome are in the header, numbered in its order. As a context manager it leaves the file unfinished
    when the block raises. Raises MetaError for a contig that the format cannot hold, ValueError for pieces out of order
    or beyond the contig.
    """

    def __init__(self, path: str | Path, contigs: Contigs):
        for name, length in contigs.lengths.items():
            if length > LONGEST:
                raise MetaError(
                    f"contig {name} is {length:,} bp and a bigWig holds {LONGEST:,} at most, {path}; write a table "
                    "(-o FILE.parquet)"
                )
        self._contigs, self._last = contigs, (-1, 0)
        self._held, self._chrom = 0, -1
        self._positions, self._values = np.empty(BATCH, "<u4"), np.empty(BATCH, "<f4")
        self._covered, self._low, self._high, self._sum, self._squares = 0, np.inf, -np.inf, 0.0, 0.0
        self._raw_bytes = self._sections = 0
        self._folder, self._stack = Path(path).absolute().parent, contextlib.ExitStack()
        self._file = self._stack.enter_context(open(path, "wb"))  # noqa: SIM115 - its stack closes it
        self._leaves, self._bins = self._spill(LEAF), self._spill(BIN)
        self._file.write(bytes(CONTIGS_AT))
        write_contigs(self._file, contigs)
        self._data_at = self._file.tell()
        self._file.write(bytes(8))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.close()
        else:
            self._stack.close()

    def dense(self, chrom: str, start: int, values: np.ndarray) -> None:
        """Consecutive bases from `start`, 0-based; NaN leaves a gap."""
        self._advance(chrom, start, start + len(values))
        for at in range(0, len(values), BATCH):
            block = np.asarray(values[at : at + BATCH], np.float32)
            known = np.flatnonzero(np.isfinite(block))
            self._put(chrom, start + at + known, block[known])

    def sparse(self, chrom: str, positions: np.ndarray, values: np.ndarray) -> None:
        """Single bases at ascending positions, 0-based; NaN is left out."""
        known = np.isfinite(values)
        if not known.any():
            return
        positions = np.asarray(positions)[known].astype(np.int64)
        self._advance(chrom, int(positions[0]), int(positions[-1]) + 1)
        if (np.diff(positions) <= 0).any():
            raise ValueError(f"bigWig positions out of order within {chrom}:{positions[0]}-{positions[-1]}")
        self._put(chrom, positions, np.asarray(values, np.float32)[known])

    def close(self) -> None:
        """Write what is left, the index, the zoom levels and the header."""
        with self._stack:
            self._flush()
            file = self._file
            index_at = file.tell()
            write_index(file, self._leaves)
            levels = list(self._zoom_levels())
            file.write(struct.pack("<I", MAGIC))
            file.seek(0)
            file.write(HEADER.pack(MAGIC, 4, len(levels), CONTIGS_AT, self._data_at, index_at, 0, 0, 0, SUMMARY_AT,
                                   ZOOM.itemsize * SLOT, 0))  # fmt: skip
            for reduction, data_at, zoom_index_at in levels:
                file.write(ZOOM_HEADER.pack(reduction, 0, data_at, zoom_index_at))
            low, high = (self._low, self._high) if self._covered else (0.0, 0.0)
            file.seek(SUMMARY_AT)
            file.write(SUMMARY.pack(self._covered, low, high, self._sum, self._squares))
            file.seek(self._data_at)
            file.write(struct.pack("<Q", self._sections))

    def _advance(self, chrom: str, start: int, end: int) -> None:
        number = self._contigs.order[chrom]
        if (number, start) < self._last:
            raise ValueError(f"bigWig pieces out of order at {chrom}:{start}")
        if start < 0 or end > self._contigs.lengths[chrom]:
            raise ValueError(f"bigWig piece beyond the contig at {chrom}:{start}-{end}")
        self._last = (number, end)

    def _put(self, chrom: str, positions: np.ndarray, values: np.ndarray) -> None:
        """Values are written in batches of a fixed number, so that the bytes do not depend on how pieces were cut."""
        number = self._contigs.order[chrom]
        if number != self._chrom:
            self._flush()
            self._chrom = number
        done = 0
        while done < len(values):
            n = min(BATCH - self._held, len(values) - done)
            self._positions[self._held : self._held + n] = positions[done : done + n]
            self._values[self._held : self._held + n] = values[done : done + n]
            self._held, done = self._held + n, done + n
            if self._held == BATCH:
                self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        positions, values = self._positions[: self._held], self._values[: self._held]
        for at in range(0, self._held, SLOT):
            self._write_section(positions[at : at + SLOT], values[at : at + SLOT])
        bins = _summarise(self._chrom, positions, values)
        self._bins.append(bins)
        self._covered += self._held
        self._low, self._high = min(self._low, float(values.min())), max(self._high, float(values.max()))
        self._sum, self._squares = self._sum + float(bins["sum"].sum()), self._squares + float(bins["squares"].sum())
        self._held = 0

    def _write_section(self, positions: np.ndarray, values: np.ndarray) -> None:
        start, end, n = int(positions[0]), int(positions[-1]) + 1, len(values)
        if end - start == n:
            kind, items = FIXED_STEP, values
        else:
            kind, items = VARIABLE_STEP, np.column_stack([positions, values.view("<u4")])
        raw = SECTION.pack(self._chrom, start, end, 1 if kind == FIXED_STEP else 0, 1, kind, 0, n) + items.tobytes()
        write_block(self._file, self._leaves, (self._chrom, start, self._chrom, end), raw)
        self._raw_bytes += len(raw)
        self._sections += 1

    def _zoom_levels(self) -> Iterator[tuple[int, int, int]]:
        """(bp of a bin, offset of the blocks, offset of their index) of each level worth having.

        Each level is summed from the one before; one that is not half as large as what is kept so far is left out.
        """
        finer, kept_bytes = self._bins, self._raw_bytes
        for reduction in REDUCTIONS:
            bins = self._spill(BIN)
            for rows in _coarser(finer.chunks(), reduction):
                bins.append(rows)
            finer.close()
            finer = bins
            if 0 < 2 * ZOOM.itemsize * len(bins) <= kept_bytes:
                kept_bytes = ZOOM.itemsize * len(bins)
                yield reduction, *self._write_zoom(bins)

    def _write_zoom(self, bins: "Spill") -> tuple[int, int]:
        data_at = self._file.tell()
        self._file.write(struct.pack("<I", len(bins)))
        leaves = self._spill(LEAF)
        for rows in bins.chunks(SLOT):
            for sums in ("sum", "squares"):
                np.clip(rows[sums], -BIGGEST, BIGGEST, out=rows[sums])
            bounds = (rows["chrom"][0], rows["start"][0], rows["chrom"][-1], rows["end"][-1])
            write_block(self._file, leaves, bounds, rows.astype(ZOOM).tobytes())
        index_at = self._file.tell()
        write_index(self._file, leaves)
        leaves.close()
        return data_at, index_at

    def _spill(self, dtype: np.dtype) -> "Spill":
        spill = Spill(dtype, self._folder)
        self._stack.callback(spill.close)
        return spill


def _summarise(chrom: int, positions: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values of one contig, at least one, as rows (bins,) of BIN at the finest reduction."""
    bins = positions // REDUCTIONS[0]
    first = np.flatnonzero(np.concatenate([[True], bins[1:] != bins[:-1]]))
    after = np.append(first[1:], len(values))
    exact = values.astype(np.float64)
    rows = np.empty(len(first), BIN)
    rows["chrom"], rows["count"] = chrom, after - first
    rows["start"], rows["end"] = positions[first], positions[after - 1] + np.uint32(1)
    rows["min"], rows["max"] = np.minimum.reduceat(values, first), np.maximum.reduceat(values, first)
    rows["sum"], rows["squares"] = np.add.reduceat(exact, first), np.add.reduceat(exact * exact, first)
    return rows


def _coarser(chunks: Iterable[np.ndarray], reduction: int) -> Iterator[np.ndarray]:
    """Rows of BIN in order, those of one bin of `reduction` bp added up. A row spans its values, not its whole bin."""
    held = np.empty(0, BIN)
    for chunk in chunks:
        rows = np.concatenate([held, chunk])
        bins = rows["start"] // reduction
        new = (bins[1:] != bins[:-1]) | (rows["chrom"][1:] != rows["chrom"][:-1])
        first = np.flatnonzero(np.concatenate([[True], new]))
        merged = rows[first]
        merged["end"] = rows["end"][np.append(first[1:], len(rows)) - 1]
        merged["min"] = np.minimum.reduceat(rows["min"], first)
        merged["max"] = np.maximum.reduceat(rows["max"], first)
        for total in ("count", "sum", "squares"):
            merged[total] = np.add.reduceat(rows[total], first)
        yield merged[:-1]
        held = merged[-1:]  # the next chunk may go on with this bin
    yield held
