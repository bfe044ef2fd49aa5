"""Dense pieces as Arrow batches and back."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libmeta import dense, schema
from libmeta.dense import GRID, Piece, cells
from libmeta.errors import MetaError
from libmeta.features import Sources, open_again, to_open
from libmeta.modalities import Channel
from libmeta.processes import Processes
from libmeta.regions import Region

SITES = ("donor", "acceptor")
NEEDS_GENES = ("junction",)  # modalities in which silence counts only where labels say that a gene was measured


def score_columns(base_names: list[str]) -> list[str]:
    """Columns of the base models in order, donor and acceptor of each; the first goes without its name."""
    plain = [f"base_scores.{s}" for s in SITES]
    return [c if i == 0 else c.replace(".", f".{n}.") for i, n in enumerate(base_names) for c in plain]


def columns(base_names: list[str], channels: dict[str, Channel]) -> list[schema.Column]:
    """Columns of the stream. channels: {full name: Channel}."""
    fixed = {c.name: c for c in schema.load("dense").columns}
    scores = [replace(fixed[f"base_scores.{n.rpartition('.')[2]}"], name=n) for n in score_columns(base_names)]
    further = [
        schema.Column(n, "float32", c.doc, "feature", n.partition(".")[0], c.unit, missing=c.missing or "unknown")
        for n, c in channels.items()
    ]
    return [c for c in fixed.values() if not c.optional] + scores + further


def described(channels: dict[str, Channel], in_genes: bool = False) -> list[dict]:
    """ms.channels of the metadata. in_genes: genes were known, so that silence counts in measured genes only; told of the
    channels that it makes a difference to.
    """
    found = [{"name": n, "modality": n.partition(".")[0], "log1p": c.log1p} for n, c in channels.items()]
    return [c | {"in_genes": in_genes} if c["modality"] in NEEDS_GENES else c for c in found]


def batch(piece: Piece, form: pa.Schema, length: int) -> pa.RecordBatch:
    """The rows of a piece that lie on the contig, `length` bp long."""
    piece = piece.cut(max(piece.start, 0), min(piece.end, length))
    rows = piece.end - piece.start
    values = [row for model in piece.base for row in model] + list(piece.channels)
    arrays = [
        pa.repeat(pa.scalar(piece.chrom), rows),
        pa.array(np.arange(piece.start, piece.end)),
        pa.repeat(pa.scalar(piece.strand), rows),
        pa.array(piece.core),
        pa.array(piece.codes),
        *(pa.array(v, from_pandas=True) for v in values),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=form)


def batches(
    sources: Sources,
    readers: dict,
    base_names: list[str],
    regions: list[Region],
    flank: int,
    form: pa.Schema,
    processes: int = 1,
) -> Iterator[tuple[pa.RecordBatch, int]]:
    """A batch for each piece of dense.pieces, and its core bases.

    form: the stream's schema. processes: how many read; the batches are the same.
    """
    todo = [
        list(c) for _, c in groupby(cells(regions, sources.genome.contigs, GRID), lambda r: (r.chrom, r.start, r.end))
    ]
    done = [[r.end - r.start for r in both] for both in todo]
    if processes == 1:
        work = _Cells(sources, readers, base_names, flank, form)
        for both, bases in zip(todo, done, strict=True):
            yield from zip(work.batches(both), bases, strict=True)
        return
    given = (*to_open(sources, readers), base_names, flank, form)
    with Processes(processes, open_cells, *given) as crew:
        for packed, bases in zip(crew.answers(todo), done, strict=True):
            yield from zip((pa.ipc.read_record_batch(pa.py_buffer(p), form) for p in packed), bases, strict=True)


def open_cells(config, fasta, labels, names, base_names, flank, form):
    """What turns a cell, of one strand or both, into its packed batches, in another process."""
    work = _Cells(*open_again(config, fasta, labels, names), base_names, flank, form)
    return lambda both: [b.serialize().to_pybytes() for b in work.batches(both)]


@dataclass
class _Cells:
    sources: Sources
    readers: dict
    base_names: list[str]
    flank: int
    form: pa.Schema

    def batches(self, both: list[Region]) -> Iterator[pa.RecordBatch]:
        """Of a cell's strands, one after the other: readers keep what the second needs too."""
        names = list(dense.channels(self.readers))
        for region in both:
            piece = dense.cell_piece(self.sources, self.readers, self.base_names, names, region, self.flank)
            yield batch(piece, self.form, self.sources.genome.contigs.lengths[region.chrom])


def read(stream) -> Iterator[Piece]:
    """The runs of a dense stream as pieces, however its rows are cut into batches.

    A run ends where contig or strand change or the position does not go on by one, and where the core goes on across a
    line of the grid. Raises MetaError for a column that the stream lacks.
    """
    meta = stream.metadata
    names = score_columns([m["name"] for m in meta["base_models"]])
    wanted = [*names, *(c["name"] for c in meta["channels"])]
    needed = ["chrom", "pos", "strand", "core", "sequence.base", *wanted]
    if lacking := [n for n in needed if n not in stream.schema.names]:
        raise MetaError(f"no column {lacking[0]}, {stream.name}; make the stream with ms-features --dense")
    held: list[Piece] = []
    for found in stream:
        for part in _parts(found, len(names) // 2, wanted):
            if held and not _goes_on(held[-1], part):
                yield _join(held)
                held = []
            held.append(part)
    if held:
        yield _join(held)


def _parts(found: pa.RecordBatch, models: int, wanted: list[str]) -> Iterator[Piece]:
    """The runs inside one batch."""
    get = {n: found.column(found.schema.get_field_index(n)) for n in ("chrom", "pos", "strand", "core")}
    pos, core = get["pos"].to_numpy(), get["core"].to_numpy(zero_copy_only=False)
    codes = found.column(found.schema.get_field_index("sequence.base")).to_numpy()
    breaks = (np.diff(pos) != 1) | ((pos[1:] % GRID == 0) & core[1:] & core[:-1])
    for name in ("chrom", "strand"):
        breaks |= pc.not_equal(get[name][1:], get[name][:-1]).to_numpy(zero_copy_only=False)
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), found.num_rows]
    values = np.empty((len(wanted), found.num_rows), np.float32)
    for row, name in zip(values, wanted, strict=True):
        row[:] = found.column(found.schema.get_field_index(name)).to_numpy(zero_copy_only=False)
    base, channels = values[: 2 * models].reshape(models, 2, found.num_rows), values[2 * models :]
    for low, high in pairwise(edges):
        if low < high:
            place = (get["chrom"][low].as_py(), int(pos[low]), int(pos[high - 1]) + 1, get["strand"][low].as_py())
            at = slice(low, high)
            yield Piece(*place, codes[at], core[at], base[:, :, at], channels[:, at])


def _goes_on(last: Piece, following: Piece) -> bool:
    same = (last.chrom, last.strand, last.end) == (following.chrom, following.strand, following.start)
    return same and not (following.start % GRID == 0 and last.core[-1] and following.core[0])


def _join(parts: list[Piece]) -> Piece:
    if len(parts) == 1:
        return parts[0]
    arrays = [np.concatenate([getattr(p, k) for p in parts], axis=-1) for k in ("codes", "core", "base", "channels")]
    return Piece(parts[0].chrom, parts[0].start, parts[-1].end, parts[0].strand, *arrays)
