"""Scored positions for an evaluation, from a table of ours or from bigWigs, in pieces of one contig and
strand.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyBigWig

from libmeta import schema
from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.scores import open_scores
from libmeta.streams import Stream, open_table
from libmeta.tracks import BLOCK, TRACKS
from libmeta.truth import Truth

ROWS = 1 << 16
KEYS = ("chrom", "pos", "strand")
META = ("donor", "acceptor")
BASE = ("base_donor", "base_acceptor")


@dataclass
class Rows:
    """Positions of one cell: pos int64 (n,), weight float64 (n,), scores float32 (2 or 4, n): donor, acceptor
    of the model, then of the base model (NaN where it has none). cell is None for a contig that the labels do
    not have. further: float32 (m, n), the columns that were asked for beside these."""  # fmt: skip

    cell: int | None
    pos: np.ndarray
    weight: np.ndarray
    scores: np.ndarray
    further: np.ndarray | None = None


def is_tracks(source: str) -> bool:
    """Whether `source` is the prefix of score bigWigs."""
    return Path(f"{source}.{TRACKS['donor', '+']}").exists()


def open_rows(source: str, truth: Truth, base: str | None = None) -> "TableRows | TrackRows":
    """Rows of a table ("-" is standard input) or of the bigWigs of a prefix; base: as in TableRows.

    Beside the rows it tells: name, model (ms.model), provenance, inputs (name -> path), compared (whether
    there is a base model), and, after the pass, shared and strangers: the contigs that the labels have and do
    not have.
    """
    if source != "-" and is_tracks(source):
        return TrackRows(source, truth, base)
    return TableRows(open_table(source).expect("scores", "base_scores"), truth, base)


# ---- tables ---------------------------------------------------------------------------------------------


class TableRows:
    """Rows of a table in the scores format (or of base_scores, where every base was scored: weight 1).

    base: prefix or Parquet file of base scores that takes the place of the base columns. compared: whether
    there is a base model at all. tissues: full names of those that the table has columns of. Iterate once.
    """

    def __init__(self, stream: Stream, truth: Truth, base: str | None = None):
        self.stream, self.truth, self.name = stream, truth, stream.name
        self.model, self.provenance = stream.metadata.get("model"), stream.provenance
        self.shared: set[str] = set()
        self.strangers: set[str] = set()
        self.dense = stream.metadata.get("format") == "base_scores"
        names = stream.schema.names
        needed = [*KEYS, *META] if self.dense else [*KEYS, "weight", *META]
        if lacking := [c for c in needed if c not in names]:
            raise MetaError(f"no column {lacking[0]}, {stream.name}; give scores made by ms-predict")
        self.inputs = {} if stream.name == "standard input" else {"scores": stream.name}
        self.reader = self._open_base(base) if base else None
        has_columns = all(c in names for c in BASE)
        self.columns = needed + (list(BASE) if has_columns and not base else [])
        by_tissue = [f for f in stream.schema if schema.tissue(f)]  # donor and acceptor of each in turn
        self.tissues, self.further = [schema.tissue(f) for f in by_tissue[::2]], [f.name for f in by_tissue]
        self.columns += self.further
        self._pieces = _gather(stream, self.columns)
        self._first = next(self._pieces, None)
        self.compared = self.reader is not None or (has_columns and self._has_base(self._first))

    def _open_base(self, base: str):
        contigs = track_contigs(base) if is_tracks(base) else self.truth.contigs
        reader = open_scores(base, contigs)
        self.inputs |= {f"base.{k}": v for k, v in reader.inputs.items()}
        self._their = contigs.match(dict.fromkeys(self.truth.names), self.truth.where)
        return reader

    def _has_base(self, piece: pa.Table | None) -> bool:
        return piece is not None and any(piece[c].null_count < piece.num_rows for c in BASE)

    def __iter__(self) -> Iterator[Rows]:
        row, piece = 0, self._first
        while piece is not None:
            if not self.compared and BASE[0] in piece.column_names and self._has_base(piece):
                raise MetaError(
                    f"base scores only begin after row {row:,}, {self.stream.name}; give --base PREFIX, or "
                    f"score the "
                    "whole of it again"
                )
            yield from self._split(piece, f"{self.stream.name} rows {row + 1:,}-{row + piece.num_rows:,}")
            row += piece.num_rows
            piece = next(self._pieces, None)

    def _split(self, piece: pa.Table, where: str) -> Iterator[Rows]:
        if any(piece[c].null_count for c in KEYS):
            raise MetaError(f"a key is null, {where}; make the scores again")
        pos = piece["pos"].to_numpy().astype(np.int64, copy=False)
        weight = np.ones(len(pos)) if self.dense else _numbers(piece, "weight", np.float64)
        if not (weight.min(initial=0) >= 0 and np.isfinite(weight).all()):
            raise MetaError(f"a weight is missing, negative or infinite, {where}; make the scores again")
        names = [*META, *(BASE if self.compared and self.reader is None else ())]
        scores = np.stack([_numbers(piece, c, np.float32) for c in names])
        cells = self._cells(piece, where)
        for cell in np.flatnonzero(np.bincount(cells + 1)) - 1:
            mine = slice(None) if np.all(cells == cell) else np.flatnonzero(cells == cell)
            one = scores if isinstance(mine, slice) else np.stack([row[mine] for row in scores])
            rows = Rows(int(cell) if cell >= 0 else None, pos[mine], weight[mine], one)
            if self.further:
                rows.further = np.stack([_numbers(piece, c, np.float32)[mine] for c in self.further])
            yield self._with_base(rows)

    def _with_base(self, rows: Rows) -> Rows:
        if self.reader is not None and rows.cell is not None:
            chrom, strand = self.truth.cell_name(rows.cell)
            base = np.full((2, len(rows.pos)), np.nan, np.float32)
            if chrom in self._their:
                for block in np.unique(rows.pos // BLOCK):
                    mine = np.flatnonzero(rows.pos // BLOCK == block)
                    low, high = int(rows.pos[mine].min()), int(rows.pos[mine].max()) + 1
                    read = self.reader.read(self._their[chrom], low, high, strand)
                    base[:, mine] = np.stack(read)[:, rows.pos[mine] - low]
            rows.scores = np.concatenate([rows.scores, base])
        return rows

    def _cells(self, piece: pa.Table, where: str) -> np.ndarray:
        """The cell of every row, int64 (n,); -1 on a contig that the labels do not have."""
        chrom = piece["chrom"].combine_chunks()
        chrom = chrom if isinstance(chrom, pa.DictionaryArray) else chrom.dictionary_encode()
        names = chrom.dictionary.to_pylist()
        found = [self.truth.cell_of(name, "+") for name in names]
        self.strangers |= {name for name, cell in zip(names, found, strict=True) if cell is None}
        self.shared |= {name for name, cell in zip(names, found, strict=True) if cell is not None}
        plus = np.array([-2 if cell is None else cell for cell in found], np.int64)[chrom.indices.to_numpy()]
        minus = pc.equal(piece["strand"], "-").to_numpy()
        if not np.all(minus | pc.equal(piece["strand"], "+").to_numpy()):
            raise MetaError(f"a strand is neither + nor -, {where}; make the scores again")
        return np.where(plus < 0, -1, plus + minus)


def _numbers(piece: pa.Table, name: str, kind: type) -> np.ndarray:
    """A column as numbers, null as NaN."""
    try:
        return piece[name].to_numpy().astype(kind, copy=False)
    except (ValueError, TypeError) as error:
        raise MetaError(f"column {name} does not hold numbers; make the scores again with ms-predict") from error


def _gather(stream: Stream, columns: list[str]) -> Iterator[pa.Table]:
    """Batches joined to tables of at least ROWS rows, the needed columns only: small batches cost as little
    as large.
    """
    waiting, rows = [], 0
    for batch in stream:
        for low in range(0, batch.num_rows, 4 * ROWS):
            waiting.append(batch.select(columns).slice(low, 4 * ROWS))
            rows += waiting[-1].num_rows
            if rows >= ROWS:
                yield pa.Table.from_batches(waiting).combine_chunks()
                waiting, rows = [], 0
    if rows:
        yield pa.Table.from_batches(waiting).combine_chunks()


# ---- bigWigs --------------------------------------------------------------------------------------------


def track_contigs(prefix: str) -> Contigs:
    """Contigs of the bigWigs of a prefix, from the header of the first."""
    path = f"{prefix}.{TRACKS['donor', '+']}"
    try:
        with pyBigWig.open(path) as file:
            return Contigs(file.chroms(), path)
    except RuntimeError as error:
        raise MetaError(f"not a bigWig or truncated, {path}; make or download it again") from error


class TrackRows:
    """Rows of score bigWigs: every base of the scope that has a value, weight 1. base: as in TableRows."""

    def __init__(self, prefix: str, truth: Truth, base: str | None = None):
        contigs = track_contigs(prefix)
        self.name = prefix
        self.shared, self.strangers = set(contigs.lengths), set()
        about = _about(prefix)
        self.model, self.provenance = about.get("model"), about.get("provenance", [])
        self.truth, self.compared, self.tissues = truth, base is not None, []
        self.readers = [open_scores(prefix, contigs)] + ([open_scores(base, contigs)] if base else [])
        self._their = contigs.match(dict.fromkeys(truth.names), truth.where)
        self.inputs = {f"scores.{k}": v for k, v in self.readers[0].inputs.items()}
        if base:
            self.inputs |= {f"base.{k}": v for k, v in self.readers[1].inputs.items()}

    def __iter__(self) -> Iterator[Rows]:
        for cell, segments in self.truth.segments.items():
            chrom, strand = self.truth.cell_name(cell)
            if chrom not in self._their:
                continue
            for start, end in _runs(segments):
                for low in range(start, end, 4 * ROWS):
                    yield self._read(cell, self._their[chrom], strand, low, min(low + 4 * ROWS, end))

    def _read(self, cell: int, chrom: str, strand: str, low: int, high: int) -> Rows:
        scores = np.concatenate([np.stack(r.read(chrom, low, high, strand)) for r in self.readers])
        known = np.flatnonzero(np.isfinite(scores[:2]).all(axis=0))
        return Rows(cell, low + known, np.ones(len(known)), scores[:, known])


def _about(prefix: str) -> dict:
    """PREFIX.json beside the bigWigs; {} where there is none."""
    path = Path(f"{prefix}.json")
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MetaError(f"not JSON ({error}), {path}; make the bigWigs again or remove it") from error
    return found if isinstance(found, dict) else {}


def _runs(segments) -> list[tuple[int, int]]:
    """Unbroken stretches [start, end) of the scope."""
    inside = np.concatenate([[0], (segments.gene >= 0).astype(np.int8)])
    change = np.diff(inside)
    starts, ends = segments.edges[change == 1], segments.edges[change == -1]
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
