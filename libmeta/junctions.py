"""RNA-seq junctions of any number of files -> one table in the junctions schema, on the genome's contigs, stranded."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libmeta import dinucleotides, junction_files, schema
from libmeta.contig_spool import ContigSpool
from libmeta.errors import MetaError
from libmeta.genome import Genome
from libmeta.introns import flanking_sites, intron_key
from libmeta.junction_files import UNTOLD, Raw
from libmeta.support import site_support

__all__ = ["load", "site_support"]

log = logging.getLogger("libmeta")

MIN_FIT = 0.9
MIN_ANNOTATED = 0.1  # of introns, where there is no sequence to judge by; another build has about none
_OTHER_BUILD = {"GRCh38": "GRCh37", "GRCh37": "GRCh38"}


def load(
    files: Mapping[str, str | Path] | Iterable[tuple[str | None, str | Path]],
    genome: Genome,
    introns: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray] | None = None,
    only: set[str] | None = None,
    min_fit: float = MIN_FIT,
) -> pa.Table:
    """Read junction files into one pa.Table of schema `junctions` (without metadata), sorted and unique.

    files: {tissue: path} or (tissue or None, path) pairs; several files of a tissue are summed. introns: of the
    annotation, (contig index, start, end, strand), 0-based half-open: they settle strands and builds where the sequence
    does not. only: genome contigs to keep. Junctions without reads are left out; unstranded ones take the strand whose
    dinucleotides fit, and are dropped and counted where neither or both do.

    Raises MetaError for an intron past the end of its contig, and where fewer than `min_fit` of a file's junctions with
    known sequence (at least 20) have fitting dinucleotides: the file is likely of another build.
    """
    pairs = list(files.items() if isinstance(files, Mapping) else files)
    annotated = None if introns is None else np.unique(intron_key(*introns))
    parts = [_placed(junction_files.read(path, tissue), genome, annotated, only, min_fit) for tissue, path in pairs]
    return _table(parts, list(genome.contigs.lengths))


class JunctionSpool:
    """Junction files {tissue: path}, parsed once, when the first contig is asked for; that raises what load raises."""

    def __init__(self, files: Mapping[str, str | Path], genome: Genome):
        self._files, self._genome = dict(files), genome
        self._spool: ContigSpool | None = None

    def table(self, chrom: str) -> pa.Table:
        """What load gives of a contig: a table of the junctions schema, empty where no file has a read there."""
        if self._spool is None:
            self._spool = ContigSpool(self._rows(), schema.load("junctions").arrow)
        return self._spool.table(chrom).sort_by([(k, "ascending") for k in ("start", "end", "strand", "tissue")])

    def _rows(self) -> Iterator[tuple[str, pa.RecordBatch]]:
        for tissue, path in self._files.items():
            table = load({tissue: path}, self._genome)
            for chrom in pc.unique(table["chrom"]).to_pylist():
                part = table.filter(pc.equal(table["chrom"], chrom))
                yield from ((chrom, batch) for batch in part.to_batches())


# ---- one file -------------------------------------------------------------------------------------------------------


def _placed(raw: Raw, genome: Genome, annotated: np.ndarray | None, only: set[str] | None, min_fit: float) -> Raw:
    """Introns on the genome's contigs, each with a strand; the rest dropped and told; the build checked."""
    contigs = genome.contigs
    ours = contigs.match(raw.contigs, raw.where)
    to_index = np.array([contigs.order[ours[n]] if n in ours else -1 for n in raw.contigs])
    chrom = to_index[raw.chrom]
    lengths = np.array([*contigs.lengths.values(), 0])[chrom]
    if (past := np.flatnonzero((chrom >= 0) & (raw.end >= lengths))).size:  # no base left for the exon after it
        i = past[0]
        name = list(contigs.lengths)[chrom[i]]
        raise MetaError(
            f"junction ends at {raw.end[i]:,}, past {name} ({lengths[i]:,} bp), {raw.where}; {_likely(contigs.build)}"
        )
    if outside := int((chrom < 0).sum()):
        log.info("%s: %s junctions on contigs that the genome does not have left out", raw.where, f"{outside:,}")
    raw.chrom = chrom
    _keep(raw, chrom >= 0)
    fit, known, strand = _strands(raw, genome, annotated)
    _check_build(raw, fit, known, annotated, contigs.build, min_fit)
    raw.strand = strand
    if lost := int((strand == 0).sum()):
        log.info("%s: %s unstranded junctions left out: their dinucleotides fit neither or both strands", raw.where,
                 f"{lost:,}")  # fmt: skip
    keep = strand != 0  # the build is judged by the whole file: chrM alone has no splice dinucleotides
    if only is not None:
        keep &= np.isin(raw.chrom, [contigs.order[n] for n in only])
    _keep(raw, keep)
    return raw


def _keep(raw: Raw, mask: np.ndarray) -> None:
    """Drop introns outside the mask (U,), and their entries."""
    new = np.cumsum(mask) - 1
    for name in ("chrom", "start", "end", "strand"):
        setattr(raw, name, getattr(raw, name)[mask])
    rows = mask[raw.intron]
    for name in ("intron", "tissue", "reads", "unique", "overhang", "annotated"):
        setattr(raw, name, getattr(raw, name)[rows])
    raw.intron = new[raw.intron]


