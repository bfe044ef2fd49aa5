"""Genes and annotated sites laid out for look-up around variants."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from libmeta import dinucleotides, gene_spans, tiers
from libmeta.genome import Genome
from libmeta.introns import ACCEPTOR, DONOR, pack

MIN_DINUCLEOTIDE = 0.95  # below this share of fitting dinucleotides the annotation is of another build


@dataclass(frozen=True)
class Gene:
    """A gene, [start, end) 0-based half-open, over all its transcripts. number: its index."""

    number: int
    id: str
    name: str
    start: int
    end: int
    strand: str


@dataclass(frozen=True)
class Transcript:
    """A transcript and its exons, int64 (n, 2), 0-based half-open, in genome order, apart from each other."""

    id: str
    strand: str
    exons: np.ndarray


class GeneIndex:
    """Genes, transcripts and splice sites of all tiers of an annotation.

    sources: dicts with name, gtf and tag, as of ms.toml. only: contigs to read, None all. Raises MetaError for bad
    files and for an annotation of another build.
    """

    def __init__(self, genome: Genome, sources: Sequence[dict], only: set[str] | None = None):
        found = tiers.read(genome, list(sources), only)
        dinucleotides.check(
            dinucleotides.rates(found.keys, dinucleotides.beside(genome, found.keys)),
            MIN_DINUCLEOTIDE, genome.contigs.build, found.name,
        )  # fmt: skip
        self._order, self._keys = genome.contigs.order, found.keys
        united, gene_of = gene_spans.unite(found.sources)
        self._genes = united
        self._names = _names(found.sources, gene_of, len(united.ids))
        chrom, first, last, ids = _transcripts(found.sources)
        self._transcripts = _Spans(chrom, first, last)
        self._transcript_gene, self._transcript_ids = np.concatenate(gene_of), ids
        self._tier = np.concatenate(found.transcript_tier)
        self._exons = _exons(found.sources)
        self._spans = _Spans(united.chrom, united.start, united.end)

    def __len__(self) -> int:
        return len(self._genes.ids)

    def over(self, contig: str, start: int, end: int) -> list[Gene]:
        """Genes that share a base with [start, end), 0-based half-open, by start."""
        rows = self._spans.over(self._order[contig], start, end).tolist()
        all_of = self._genes
        return [
            Gene(
                i, all_of.ids[i], self._names[i], int(all_of.start[i]), int(all_of.end[i]),
                "+" if all_of.strand[i] > 0 else "-",
            )
            for i in rows
        ]  # fmt: skip

    def transcripts(self, gene: Gene, contig: str, start: int, end: int) -> list[str]:
        """Transcripts of the gene that share a base with [start, end), sorted, each once."""
        rows = self._transcripts.over(self._order[contig], start, end)
        return sorted(set(self._transcript_ids[rows[self._transcript_gene[rows] == gene.number]]))

    def transcript(self, gene: Gene, contig: str, start: int, end: int) -> Transcript:
        """The one to show of a gene that shares a base with [start, end): of the first tier, then the one with the most
        exonic bases; one that shares a base itself, where there is one."""
        rows = np.flatnonzero(self._transcript_gene == gene.number)
        near = np.isin(rows, self._transcripts.over(self._order[contig], start, end))
        first, exon_start, exon_end = self._exons
        models = [_joined(exon_start[first[i] : first[i + 1]], exon_end[first[i] : first[i + 1]]) for i in rows]
        bases = [int((m[:, 1] - m[:, 0]).sum()) for m in models]
        ranks = [(not near[k], self._tier[i], -bases[k], self._transcript_ids[i]) for k, i in enumerate(rows)]
        best = ranks.index(min(ranks))
        return Transcript(self._transcript_ids[rows[best]], gene.strand, models[best])

    def annotated(self, contig: str, strand: str, start: int, end: int) -> np.ndarray:
        """bool (2, end - start): a donor (row 0), an acceptor (row 1) of any tier stands at the base."""
        out = np.zeros((2, end - start), bool)
        low, high = np.searchsorted(self._keys, pack(self._order[contig], np.array([start, end]), 1, ACCEPTOR))
        near = self._keys[low:high]
        for site in (DONOR, ACCEPTOR):
            wanted = pack(0, 0, 1 if strand == "+" else -1, site)
            rows = near[(near & 3) == wanted]
            out[site, ((rows - pack(self._order[contig], start, 1, ACCEPTOR)) >> 2)] = True
        return out


class _Spans:
    """Intervals of contigs, sorted, for overlap queries."""

    def __init__(self, chrom: np.ndarray, start: np.ndarray, end: np.ndarray):
        self.order = np.lexsort((start, chrom))
        self.chrom, self.start, self.end = chrom[self.order], start[self.order], end[self.order]
        self.bounds: dict[int, tuple[int, int]] = {}
        # the furthest end so far on the contig: intervals before the first that reaches a query cannot overlap it
        self.reached = self.end.copy()
        for index in np.unique(self.chrom):
            low, high = np.searchsorted(self.chrom, [index, index + 1])
            self.bounds[int(index)] = (int(low), int(high))
            self.reached[low:high] = np.maximum.accumulate(self.end[low:high])

    def over(self, chrom: int, start: int, end: int) -> np.ndarray:
        """Numbers of the intervals that overlap [start, end), by start."""
        low, high = self.bounds.get(chrom, (0, 0))
        first = low + np.searchsorted(self.reached[low:high], start, side="right")
        last = low + np.searchsorted(self.start[low:high], end)
        return self.order[first:last][self.end[first:last] > start]


def _transcripts(sources: list) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """chrom, start, end, id of all transcripts of all sources, in order."""
    spans = [a.spans() for a in sources]
    return (
        np.concatenate([a.chrom for a in sources]),
        np.concatenate([s for s, _ in spans]),
        np.concatenate([e for _, e in spans]),
        np.concatenate([a.transcript_id for a in sources]),
    )


def _exons(sources: list) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(first exon of each transcript of all sources and one more, exon starts, exon ends)."""
    counts = np.concatenate([np.bincount(a.exon_transcript, minlength=len(a)) for a in sources])
    first = np.concatenate([[0], np.cumsum(counts)])
    return first, np.concatenate([a.exon_start for a in sources]), np.concatenate([a.exon_end for a in sources])


def _joined(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(n, 2): exons sorted by start, those that touch or overlap as one: no intron, hence no site, is between them."""
    reached = np.maximum.accumulate(end)
    fresh = np.flatnonzero(np.append(True, start[1:] > reached[:-1]))
    return np.stack([start[fresh], np.append(reached[fresh[1:] - 1], reached[-1])], axis=1)


def _names(sources: list, gene_of: list[np.ndarray], count: int) -> list[str]:
    """Name of each gene, of the first source that has it."""
    names = [""] * count
    for annotation, genes in zip(reversed(sources), reversed(gene_of), strict=True):
        for name, gene in zip(annotation.gene_name[::-1], genes[::-1].tolist(), strict=True):
            names[gene] = name
    return names
