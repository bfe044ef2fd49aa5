"""Exon x tissue PSI tables -> PSI of the sites that bound the exons.

A table says how often an exon is spliced in, not where introns run: the outer ends of a first or last exon are the
ends of transcripts. So both ends of an exon are reported, and `sites` decides: an end that is a site of the annotation
takes the PSI; any other end is at best a candidate (see sites.candidates).
"""

import csv as text_csv
import logging
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv

from libmeta import dinucleotides
from libmeta.contig_spool import ContigSpool
from libmeta.errors import MetaError
from libmeta.genome import Genome
from libmeta.introns import exon_sides
from libmeta.lines import reading
from libmeta.support import PSI_ACTIVE, name_lists

log = logging.getLogger("libmeta")

_ALIASES = {"chromosome": "chrom", "chr": "chrom", "gene": "gene_id"}
_KEYS = ("chrom", "start", "end", "strand", "gene_id")
_PASSED = ("gene_name", "name", "exon_id", "transcript_id", "")  # text columns that are no tissue
_STRANDS = {"+": 1, "-": -1}
FIT = 0.35  # of exon ends: 2 in 3 fit where the build is right (the rest end transcripts), 1 in 6 by chance
ENDS = 100


@dataclass(frozen=True)
class Psi:
    """Exons (E,) and tissues (T,): chrom (contig index), start, end (0-based half-open), strand (+1/-1), gene (str),
    tissues, values float32 (E, T) in [0, 1], NaN where not measured."""

    where: str
    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray
    gene: np.ndarray
    tissues: list[str]
    values: np.ndarray


@dataclass(frozen=True)
class SitePsi:
    """PSI by site: keys int64 (S,) sorted (see introns.pack); maximum, mean, variance over tissues, float32 (NaN: not
    measured in any); breadth int32 (tissues with PSI > 0.1), measured int32 (tissues in which it was measured), tissues
    (names of the breadth, list<string>)."""

    keys: np.ndarray
    maximum: np.ndarray
    mean: np.ndarray
    variance: np.ndarray
    breadth: np.ndarray
    measured: np.ndarray
    tissues: pa.Array


def read(path: str | Path, genome: Genome, only: set[str] | None = None) -> Psi:
    """Read a PSI table: CSV or TSV, plain or gzip; columns Chromosome Start End Strand gene_id [gene_name], tissues.

    Coordinates in the file are 1-based inclusive. A 0 there is "skipped" or "not measured": it stays 0 where another
    exon of its gene is > 0 in that tissue, and is missing (NaN) otherwise. Tissues without any value > 0 are dropped,
    and told. only: genome contigs to keep; the result is empty where the table has none of them. Raises MetaError for
    what is not such a table, with the row number, for PSI outside [0, 1], and for an exon past the end of its contig.
    """
    where = str(path)
    with _open(where) as (tissues, batches):
        chosen, columns, seen = _gather(batches, genome.contigs, only)
    _check_contigs(seen, genome, where)
    if not chosen:  # none on the contigs asked for
        return _nothing(where)
    psi = _checked(pa.Table.from_batches(columns), np.concatenate(chosen), tissues, genome, where)
    return _with_missing(psi)


class PsiSpool:
    """A PSI table, parsed once, when the first contig is asked for."""

    def __init__(self, path: str | Path, genome: Genome):
        self._where, self._genome = str(path), genome
        self._spool: ContigSpool | None = None
        self._tissues: list[str] = []

    def read(self, chrom: str) -> Psi:
        """What read gives of one contig; raises what it raises."""
        if self._spool is None:
            self._spool = self._fill()
        table, index = self._spool.table(chrom), self._genome.contigs.order[chrom]
        if not table.num_rows:
            return _nothing(self._where)
        place = np.full(table.num_rows, index, np.int32)
        return _with_missing(_checked(table, place, self._tissues, self._genome, self._where))

    def _fill(self) -> ContigSpool:
        contigs, seen = self._genome.contigs, set()
        names = list(contigs.lengths)

        def rows():
            for batch in chain([first] if first else (), batches):
                chosen, kept, told = _gather([batch], contigs, None)
                seen.update(told)
                for chrom, part in zip(chosen, kept, strict=True):
                    for i in np.unique(chrom).tolist():
                        yield names[i], part.take(pa.array(np.flatnonzero(chrom == i)))

        with _open(self._where) as (self._tissues, batches):
            batches = iter(batches)
            first = next(batches, None)
            spool = ContigSpool(rows(), first.schema if first else pa.schema([]))
        _check_contigs(seen, self._genome, self._where)
        return spool


