"""Genes of several annotation sources as one list: the same gene under two names is one gene."""

import re
from dataclasses import astuple, dataclass

import numpy as np

from libmeta.annotation import Annotation
from libmeta.errors import MetaError
from libmeta.introns import pack, unpack

_VERSION = re.compile(r"\.\d+(?=$|_)")


@dataclass(frozen=True)
class GeneSpan:
    """A stretch of a gene, [start, end) 0-based half-open; measured: the junction evidence covers the gene.

    gene_start, gene_end: the whole gene, where a region cut it.
    """

    chrom: str
    start: int
    end: int
    strand: str
    gene: str
    measured: bool
    gene_start: int
    gene_end: int

    @property
    def row(self) -> list:
        """As an entry of ms.genes."""
        return list(astuple(self))


@dataclass
class Genes:
    """Genes (G,): ids (of the first source that has the gene), chrom index, start, end (0-based half-open), strand."""

    ids: list[str]
    chrom: np.ndarray
    start: np.ndarray
    end: np.ndarray
    strand: np.ndarray


def stable(gene_id: str) -> str:
    """ENSG00000166147.15 -> ENSG00000166147: the same gene in two releases."""
    return _VERSION.sub("", gene_id) if gene_id.startswith("ENS") else gene_id


def unite(annotations: list[Annotation]) -> tuple[Genes, list[np.ndarray]]:
    """(genes, per annotation the gene index of each transcript).

    Within a source a gene is its id on one contig and strand. A gene of a later source is one of an earlier source that
    has the same id but for the version, or else the same name and an overlapping span; on the same contig and strand.
    """
    found: list[list] = []  # [id, chrom, start, end, strand]
    by_id: dict[tuple, int] = {}
    by_name: dict[tuple, list[int]] = {}
    mapped = []
    for annotation in annotations:
        place, genes = _own_genes(annotation)
        known = len(found)
        target = np.zeros(len(genes), np.int64)
        for i, (gene_id, name, chrom, start, end, strand) in enumerate(genes):
            at = by_id.get((chrom, strand, stable(gene_id)))
            if at is None:
                named = by_name.get((chrom, strand, name), ())
                at = next((g for g in named if g < known and found[g][2] < end and start < found[g][3]), None)
            if at is None:
                at = len(found)
                found.append([gene_id, chrom, start, end, strand])
            else:
                found[at][2:4] = min(found[at][2], start), max(found[at][3], end)
            by_id.setdefault((chrom, strand, stable(gene_id)), at)
            by_name.setdefault((chrom, strand, name), []).append(at)
            target[i] = at
        mapped.append(target[place])
    columns = list(zip(*found, strict=True)) or [()] * 5
    ids, (chrom, start, end, strand) = list(columns[0]), (np.array(c, np.int64) for c in columns[1:])
    return Genes(ids, chrom, start, end, strand), mapped


def _own_genes(annotation: Annotation) -> tuple[np.ndarray, list[tuple]]:
    """Gene number of each transcript, and (id, name, chrom, start, end, strand) of each gene of one source."""
    index: dict[tuple, int] = {}
    place = np.zeros(len(annotation), np.int64)
    rows = zip(annotation.gene_id, annotation.chrom.tolist(), annotation.strand.tolist(), strict=True)
    for i, key in enumerate(rows):
        place[i] = index.setdefault(key, len(index))
    start, end = np.full(len(index), np.iinfo(np.int64).max), np.zeros(len(index), np.int64)
    first, last = annotation.spans()
    np.minimum.at(start, place, first)
    np.maximum.at(end, place, last)
    name = dict(zip(place.tolist()[::-1], annotation.gene_name[::-1], strict=True))
    return place, [(g, name[i], c, int(start[i]), int(end[i]), s) for (g, c, s), i in index.items()]


def chosen(annotation: Annotation, names: set[str]) -> np.ndarray:
    """bool (T,): transcripts whose gene has one of these ids (with or without version) or names."""
    pairs = zip(annotation.gene_id, annotation.gene_name, strict=True)
    return np.fromiter((i in names or n in names or stable(i) in names for i, n in pairs), bool, len(annotation))


def require_genes(annotations: list[Annotation], names: set[str]) -> None:
    """Stop where a gene that was asked for is in no annotation."""
    has: set[str] = set()
    for a in annotations:
        has.update(a.gene_id, a.gene_name, map(stable, a.gene_id))
    if missing := sorted(names - has):
        raise MetaError(f"gene {missing[0]} is not in the annotation; give ids or names as the annotation has them")


def containing(genes: Genes, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(row in keys, gene) pairs of the genes whose span, on their strand, contains a site key. keys must be sorted."""
    low = np.searchsorted(keys, pack(genes.chrom, genes.start, np.ones(len(genes.ids)), 1))
    high = np.searchsorted(keys, pack(genes.chrom, genes.end, np.ones(len(genes.ids)), 1))
    size = np.maximum(high - low, 0)
    gene = np.repeat(np.arange(len(genes.ids)), size)
    row = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size) + np.repeat(low, size)
    same = unpack(keys[row])[2] == genes.strand[gene]
    return row[same], gene[same]


def reads_inside(genes: Genes, chrom, start, end, strand, reads) -> np.ndarray:
    """Reads (G,) of the introns [start, end) that lie wholly inside each gene, on its strand."""
    order = np.lexsort((start, strand, chrom))
    group = (chrom.astype(np.int64) * 2 + (strand > 0))[order]
    place = (group << 40) | start[order]
    end, reads = end[order], reads[order]
    base = (genes.chrom * 2 + (genes.strand > 0)) << 40
    low, high = np.searchsorted(place, base | genes.start), np.searchsorted(place, base | genes.end)
    return np.array([reads[a:b][end[a:b] <= e].sum() for a, b, e in zip(low, high, genes.end, strict=True)], np.int64)
