"""Embeddings of a foundation model along the genome: HDF5 or Parquet, one vector per base or per bin.

HDF5: a group per contig, or per contig and strand (`chr1`, or `chr1/+` and `chr1/-`), with the dataset `embedding` (n, D)
and either the datasets `start` and (where bins are longer than a base) `end`, or the attributes `start` and `step` of
regular bins. Parquet: columns chrom, start, embedding (a list of D numbers) and, if need be, end and strand. Bins are
0-based half-open, ascending and disjoint on their contig and strand. A vector that holds a NaN is missing.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.streams import PARQUET_MAGIC, open_input

BLOCK_BYTES = 64 << 20
_HDF5_MAGIC = b"\x89HDF"


class Bins:
    """The bins of one contig and strand, in rows 0..n: where they lie, and fetch(low, high) -> their vectors (m, D).

    start, end: int64 (n,), or None for regular bins, n of `step` bp from `first` on, which then cost no memory.
    """

    def __init__(self, fetch: Callable[[int, int], np.ndarray], n: int, start=None, end=None, first=0, step=1):
        self.fetch, self.n, self._start, self._end, self.first, self.step = fetch, n, start, end, first, step

    def bounds(self, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """(start, end) of the rows [low, high), 0-based half-open."""
        if self._start is not None:
            return self._start[low:high], self._end[low:high]
        start = self.first + self.step * np.arange(low, high, dtype=np.int64)
        return start, start + self.step

    def to_check(self) -> tuple[np.ndarray, np.ndarray]:
        """(start, end) of all bins; of regular ones the first and the last stand for them."""
        if self._start is not None or self.n < 3:
            return self.bounds(0, self.n)
        ends = self.bounds(0, 1), self.bounds(self.n - 1, self.n)
        return tuple(np.concatenate(pair) for pair in zip(*ends, strict=True))

    def locate(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(row of the bin that may hold each position, whether it does)."""
        if self._start is None:
            row = (positions - self.first) // self.step
            hit = (row >= 0) & (row < self.n)
            return np.clip(row, 0, max(self.n - 1, 0)), hit
        if not self.n:
            return np.zeros(len(positions), np.int64), np.zeros(len(positions), bool)
        row = np.maximum(np.searchsorted(self._start, positions, side="right") - 1, 0)
        return row, (self._start[row] <= positions) & (positions < self._end[row])


