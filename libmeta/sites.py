"""Annotation tiers + junctions + PSI -> the site table. See science.md section 1 for tiers and support."""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from libmeta import dinucleotides, gene_spans, labels, site_table, site_tissues, tissue_names
from libmeta import junctions as junction_tables
from libmeta import psi as psi_tables
from libmeta import tiers as annotation_tiers
from libmeta.errors import USAGE, MetaError
from libmeta.gene_spans import Genes, GeneSpan
from libmeta.genome import Genome
from libmeta.introns import ACCEPTOR, DONOR, NEITHER, member, pack
from libmeta.regions import Region, merge
from libmeta.site_tissues import SiteTissues
from libmeta.support import by_tissue, site_support

log = logging.getLogger("libmeta")

NOVEL = 3


@dataclass(frozen=True)
class Sites:
    """Splice sites and the genes that were looked at.

    table: pa.Table of schema `sites` (no metadata), sorted by contig of the genome, pos, strand ("+" first), site.
    genes: spans that were looked at, clipped to the regions, sorted alike. tiers: names of tiers 0, 1, ... rates:
    dinucleotides of the annotated sites before any filter. measured: bool, one per row: the evidence covers one of its
    genes, or the site itself. junction_annotated: (junction sites that the annotation has, all), None: no junctions.
    tissues: in which tissues the rows are used, where that was asked for.
    """

    table: pa.Table
    genes: list[GeneSpan]
    tiers: list[str]
    rates: list[dinucleotides.Rate]
    measured: np.ndarray
    junction_annotated: tuple[int, int] | None = None
    tissues: SiteTissues | None = None

    def facts(self) -> labels.Facts:
        """The rows as the label rules want them."""

        def floats(name):
            return pc.cast(self.table[name], pa.float64()).to_numpy(zero_copy_only=False).astype(float)

        donor = pc.equal(self.table["site"], "donor").to_numpy()
        site = np.where(donor, DONOR, ACCEPTOR).astype(np.uint8)
        return labels.Facts(site, floats("tier"), floats("reads"), floats("psi_max"), self.measured, floats("breadth"))

    def positive_genes(self) -> set[str]:
        """Genes that hold a site labelled donor or acceptor with a weight."""
        positive = pc.and_(pc.less(self.table["label"], NEITHER), pc.greater(self.table["weight"], 0))
        return set(pc.unique(pc.list_flatten(self.table.filter(positive)["genes"])).to_pylist())

    def labelled(self, label: np.ndarray, weight: np.ndarray) -> "Sites":
        """With the label and weight columns filled."""
        table = self.table
        for name, values in (
            ("label", pa.array(label, pa.uint8())),
            ("weight", pa.array(weight, pa.float32())),
        ):
            i = table.schema.get_field_index(name)
            table = table.set_column(i, table.schema.field(i), values)
        return replace(self, table=table)


def from_config(config, genome: Genome, regions: list[Region] | None = None, **settings) -> Sites:
    """build() with the sources of a libmeta.config.Config: [annotation] tiers and [modalities.junction] files, psi."""
    tiers = config.annotation_tiers
    if not tiers:
        raise MetaError("no annotation tiers, ms.toml; add [annotation] tiers = [{name = ..., gtf = ...}]", USAGE)
    evidence = config.modality("junction")
    return build(genome, tiers, evidence.get("files"), evidence.get("psi"), regions, **settings)


