"""What ms-features would read, looked at before it does: every source opened, and what each column will be made of.

Three tables: the sources, with kind, build (guessed from contig lengths), contigs shared with the genome and bases
covered; how much of each contig each of them covers; and the columns with the files behind them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import pyBigWig

from libmeta import modalities
from libmeta.contigs import Contigs, guess_build
from libmeta.errors import MetaError
from libmeta.features import Sources, Window, open_readers
from libmeta.interval_files import BIGBED_MAGICS, BIGWIG_MAGICS, contig_lengths
from libmeta.tracks import BigWig

_KINDS = {
    **dict.fromkeys(BIGWIG_MAGICS, "bigWig"), **dict.fromkeys(BIGBED_MAGICS, "bigBed"), b"PAR1": "Parquet",
    b"\x89HDF": "HDF5", b"ARRO": "Arrow", b"\xff\xff\xff\xff": "Arrow",
}  # fmt: skip


@dataclass
class Source:
    """One file. covered: {contig of the genome: share of its bases with a value}, None where only reading would tell."""

    modality: str
    key: str
    path: str
    kind: str
    build: str | None = None
    contigs: list[str] | None = None
    covered: dict[str, float] | None = None


@dataclass
class Made:
    """One column, its own words, and the files behind it; empty where it will be missing everywhere."""

    column: str
    doc: str
    files: str


@dataclass
class Preflight:
    contigs: Contigs
    sources: list[Source] = field(default_factory=list)
    columns: list[Made] = field(default_factory=list)
    channels: list[Made] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)


def check(sources: Sources, wanted: list[str], must: bool) -> Preflight:
    """Open and look at the sources of the modalities `wanted`; must: each has to have one.

    Indexed files are read whole, so that their faults show here. Raises MetaError for whatever a run would meet at its
    start: missing, foreign, empty and truncated files, other builds, two builds in one mark.
    """
    readers, absent = open_readers(sources, wanted, must)
    found = Preflight(sources.genome.contigs, absent=absent)
    for name, reader in readers.items():
        opened = getattr(reader, "opened", {})
        rows = [_look(name, key, str(path), opened.get(key), found.contigs) for key, path in reader.inputs.items()]
        found.sources += rows
        if any(row.contigs is None and row.kind == "text" for row in rows):
            _read_once(sources, reader)
        keys = modalities.get(name).KEYS
        found.columns += [Made(f"{name}.{c.name}", c.doc, _behind(c.name, rows, keys)) for c in reader.columns]
        channels = getattr(reader, "channels", ())
        found.channels += [Made(f"{name}.{c.name}", c.doc, _behind(c.name, rows, keys)) for c in channels]
    return found


def _read_once(sources: Sources, reader) -> None:
    """One position: a source that is opened only when it is read (junctions, say) is opened and judged by this."""
    chrom = next(iter(sources.genome.contigs.lengths))
    reader.read(Window(sources, chrom, 0, 1, "+"), np.zeros(1, np.int64))


def _look(modality: str, key: str, path: str, opened, contigs: Contigs) -> Source:
    """opened: what the reader holds open for this file, if it tells."""
    with open(path, "rb") as handle:
        start = handle.read(4)
    kind = "FASTA" if key == "genome" else _KINDS.get(start, "text")
    row = Source(modality, key, path, getattr(opened, "kind", kind))
    lengths = contig_lengths(path)
    if lengths is not None:
        row.build = guess_build(lengths)
    if start in BIGWIG_MAGICS:
        track = opened or BigWig(path, contigs)
        theirs = {contigs.resolve(n): n for n in lengths if contigs.resolve(n) in track}
        row.contigs = [c for c in contigs.lengths if c in theirs]
        row.covered = _bigwig_cover(path, {c: theirs[c] for c in row.contigs})
    elif opened is not None:
        row.contigs = [c for c in contigs.lengths if c in opened]
        if hasattr(opened, "cover"):
            row.covered = {c: opened.cover(c) / contigs.lengths[c] for c in row.contigs}
    return row


def _bigwig_cover(path: str, theirs: dict[str, str]) -> dict[str, float]:
    """From the zoom levels, where there are any: quick, and exact to the width of a zoom bin."""
    file = pyBigWig.open(path)
    try:
        found = {ours: file.stats(name, type="coverage")[0] for ours, name in theirs.items()}
    except RuntimeError as error:
        raise MetaError(f"cannot read the index, {path}; the file is damaged") from error
    file.close()
    return {ours: float(share or 0.0) for ours, share in found.items()}


def _behind(column: str, rows: list[Source], keys: tuple[str, ...]) -> str:
    """The files that a column is made of: those of the keys that its name starts with, else all of the modality."""
    named = {row.key.split(".")[0] for row in rows}
    own = [key for key in keys if column.startswith(f"{key}_")]
    groups = [g for g in sorted(named) if not own or g in own]
    told = []
    for group in groups:
        inside = [row for row in rows if row.key.split(".")[0] == group]
        parts = [row.key.partition(".")[2] for row in inside]
        if len(inside) == 1:
            told.append(f"{inside[0].key}: {os.path.basename(inside[0].path)}")
        else:
            told.append(f"{group}: {len(inside)} files ({', '.join(parts[:6])}{', ...' if len(parts) > 6 else ''})")
    return "; ".join(told)


# ---- text -----------------------------------------------------------------------------------------------------------


def lines(found: Preflight) -> Iterator[str]:
    """The tables as tab-separated lines with their ends; a # starts each table's header."""
    total = len(found.contigs.lengths)
    yield f"# genome\t{found.contigs.source}\t{found.contigs.build or 'unknown build'}\t{total} contigs\n"
    yield "# modality\tkey\tkind\tbuild\tcontigs\tbases\tcovered\tfile\n"
    for row in found.sources:
        shared = f"{len(row.contigs)} of {total}" if row.contigs is not None else "-"
        yield (
            "\t".join((row.modality, row.key, row.kind, row.build or "-", shared, *_bases(row, found), row.path)) + "\n"
        )
    for name in found.absent:
        yield f"{name}\t-\tno source in ms.toml\t-\t-\t-\t-\t-\n"
    yield from _contig_lines(found)
    yield "\n# column\tmade of\twhat\n"
    for made in found.columns:
        yield f"{made.column}\t{made.files or 'MISSING: not named in ms.toml'}\t{made.doc}\n"
    if found.channels:
        yield "\n# dense channel\tmade of\twhat\n"
        for made in found.channels:
            yield f"{made.column}\t{made.files}\t{made.doc}\n"


def _bases(row: Source, found: Preflight) -> tuple[str, str]:
    if row.covered is None:
        return "-", "-"
    bases = sum(share * found.contigs.lengths[c] for c, share in row.covered.items())
    length = sum(found.contigs.lengths[c] for c in row.covered)
    return f"{round(bases):,}", f"{bases / length:.1%}" if length else "-"


def _contig_lines(found: Preflight) -> Iterator[str]:
    told = [row for row in found.sources if row.covered is not None]
    if not told:
        return
    yield "\n# contig\tlength\t" + "\t".join(f"{row.modality}.{row.key}" for row in told) + "\n"
    bare = 0
    for chrom, length in found.contigs.lengths.items():
        shares = [row.covered.get(chrom) for row in told]
        if all(s is None for s in shares):
            bare += 1
            continue
        yield f"{chrom}\t{length:,}\t" + "\t".join("-" if s is None else f"{s:.1%}" for s in shares) + "\n"
    if bare:
        yield f"# {bare} further contigs that no source has\n"
