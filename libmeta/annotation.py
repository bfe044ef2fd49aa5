"""Annotation files (GTF, GFF3, SpliceAI gene table) -> transcripts, exons, introns: flat arrays, 0-based half-open."""

import logging
import re
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from libmeta import gff
from libmeta.contigs import Contigs, plain_name
from libmeta.errors import MetaError
from libmeta.introns import flanking_sites
from libmeta.lines import head, reading

log = logging.getLogger("libmeta")

_REGION = re.compile(rb"##sequence-region\s+(\S+)\s+1\s+(\d+)")
_TRANSCRIPT_BITS = 40


@dataclass(frozen=True)
class Annotation:
    """Transcripts (T,) and their exons (E,) of one file.

    name: the file. chrom: contig index in the genome's order, int32. strand: +1 / -1, int8. gene_id, gene_name,
    transcript_id: object arrays of str; a transcript of several genes stands once per gene. tags: list of frozensets.
    exon_transcript int32, exon_start and exon_end int64 (0-based half-open), sorted by transcript, start, end; unique.
    dropped: lines per contig that the genome does not have.
    """

    name: str
    chrom: np.ndarray
    strand: np.ndarray
    gene_id: np.ndarray
    gene_name: np.ndarray
    transcript_id: np.ndarray
    tags: list[frozenset[str]]
    exon_transcript: np.ndarray
    exon_start: np.ndarray
    exon_end: np.ndarray
    dropped: dict[str, int]

    def __len__(self) -> int:
        return len(self.chrom)

    def select(self, keep: np.ndarray) -> "Annotation":
        """The transcripts of a bool mask (T,), with their exons."""
        new = np.cumsum(keep) - 1
        rows = keep[self.exon_transcript]
        return replace(
            self,
            chrom=self.chrom[keep], strand=self.strand[keep], gene_id=self.gene_id[keep],
            gene_name=self.gene_name[keep], transcript_id=self.transcript_id[keep],
            tags=[t for t, k in zip(self.tags, keep, strict=True) if k],
            exon_transcript=new[self.exon_transcript[rows]].astype(np.int32),
            exon_start=self.exon_start[rows], exon_end=self.exon_end[rows],
        )  # fmt: skip

    def has_tag(self, tag: str) -> np.ndarray:
        """bool (T,): transcripts with this tag; "MANE Select" and MANE_Select are one."""
        wanted = gff.tag_name(tag)
        return np.fromiter((wanted in t for t in self.tags), bool, len(self))

    def spans(self) -> tuple[np.ndarray, np.ndarray]:
        """First start and last end of each transcript, int64 (T,), 0-based half-open."""
        first = np.searchsorted(self.exon_transcript, np.arange(len(self)))
        if not len(first):
            return self.exon_start, self.exon_end
        return self.exon_start[first], np.maximum.reduceat(self.exon_end, first)

    def introns(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(transcript int32, start int64, end int64): the gaps between exons of each transcript, 0-based half-open.

        Exons that touch or overlap are one exon: there is no intron of length zero, hence no site between them.
        """
        order = self.exon_transcript.astype(np.int64) << _TRANSCRIPT_BITS
        reached = np.maximum.accumulate(order + self.exon_end) - order  # furthest end so far in the same transcript
        same = self.exon_transcript[1:] == self.exon_transcript[:-1]
        gap = np.flatnonzero(same & (self.exon_start[1:] > reached[:-1]))
        return self.exon_transcript[gap], reached[gap], self.exon_start[gap + 1]

    def sites(self) -> tuple[np.ndarray, np.ndarray]:
        """(site keys int64, transcript int32): donor and acceptor of every intron of every transcript, not unique."""
        transcript, start, end = self.introns()
        donor, acceptor = flanking_sites(self.chrom[transcript], start, end, self.strand[transcript])
        return np.concatenate([donor, acceptor]), np.concatenate([transcript, transcript])


def read(path: str | Path, contigs: Contigs, only: set[str] | None = None) -> Annotation:
    """Read an annotation file, plain, gzip or bgzip; its format is taken from its content.

    contigs: the genome's; names are matched by alias, other contigs dropped and counted. only: genome contigs to read
    (None all). Raises MetaError with the line number for a malformed line, an exon past its contig's end, exons of one
    transcript on two strands or contigs; and for a truncated file, no exons, no contig in common or another length.
    """
    where = str(path)
    builder = gff.Builder(contigs, where, None if only is None else frozenset(only))
    with reading(path) as handle:
        first = head(handle)
        names = gff.sniff(first, where)(builder, enumerate(chain(first, handle), 1))
    if builder.seen:
        lengths = {m[1].decode(): int(m[2]) for line in first if (m := _REGION.match(line))}
        seen = {n.decode("utf-8", "replace") for n in builder.seen}
        # the mitochondrion of UCSC's hg19 has another length than everybody else's: no reason to stop
        contigs.match({n: None if plain_name(n) == "M" else lengths.get(n) for n in seen}, where)
    if not len(builder.exon_start) and (only is None or not any(i == -2 for i in builder.seen.values())):
        raise MetaError(f"no exon lines, {where}; give an annotation with exon features")
    _tell(builder, where)
    return _flat(builder, names, where)


def _tell(builder: gff.Builder, where: str) -> None:
    if builder.dropped:
        some = ", ".join(n.decode("utf-8", "replace") for n in list(builder.dropped)[:3])
        lines, contigs = (
            sum(builder.dropped.values()),
            len([n for n in builder.dropped if builder.dropped[n]]),
        )
        log.info("%s: %s lines on %d contigs that the genome does not have (%s, ...) left out", where, f"{lines:,}",
                 contigs, some)  # fmt: skip
    if builder.unstranded:
        log.info("%s: %s exons without a strand left out", where, f"{builder.unstranded:,}")


def _flat(builder: gff.Builder, names: dict[str, gff.Names], where: str) -> Annotation:
    """Arrays from what was collected: exons sorted and unique, transcripts repeated for each of their genes."""
    per_key = [names[key] for key in builder.index]
    copies = np.array([len(n.genes) for n in per_key], np.int64)
    source = np.repeat(np.arange(len(per_key)), copies)
    genes = [g for n in per_key for g in n.genes]
    transcript = np.array(builder.exon_transcript, np.int64)
    start, end = np.array(builder.exon_start, np.int64), np.array(builder.exon_end, np.int64)
    if len(source) > len(per_key):
        transcript, start, end = _repeat_exons(transcript, start, end, copies)
    order = np.lexsort((end, start, transcript))
    transcript, start, end = transcript[order], start[order], end[order]
    fresh = np.ones(len(order), bool)
    fresh[1:] = (np.diff(transcript) != 0) | (np.diff(start) != 0) | (np.diff(end) != 0)
    return Annotation(
        name=where,
        chrom=np.array(builder.chrom, np.int32)[source],
        strand=np.array(builder.strand, np.int8)[source],
        gene_id=np.array([g for g, _ in genes], object),
        gene_name=np.array([n for _, n in genes], object),
        transcript_id=np.array([n.transcript for n in per_key], object)[source],
        tags=[per_key[i].tags for i in source],
        exon_transcript=transcript[fresh].astype(np.int32),
        exon_start=start[fresh],
        exon_end=end[fresh],
        dropped={n.decode("utf-8", "replace"): c for n, c in builder.dropped.items()},
    )


def _repeat_exons(transcript, start, end, copies):
    """Exons of a transcript of k genes, k times, under the new transcript numbers."""
    first = np.concatenate([[0], np.cumsum(copies)[:-1]])
    times = copies[transcript]
    rows = np.repeat(np.arange(len(transcript)), times)
    within = np.arange(len(rows)) - np.repeat(np.cumsum(times) - times, times)
    return first[transcript[rows]] + within, start[rows], end[rows]