def build(
    genome: Genome,
    tiers: list[dict],
    junctions: pa.Table | Mapping[str, str | Path] | Iterable[tuple[str | None, str | Path]] | None = None,
    psi: str | Path | None = None,
    regions: list[Region] | None = None,
    genes: set[str] | None = None,
    min_support: int = 3,
    min_dinucleotide: float = 0.95,
    novel_psi: bool = True,
    cover: float | None = None,
) -> Sites:
    """The site table of a genome.

    tiers: ordered dicts with name, gtf (any annotation file) and tag (None: the whole file), at most three; a site's
    tier is the first that has it. junctions: {tissue: path}, (tissue or None, path) pairs, or a pa.Table in the
    junctions schema; an intron's two sites get its reads, tier 3 where no annotation has them. psi: an exon PSI table.
    regions: keep sites (and parts of genes) inside, on their strand; None all. genes: keep genes of these ids or names.
    min_support: reads that support a site in a tissue, and that make a gene measured. min_dinucleotide: smallest share
    of annotated sites with a splice dinucleotide, per strand (junctions: the lesser of this and 0.9). novel_psi: take
    exon ends of the PSI table as novel sites where candidates() says so. cover: also tell the tissues in which sites are
    used (see site_tissues.from_psi).

    Raises MetaError for bad files, no annotation, too many tiers, a wrong build, a gene that is nowhere.
    """
    if not 1 <= len(tiers) <= NOVEL:
        raise MetaError(f"{len(tiers)} annotation tiers; give one to three, the most trusted first", USAGE)
    only = None if regions is None else {r.chrom for r in regions}
    whole = annotation_tiers.read(genome, tiers, only)
    rates = dinucleotides.rates(whole.keys, dinucleotides.beside(genome, whole.keys))
    dinucleotides.check(rates, min_dinucleotide, genome.contigs.build, whole.name)
    min_fit = min(min_dinucleotide, junction_tables.MIN_FIT)
    evidence = _evidence(genome, whole.sources, junctions, only, min_support, min_fit)
    psi_table = psi_tables.read(psi, genome, only) if psi else None
    exons = None if psi_table is None else _exon_ends(genome, psi_table)
    shared = None if evidence is None else (int(member(evidence.keys, whole.keys)[1].sum()), len(evidence.keys))
    chosen = whole if genes is None else whole.of_genes(genes)
    united, gene_of = gene_spans.unite(chosen.sources)
    novel = np.zeros(0, np.int64) if evidence is None else np.setdiff1d(evidence.keys, whole.keys)
    if exons is not None and novel_psi:
        novel = np.union1d(novel, _told_candidates(genome, exons, whole))
    if genes is not None:
        novel = novel[np.unique(gene_spans.containing(united, novel)[0])]
    keys = np.union1d(chosen.keys, novel)
    tier = np.full(len(keys), NOVEL, np.int8)
    tier[np.searchsorted(keys, chosen.keys)] = chosen.tier
    inside = _inside(keys, regions, genome)
    keys, tier = keys[inside], tier[inside]
    related = site_table.links(keys, chosen.pairs, chosen.sources, gene_of, united)
    view = site_table.SiteView(genome, keys, tier, united, related, evidence, exons, min_support)
    table, measured = view.table()
    spans = _clipped(united, view.gene_measured, regions, genome)
    tissues = None if cover is None else _tissues(view, psi_table, cover)
    return Sites(table, spans, [t["name"] for t in tiers], rates, measured, shared, tissues)


# ---- evidence -------------------------------------------------------------------------------------------------------


def _evidence(genome, sources, files, only, min_support, min_fit) -> site_table.Evidence | None:
    if isinstance(files, pa.Table):
        table = files
    elif pairs := list(files.items() if isinstance(files, Mapping) else files or ()):
        table = junction_tables.load(pairs, genome, annotation_tiers.all_introns(sources), only, min_fit)
    else:
        return None
    support = site_support(table, min_support)
    chrom, strand = _places(table, genome)
    introns = (chrom, table["start"].to_numpy(), table["end"].to_numpy(), strand, table["reads"].to_numpy())
    donor = pc.equal(support["site"], "donor").to_numpy()
    site_chrom, site_strand = _places(support, genome)
    keys = pack(site_chrom, support["pos"].to_numpy(), site_strand, np.where(donor, DONOR, ACCEPTOR))
    return site_table.Evidence(keys, support, introns, table)


def _tissues(view: site_table.SiteView, psi: psi_tables.Psi | None, cover: float) -> SiteTissues:
    """In which tissues the sites of a view are used. MetaError without any evidence by tissue."""
    found = None if psi is None else site_tissues.from_psi(psi, view.keys, cover)
    if view.evidence is not None:
        use = by_tissue(view.evidence.table, view.evidence.keys, view.min_support)
        rows, gene, _ = view.links["genes"]
        near = (view.evidence.introns, view.keys, (rows, gene), view.genes, view.min_support)
        mine = site_tissues.from_junctions(use, *near)
        found = mine if found is None else found.joined(mine)
    if found is None or not found.names:
        raise MetaError(
            "no evidence by tissue, neither junctions nor PSI; give --psi, or --junctions TISSUE=FILE", USAGE
        )
    tissue_names.check(found.names, "junctions and PSI")
    return found