def rows_at_once(width: int) -> int:
    """Vectors of `width` numbers that are held at once."""
    return max(BLOCK_BYTES // (4 * width), 2)


class Embeddings:
    """An open embedding file, its contigs matched to the genome's.

    Raises MetaError for a missing or foreign file, one without vectors or of another build; when a contig is read, for
    bins that are empty, overlapping, unsorted or past its end.
    """

    def __init__(self, path: str | Path, contigs: Contigs):
        self.path, self.contigs = str(path), contigs
        with open_input(self.path) as handle:
            start = handle.peek(4)[:4]
        if start == _HDF5_MAGIC:
            self._file = _Hdf5(self.path)
        elif start == PARQUET_MAGIC:
            self._file = _Parquet(self.path)
        else:
            raise MetaError(f"neither HDF5 nor Parquet, {self.path}; give embeddings in one of them")
        if not self._file.lengths:
            raise MetaError(f"no embedding, {self.path}; give a file with at least one vector")
        self.width = self._file.width
        self._theirs = {ours: theirs for theirs, ours in contigs.match(self._file.lengths, self.path).items()}
        self._bins: dict[tuple[str, str], Bins | None] = {}

    def __contains__(self, chrom: str) -> bool:
        return chrom in self._theirs

    def strands(self, chrom: str) -> list[str]:
        """The strands that the file tells apart on a contig; ["."] where it does not."""
        return self._file.strands(self._theirs[chrom]) if chrom in self._theirs else []

    def bins(self, chrom: str, strand: str) -> Bins | None:
        """The bins of a contig that hold for a strand; None where there are none."""
        key = (chrom, strand)
        if key not in self._bins:
            self._bins = {k: v for k, v in self._bins.items() if k[0] == chrom}  # one contig at a time
            self._bins[key] = self._load(chrom, strand)
        return self._bins[key]

    def _load(self, chrom: str, strand: str) -> Bins | None:
        kept = next((s for s in (strand, ".") if s in self.strands(chrom)), None)
        if kept is None:
            return None
        bins = self._file.bins(self._theirs[chrom], kept)
        length = self.contigs.lengths[chrom]
        start, end = bins.to_check()
        faults = (
            (start < 0, "starts before its contig"),
            (end <= start, "is empty"),
            (end > length, f"ends past its contig ({length:,} bp)"),
            (np.r_[False, start[1:] < end[:-1]], "is unsorted or overlaps the one before"),
        )
        for bad, what in faults:
            if bad.any():
                i = int(np.argmax(bad))
                raise MetaError(f"bin {chrom}:{start[i]}-{end[i]} {what}, {self.path}; mend the file")
        return bins


class _Hdf5:
    def __init__(self, path: str):
        self.path = path
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise MetaError(f"not HDF5 or truncated, {path}; make it again") from error
        self._groups: dict[str, dict[str, h5py.Group]] = {}
        self.lengths: dict[str, int | None] = {}
        self.width = 0
        for name, group in self._file.items():
            if not isinstance(group, h5py.Group):
                continue
            found = {".": group} if "embedding" in group else {s: group[s] for s in "+-" if s in group}
            if not found:
                continue
            self._groups[name] = found
            self.lengths[name] = int(group.attrs["length"]) if "length" in group.attrs else None
            for strand, part in found.items():
                self._check(part, f"{path} {name}" + ("" if strand == "." else f"/{strand}"))

    def _check(self, group: h5py.Group, where: str) -> None:
        data = group.get("embedding") if isinstance(group, h5py.Group) else None
        if data is None or data.ndim != 2 or data.dtype.kind != "f":
            raise MetaError(f"no dataset embedding of shape (n, D) and floats, {where}; see libmeta/embedding_files.py")
        if "start" not in group and not {"start", "step"} <= set(group.attrs):
            raise MetaError(
                f"neither a dataset start nor attributes start and step, {where}; say where the vectors are"
            )
        if "start" in group and any(len(group[k]) != len(data) for k in ("start", "end") if k in group):
            raise MetaError(f"start or end is not as long as embedding, {where}; make it again")
        if self.width not in (0, data.shape[1]):
            raise MetaError(f"vectors of {data.shape[1]} and of {self.width} numbers, {where}; make it again")
        self.width = data.shape[1]
        if not self.width or int(group.attrs.get("step", 1)) < 1:
            raise MetaError(f"vectors of no numbers, or a step below 1, {where}; make it again")

    def strands(self, name: str) -> list[str]:
        return list(self._groups[name])

    def bins(self, name: str, strand: str) -> Bins:
        group = self._groups[name][strand]
        data = group["embedding"]

        def fetch(low: int, high: int) -> np.ndarray:
            try:
                return data[low:high].astype(np.float32)
            except OSError as error:
                raise MetaError(
                    f"cannot read vectors {low}-{high} of {name}, {self.path}; the file is damaged"
                ) from error

        if "start" not in group:
            return Bins(fetch, len(data), first=int(group.attrs["start"]), step=int(group.attrs["step"]))
        start = group["start"][:].astype(np.int64)
        end = group["end"][:].astype(np.int64) if "end" in group else start + 1
        return Bins(fetch, len(data), start, end)


class _Parquet:
    """The last row group that vectors were asked of is held."""

    def __init__(self, path: str):
        self.path = path
        try:
            self._file = pq.ParquetFile(path, pre_buffer=False)
        except pa.ArrowInvalid as error:
            raise MetaError(f"not Parquet or truncated, {path}; make it again") from error
        names = self._file.schema_arrow.names
        if lacking := [c for c in ("chrom", "start", "embedding") if c not in names]:
            raise MetaError(f"no column {lacking[0]}, {path}; embeddings have chrom, start and embedding")
        self._keys = [c for c in ("chrom", "start", "end", "strand") if c in names]
        self._held = (None, None)
        self.lengths, self.width = self._contigs(), 0
        if self._file.metadata.num_rows:
            self.width = self._vectors(0).shape[1]

    def _contigs(self) -> dict[str, None]:
        self._inside: list[list[str]] = []  # contigs of each row group
        for i in range(self._file.num_row_groups):
            column = self._file.read_row_group(i, columns=["chrom"])["chrom"]
            self._inside.append(pc.unique(column).to_pylist())
        return dict.fromkeys(n for inside in self._inside for n in inside)

    def _vectors(self, group: int) -> np.ndarray:
        """float32 (rows of the group, D)."""
        if self._held[0] != group:
            try:
                column = self._file.read_row_group(group, columns=["embedding"])["embedding"].combine_chunks()
            except (pa.ArrowInvalid, OSError) as error:
                raise MetaError(f"cannot read row group {group}, {self.path}; the file is damaged") from error
            flat = pc.list_flatten(column).to_numpy(zero_copy_only=False).astype(np.float32)
            lengths = pc.list_value_length(column)
            width = self.width or (lengths[0].as_py() if len(column) else 0)
            if not width or pc.any(pc.not_equal(lengths, width)).as_py() or column.null_count:
                raise MetaError(f"vectors of different lengths in row group {group}, {self.path}; make it again")
            self._held = (group, flat.reshape(-1, width))
        return self._held[1]

    def _rows(self, name: str) -> Iterator[tuple[int, pa.Table]]:
        for i, inside in enumerate(self._inside):
            if name in inside:
                table = self._file.read_row_group(i, columns=self._keys)
                at = np.arange(table.num_rows)
                mask = pc.equal(table["chrom"], name)
                yield i, table.append_column("row", pa.array(at)).filter(mask)

    def strands(self, name: str) -> list[str]:
        if "strand" not in self._keys:
            return ["."]
        return sorted({s for _, t in self._rows(name) for s in pc.unique(t["strand"]).to_pylist()})

    def bins(self, name: str, strand: str) -> Bins:
        groups, rows, start, end = [], [], [], []
        for i, table in self._rows(name):
            if "strand" in self._keys:
                table = table.filter(pc.equal(table["strand"], strand))
            begin = table["start"].to_numpy().astype(np.int64)
            groups.append(np.full(len(begin), i))
            rows.append(table["row"].to_numpy())
            start.append(begin)
            end.append(table["end"].to_numpy().astype(np.int64) if "end" in self._keys else begin + 1)
        group, row = np.concatenate(groups), np.concatenate(rows)

        def fetch(low: int, high: int) -> np.ndarray:
            out = np.empty((high - low, self.width), np.float32)
            for g in np.unique(group[low:high]).tolist():
                here = np.flatnonzero(group[low:high] == g)
                out[here] = self._vectors(g)[row[low:high][here]]
            return out

        return Bins(fetch, len(row), np.concatenate(start), np.concatenate(end))