def _nothing(where: str) -> Psi:
    none = np.zeros(0, np.int64)
    return Psi(where, none, none, none, none, np.zeros(0, object), [], np.zeros((0, 0), np.float32))


def _check_contigs(seen: set[str], genome: Genome, where: str) -> None:
    if not seen:
        raise MetaError(f"no exon, {where}; give a PSI table with at least one row")
    genome.contigs.match(seen, where)


@contextmanager
def _open(where: str):
    """(tissues, batches of the rows) of a PSI table."""
    with reading(where) as handle:
        first = handle.readline().decode("utf-8", "replace").rstrip("\r\n")
        delimiter = "\t" if "\t" in first else ","
        header = next(text_csv.reader([first], delimiter=delimiter))
        names = [_ALIASES.get(h.strip().lstrip("#").lower(), h.strip().lstrip("#").lower()) for h in header]
        tissues = [h for h, n in zip(header, names, strict=True) if n not in _KEYS and n not in _PASSED]
        if missing := [k for k in _KEYS if k not in names]:
            raise MetaError(f"no column {missing[0]}, {where}; a PSI table has Chromosome Start End Strand gene_id and "
                            "one column per tissue")  # fmt: skip
        if not tissues:
            raise MetaError(f"no tissue columns, {where}; give a PSI table with at least one")
        yield tissues, _batches(handle, names, header, delimiter, where)


def check_build(psi: Psi, genome: Genome) -> None:
    """Raises MetaError where the ends of the exons have splice dinucleotides about as often as chance makes."""
    keys = np.unique(np.concatenate(exon_sides(psi.chrom, psi.start, psi.end, psi.strand)))
    fit, known = dinucleotides.fits(dinucleotides.beside(genome, keys), keys)
    n = int(known.sum())
    if n >= ENDS and (fit & known).sum() < FIT * n:
        raise MetaError(
            f"only {(fit & known).sum() / n:.1%} of {n:,} exon ends have a splice dinucleotide, {psi.where}; likely another "
            f"build than {genome.contigs.build or 'the genome'}, or shifted coordinates: use files of one build"
        )


def _batches(handle, names, header, delimiter, where):
    kinds = {
        "chrom": pa.string(),
        "strand": pa.string(),
        "gene_id": pa.string(),
        "start": pa.int64(),
        "end": pa.int64(),
    }
    # tissues keep their own names; key columns take ours, unless a tissue is called so too
    shown = [n if n in _KEYS else f"tissue:{h}" for n, h in zip(names, header, strict=True)]
    wanted = list(_KEYS) + [s for s, n in zip(shown, names, strict=True) if n not in _KEYS and n not in _PASSED]
    if len(set(wanted)) != len(wanted):
        raise MetaError(f"two columns of one name, {where}; rename one")
    types = {w: kinds.get(w, pa.float32()) for w in wanted}
    convert = csv.ConvertOptions(column_types=types, include_columns=wanted, null_values=["", "NA", "NaN", "nan", "."])
    if not handle.peek(1)[:1]:
        return
    read_options = csv.ReadOptions(column_names=shown, block_size=1 << 24)
    try:
        yield from csv.open_csv(handle, read_options, csv.ParseOptions(delimiter=delimiter), convert)
    except pa.ArrowInvalid as error:
        raise MetaError(f"malformed PSI table ({error}), {where}; mend that row") from error


def _gather(batches, contigs, only):
    """Batches of wanted contigs, with their contig indices; and all contig names that were seen."""
    chosen, kept, index = [], [], {}
    for batch in batches:
        for name in batch.column(0).unique().to_pylist():
            if name not in index:
                ours = contigs.resolve(name or "")
                index[name] = -1 if ours is None or (only is not None and ours not in only) else contigs.order[ours]
        chrom = np.array([index[n] for n in batch.column(0).to_pylist()], np.int32)
        rows = np.flatnonzero(chrom >= 0)
        if len(rows):
            chosen.append(chrom[rows])
            kept.append(batch.take(pa.array(rows)))
    return chosen, kept, {n for n in index if n}


