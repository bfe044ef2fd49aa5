"""What is known of the kept sites -> the columns of the site table."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libmeta import dinucleotides, gene_spans, psi, schema
from libmeta.gene_spans import Genes
from libmeta.genome import Genome
from libmeta.introns import DONOR, member, unpack
from libmeta.support import grouped_names


@dataclass
class Evidence:
    """Site support with keys in the genome's contig order, the introns that it came from, and the tissues."""

    keys: np.ndarray
    support: pa.Table
    introns: tuple[np.ndarray, ...]  # chrom, start, end, strand, reads; one row per tissue
    table: pa.Table  # junctions, the same rows


@dataclass
class SiteView:
    """What is known of the sites that are kept, ready to become columns."""

    genome: Genome
    keys: np.ndarray
    tier: np.ndarray
    genes: Genes
    links: dict
    evidence: Evidence | None
    exons: psi.SitePsi | None
    min_support: int

    def __post_init__(self):
        n = len(self.genes.ids)
        rows, gene, _ = self.links["genes"]
        self.by_reads, by_psi = np.zeros(n, bool), np.zeros(n, bool)
        if self.evidence is not None:
            self.by_reads = gene_spans.reads_inside(self.genes, *self.evidence.introns) >= self.min_support
        self.exon_at, self.has_psi = np.zeros(len(self.keys), np.int64), np.zeros(len(self.keys), bool)
        if self.exons is not None:
            self.exon_at, found = member(self.keys, self.exons.keys)
            self.has_psi = found & (self.exons.measured[self.exon_at] > 0) if len(self.exons.keys) else found
            by_psi[gene[self.has_psi[rows]]] = True
        self.gene_measured = self.by_reads | by_psi

    def _at_rows(self, per_gene: np.ndarray) -> np.ndarray:
        """bool per row: any of its genes."""
        rows, gene, _ = self.links["genes"]
        out = np.zeros(len(self.keys), bool)
        out[rows[per_gene[gene]]] = True
        return out

    def table(self) -> tuple[pa.Table, np.ndarray]:
        """(table of schema sites, measured per row)."""
        n = len(self.keys)
        chrom, pos, strand, site = unpack(self.keys)
        lists = {k: grouped_names(*v, n)[1] for k, v in self._sorted_links().items()}
        columns = {
            "chrom": pa.array(list(self.genome.contigs.lengths), pa.string()).take(pa.array(chrom)),
            "pos": pa.array(pos),
            "strand": pa.array(np.where(strand > 0, "+", "-").astype(object), pa.string()),
            "site": pa.array(np.where(site == DONOR, "donor", "acceptor").astype(object), pa.string()),
            **lists,
            "tier": pa.array(self.tier),
            "dinucleotide": dinucleotides.letters(dinucleotides.beside(self.genome, self.keys)),
            **self._support_columns(),
            "label": pa.nulls(n, pa.uint8()),
            "weight": pa.nulls(n, pa.float32()),
        }
        wanted = schema.load("sites").arrow
        table = pa.table([columns[name] for name in wanted.names], names=wanted.names).cast(wanted)
        return table, self._at_rows(self.gene_measured) | self.has_reads | self.has_psi

    def _sorted_links(self) -> dict:
        """Codes of genes in order of their names, so that the lists come out sorted."""
        rows, gene, ids = self.links["genes"]
        names = sorted(set(ids))
        rank = {g: i for i, g in enumerate(names)}
        code = np.array([rank[g] for g in ids], np.int64)
        return {"genes": (rows, code[gene], names), "transcripts": self.links["transcripts"]}

    def _support_columns(self) -> dict[str, pa.Array]:
        n = len(self.keys)
        self.has_reads = np.zeros(n, bool)
        reads, unique, partners = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n, np.int32)
        top, mean = np.full(n, np.nan), np.full(n, np.nan)
        no_unique = np.ones(n, bool)
        pairs = []
        covered = self._at_rows(self.by_reads)
        if self.evidence is not None:
            support = self.evidence.support
            at, self.has_reads = member(self.keys, self.evidence.keys)
            covered |= self.has_reads
            rows, source = np.flatnonzero(self.has_reads), at[self.has_reads]
            for out, name in ((reads, "reads"), (unique, "unique_reads"), (partners, "partners")):
                out[rows] = pc.fill_null(support[name], 0).to_numpy()[source]
            untold = support["unique_reads"].is_null().to_numpy()
            no_unique = ~covered | untold.all()
            no_unique[rows] = untold[source]
            for out, name in ((top, "psi_max"), (mean, "psi_mean")):
                out[rows] = support[name].to_numpy()[source]
            pairs.append(_list_pairs(support["tissues"].combine_chunks(), at, self.has_reads))
        measured = covered | self.has_psi
        if self.exons is not None:
            rows, source = np.flatnonzero(self.has_psi), self.exon_at[self.has_psi]
            top[rows], mean[rows] = self.exons.maximum[source], self.exons.mean[source]
            pairs.append(_list_pairs(self.exons.tissues, self.exon_at, self.has_psi))
        names = sorted({t for _, _, ts in pairs for t in ts})
        rank = {t: i for i, t in enumerate(names)}
        rows = np.concatenate([np.zeros(0, np.int64), *(r for r, _, _ in pairs)])
        codes = [np.array([rank[t] for t in ts], np.int64)[c] for _, c, ts in pairs]
        codes = np.concatenate([np.zeros(0, np.int64), *codes])
        breadth, tissues = grouped_names(rows, codes, names, n, measured)
        return {
            "reads": pa.array(reads, mask=~covered),
            "unique_reads": pa.array(unique, mask=no_unique),
            "partners": pa.array(partners, mask=~covered),
            "tissues": tissues,
            "psi_max": pa.array(top.astype(np.float32), mask=np.isnan(top)),
            "psi_mean": pa.array(mean.astype(np.float32), mask=np.isnan(mean)),
            "breadth": pa.array(breadth, mask=~measured),
        }


def _list_pairs(lists: pa.Array, at: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """(row, code, names): row i takes the names of lists[at[i]] where found. lists: as of support.grouped_names."""
    rows = np.flatnonzero(found)
    taken = lists.take(pa.array(at[rows]))
    flat = taken.flatten()
    parents = np.repeat(rows, pc.list_value_length(taken).to_numpy())
    return parents, flat.indices.to_numpy(), flat.dictionary.to_pylist()


def links(keys, pairs, sources, gene_of, genes: Genes) -> dict[str, tuple[np.ndarray, np.ndarray, list[str]]]:
    """{"genes", "transcripts"}: (row, code, names) of each site; a site no transcript has takes the genes around it."""
    names = sorted({t for a in sources for t in a.transcript_id})
    rank = {n: i for i, n in enumerate(names)}
    rows, transcripts, gene = [], [], []
    for (site, transcript), a, of in zip(pairs, sources, gene_of, strict=True):
        at, found = member(site, keys)
        code = np.array([rank[t] for t in a.transcript_id], np.int64)
        rows.append(at[found])
        transcripts.append(code[transcript[found]])
        gene.append(of[transcript[found]])
    rows, transcripts, gene = (np.concatenate(x).astype(np.int64) for x in (rows, transcripts, gene))
    bare = np.setdiff1d(np.arange(len(keys)), rows)
    near, around = gene_spans.containing(genes, keys[bare])
    gene_rows, gene = np.concatenate([rows, bare[near]]), np.concatenate([gene, around])
    return {"transcripts": (rows, transcripts, names), "genes": (gene_rows, gene, genes.ids)}