def _strands(raw: Raw, genome: Genome, annotated: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(fits on its strand, or on either where unstranded; sequence known; strand, 0 where it stays open), each (U,)."""
    good = {}
    for sign in (1, -1):
        both = [dinucleotides.fits(dinucleotides.beside(genome, keys), keys)
                for keys in flanking_sites(raw.chrom, raw.start, raw.end, np.full(len(raw.start), sign))]  # fmt: skip
        good[sign] = both[0][0] & both[1][0]
        known = both[0][1] & both[1][1]  # the same four bases on either strand
    fit = np.where(raw.strand > 0, good[1], np.where(raw.strand < 0, good[-1], good[1] | good[-1]))
    strand = raw.strand.copy()
    open_ = strand == 0
    strand[open_ & good[1] & ~good[-1]] = 1
    strand[open_ & good[-1] & ~good[1]] = -1
    if annotated is not None and (strand == 0).any():
        listed = {
            s: np.isin(intron_key(raw.chrom, raw.start, raw.end, np.full(len(strand), s)), annotated) for s in (1, -1)
        }
        strand[(strand == 0) & listed[1] & ~listed[-1]] = 1
        strand[(strand == 0) & listed[-1] & ~listed[1]] = -1
    return fit, known, strand


def _check_build(raw: Raw, fit, known, annotated, build: str | None, min_fit: float) -> None:
    """These files carry no contig lengths: the sequence beside the introns tells the build, or else the annotation."""
    n = int(known.sum())
    if n >= dinucleotides.FEWEST:
        share = float((fit & known).sum()) / n
        log.debug("%s: %.1f%% of %s junctions have splice dinucleotides", raw.where, 100 * share, f"{n:,}")
        if share < min_fit:
            raise MetaError(
                f"only {share:.1%} of {n:,} junctions have splice dinucleotides, {raw.where}; {_likely(build)}"
            )
        return
    if annotated is not None and len(raw.start) >= dinucleotides.FEWEST:
        share = _annotated_share(raw, annotated)
        if share < MIN_ANNOTATED:
            raise MetaError(
                f"only {share:.1%} of {len(raw.start):,} junctions are introns of the annotation, and there is no "
                f"sequence to judge them by, {raw.where}; {_likely(build)}"
            )
        return
    if len(raw.start):
        log.warning("warning: %s: too few junctions with known sequence (%d) to judge the build by", raw.where, n)


def _annotated_share(raw: Raw, annotated: np.ndarray) -> float:
    listed = np.zeros(len(raw.start), bool)
    for sign in (1, -1):
        may = (raw.strand == sign) | (raw.strand == 0)
        listed |= may & np.isin(intron_key(raw.chrom, raw.start, raw.end, np.full(len(may), sign)), annotated)
    return float(listed.mean())


def _likely(build: str | None) -> str:
    """What to make of junctions that do not sit on this genome."""
    other = _OTHER_BUILD.get(build)
    named = f" ({other} beside a {build} genome?)" if other else ""
    return f"likely another build{named}: lift the junctions over, or use the genome they were mapped to"


# ---- all files ------------------------------------------------------------------------------------------------------


def _table(parts: list[Raw], names: list[str]) -> pa.Table:
    """Sum entries of one (intron, strand, tissue); sort by contig, start, end, "+" before "-", tissue."""
    tissues = sorted({t for raw in parts for t in raw.tissues})
    rank = {t: i for i, t in enumerate(tissues)}

    def gather(per_intron: str) -> np.ndarray:
        return np.concatenate([getattr(r, per_intron)[r.intron] for r in parts] or [np.zeros(0, int)]).astype(np.int64)

    def entries(name: str) -> np.ndarray:
        return np.concatenate([getattr(r, name) for r in parts] or [np.zeros(0, int)]).astype(np.int64)

    chrom, start, end, strand = (gather(n) for n in ("chrom", "start", "end", "strand"))
    tissue = np.concatenate(
        [np.array([rank[t] for t in r.tissues], int)[r.tissue] for r in parts] or [np.zeros(0, int)]
    )
    reads, unique, overhang, annotated = (entries(n) for n in ("reads", "unique", "overhang", "annotated"))
    order = np.lexsort((tissue, -strand, end, start, chrom))
    order = order[reads[order] > 0]
    keys = np.stack([v[order] for v in (chrom, start, end, strand, tissue)])
    first = np.flatnonzero(np.r_[True, (np.diff(keys) != 0).any(0)]) if len(order) else np.zeros(0, int)

    def reduce(function: np.ufunc, values: np.ndarray) -> np.ndarray:
        return function.reduceat(values[order], first) if len(first) else np.zeros(0, np.int64)

    def told(values: np.ndarray, ok: np.ndarray, kind: pa.DataType) -> pa.Array:
        return pa.array(values, mask=~ok).cast(kind)

    chrom, start, end, strand, tissue = keys[:, first]
    columns = {
        "chrom": pa.array(names, pa.string()).take(pa.array(chrom)),
        "start": pa.array(start, pa.int64()),
        "end": pa.array(end, pa.int64()),
        "strand": pa.array(np.where(strand > 0, "+", "-").astype(object), pa.string()),
        "tissue": pa.array(tissues, pa.string()).take(pa.array(tissue)),
        "reads": pa.array(reduce(np.add, reads), pa.int64()),
        "unique_reads": told(reduce(np.add, unique), reduce(np.minimum, unique) != UNTOLD, pa.int64()),
        "overhang": told(reduce(np.maximum, overhang), reduce(np.maximum, overhang) != UNTOLD, pa.int32()),
        "annotated": told(reduce(np.maximum, annotated) > 0, reduce(np.maximum, annotated) != UNTOLD, pa.bool_()),
    }
    return pa.table(columns).cast(schema.load("junctions").arrow)