def _checked(table: pa.Table, chrom: np.ndarray, tissues: list[str], genome: Genome, where: str) -> Psi:
    start, end = (table[c].to_numpy(zero_copy_only=False) for c in ("start", "end"))
    lengths = np.array(list(genome.contigs.lengths.values()))[chrom]
    names = list(genome.contigs.lengths)
    for bad, what in (
        (~((start >= 1) & (start <= end)), "start is not between 1 and the end"),
        (
            end > lengths,
            f"exon past the contig's end; likely another build than {genome.contigs.build or 'the genome'}",
        ),
    ):
        if bad.any():
            i = np.flatnonzero(bad)[0]
            raise MetaError(f"exon {names[chrom[i]]}:{start[i]}-{end[i]}, {where}: {what}; mend or remove the row")
    strand = np.array([_STRANDS.get(s, 0) for s in table["strand"].to_pylist()], np.int8)
    if not strand.all():
        raise MetaError(f"strand is not + or -, {where}; mend or remove the rows")
    values = np.column_stack([c.to_numpy(zero_copy_only=False) for c in table.columns[len(_KEYS) :]]).astype(np.float32)
    if ((values < 0) | (values > 1)).any():
        raise MetaError(f"PSI outside 0..1, {where}; give fractions, not per cent")
    gene = np.array([g or "" for g in table["gene_id"].to_pylist()], object)
    return Psi(where, chrom, start.astype(np.int64) - 1, end.astype(np.int64), strand, gene, tissues, values)


def _with_missing(psi: Psi) -> Psi:
    """0 becomes NaN in tissues where no exon of the gene is > 0; tissues without any value > 0 are dropped."""
    values = psi.values
    silent = ~(values > 0).any(axis=0)
    if silent.any():
        log.info("%s: tissues without any PSI > 0 dropped: %s", psi.where,
                 ", ".join(t for t, s in zip(psi.tissues, silent, strict=True) if s))  # fmt: skip
    values = values[:, ~silent]
    _, gene = np.unique(psi.gene.astype(str), return_inverse=True)
    order = np.argsort(gene, kind="stable")
    first = np.flatnonzero(np.diff(gene[order], prepend=-1))
    expressed = np.fmax.reduceat(np.nan_to_num(values[order]), first, axis=0) > 0
    values = np.where((values == 0) & ~expressed[gene], np.float32(np.nan), values)
    tissues = [t for t, s in zip(psi.tissues, silent, strict=True) if not s]
    return Psi(psi.where, psi.chrom, psi.start, psi.end, psi.strand, psi.gene, tissues, values)


def site_psi(psi: Psi) -> SitePsi:
    """PSI of every exon end: in a tissue the maximum over the exons that it bounds; then statistics over tissues."""
    acceptor, donor = exon_sides(psi.chrom, psi.start, psi.end, psi.strand)
    all_keys = np.concatenate([acceptor, donor])
    order = np.argsort(all_keys, kind="stable")
    ordered = all_keys[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    exon = order % max(len(acceptor), 1)
    n, t = len(first), len(psi.tissues)
    top, total, squares = np.full(n, np.nan, np.float32), np.zeros(n), np.zeros(n)
    measured, present = np.zeros(n, np.int32), []
    for i in range(t):
        best = np.fmax.reduceat(psi.values[exon, i], first)
        known = ~np.isnan(best)
        top = np.fmax(top, best)
        filled = np.where(known, best, 0).astype(float)
        total, squares = total + filled, squares + filled**2
        measured += known
        present.append(np.flatnonzero(filled > PSI_ACTIVE))
    share = np.maximum(measured, 1)
    mean = np.where(measured > 0, total / share, np.nan)
    variance = np.where(measured > 0, np.maximum(squares / share - (total / share) ** 2, 0), np.nan)
    breadth, lists = name_lists(present, psi.tissues, n)
    kept = ordered[first]
    return SitePsi(kept, top, mean.astype(np.float32), variance.astype(np.float32), breadth, measured, lists)