def _places(table: pa.Table, genome: Genome) -> tuple[np.ndarray, np.ndarray]:
    """Contig index and strand (+1/-1) of each row."""
    coded = table["chrom"].combine_chunks().dictionary_encode()
    order = np.array([genome.contigs.order[c] for c in coded.dictionary.to_pylist()], np.int64)
    return order[coded.indices.to_numpy()], np.where(pc.equal(table["strand"], "+").to_numpy(), 1, -1)


def _exon_ends(genome: Genome, table: psi_tables.Psi) -> psi_tables.SitePsi:
    """PSI by exon end, of a table of this build."""
    psi_tables.check_build(table, genome)
    return psi_tables.site_psi(table)


def candidates(genome: Genome, exons: psi_tables.SitePsi, known: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Exon ends (site keys) of a PSI table that may be novel sites: PSI > 0, no known site, not an outer end of a
    transcript of the annotation, and with GT (donor) or AG (acceptor) beside them.

    An exon table does not say which ends are spliced: the outer ends of first and last exons fit the wider rule by
    chance in 1 of 8 (acceptors) or 3 of 16 (donors), this one in 1 of 16. build() takes candidates inside annotated
    genes only. On chr15 with the GTEx table that takes 1,988 beyond MANE, 89 % of them sites of GENCODE, and 22 beyond
    the whole of GENCODE.
    """
    open_ = (exons.maximum > 0) & ~member(exons.keys, known)[1] & ~member(exons.keys, ends)[1]
    keys = exons.keys[open_]
    return keys[dinucleotides.canonical(dinucleotides.beside(genome, keys), keys)]


def _told_candidates(genome: Genome, exons: psi_tables.SitePsi, whole: annotation_tiers.Tiers) -> np.ndarray:
    found = candidates(genome, exons, whole.keys, annotation_tiers.transcript_ends(whole.sources))
    found = found[np.unique(gene_spans.containing(gene_spans.unite(whole.sources)[0], found)[0])]
    log.info(
        "PSI: %s of %s exon ends are annotated sites; %s others look like sites and are taken as novel",
        f"{int(member(exons.keys, whole.keys)[1].sum()):,}", f"{len(exons.keys):,}", f"{len(found):,}",
    )  # fmt: skip
    return found


# ---- regions --------------------------------------------------------------------------------------------------------


def _inside(keys: np.ndarray, regions: list[Region] | None, genome: Genome) -> np.ndarray:
    """bool: keys inside any region, on its strand."""
    if regions is None:
        return np.ones(len(keys), bool)
    keep = np.zeros(len(keys), bool)
    minus = (keys & 2) > 0
    for r in regions:
        chrom = genome.contigs.order[r.chrom]
        low, high = np.searchsorted(keys, [pack(chrom, p, 1, ACCEPTOR) for p in (r.start, r.end)])
        piece = slice(int(low), int(high))
        keep[piece] |= np.where(minus[piece], "-" in r.strands, "+" in r.strands)
    return keep


def _clipped(genes: Genes, measured, regions: list[Region] | None, genome: Genome) -> list[GeneSpan]:
    """Gene spans, cut to the regions (overlapping regions joined first), sorted by contig order, start, end, strand."""
    names = list(genome.contigs.lengths)
    places: dict[tuple[str, str], list[Region]] | None = None
    if regions is not None:
        places = {}
        for region in merge(regions, genome.contigs):  # disjoint and ascending on each contig and strand
            places.setdefault((region.chrom, region.strand), []).append(region)
    spans = []
    for i, gene in enumerate(genes.ids):
        chrom, strand = names[genes.chrom[i]], "+" if genes.strand[i] > 0 else "-"
        start, end = int(genes.start[i]), int(genes.end[i])
        pieces = [(start, end)] if places is None else _overlaps(places.get((chrom, strand), []), start, end)
        spans += [GeneSpan(chrom, a, b, strand, gene, bool(measured[i]), start, end) for a, b in pieces]
    return sorted(spans, key=lambda s: (genome.contigs.order[s.chrom], s.start, s.end, s.strand, s.gene))


def _overlaps(regions: list[Region], start: int, end: int) -> list[tuple[int, int]]:
    """The parts of [start, end) inside disjoint ascending regions."""
    first = bisect_right(regions, start, key=lambda r: r.end)
    last = bisect_left(regions, end, key=lambda r: r.start)
    return [(max(start, r.start), min(end, r.end)) for r in regions[first:last]]
