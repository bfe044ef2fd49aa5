"""Regions and labels as users give them: BED, a sites table, or the annotation of ms.toml."""

import logging
from dataclasses import dataclass, field

import numpy as np

from libmeta import dinucleotides
from libmeta.config import Config
from libmeta.errors import NOTHING_TO_SCORE, MetaError
from libmeta.genome import Genome
from libmeta.introns import ACCEPTOR, DONOR, pack
from libmeta.labels import check as check_labels
from libmeta.regions import Region, merge, parse_region, read_bed
from libmeta.site_index import SiteIndex
from libmeta.streams import input_kind, open_input, open_table

log = logging.getLogger("libmeta")


@dataclass
class Read:
    """What was read: files by name, for hashing, and provenance chains of tables of ours."""

    files: dict = field(default_factory=dict)
    upstream: list = field(default_factory=list)


def labelled_regions(
    source: str, labels: str | None, no_labels: bool, only: tuple[str, ...], config: Config, genome: Genome
) -> tuple[list[Region], SiteIndex | None, Read]:
    """(regions, labels or None, what was read).

    source: a BED file, or a sites table whose gene spans are the regions ("-": standard input). labels: a sites table;
    None takes the source's own or, unless no_labels, the annotation of ms.toml. only: regions to stay inside.
    """
    read, contigs = Read(), genome.contigs
    handle = open_input(source)
    index = None
    if input_kind(handle, source) == "text":
        regions = read_bed(handle, contigs, "standard input" if source == "-" else source)
    else:
        index = _sites(open_table(source, handle), genome, read)
        regions = [Region(*g[:4], name=g[4]) for g in index.genes]
    if source != "-":
        read.files["regions"] = source
    if only:
        regions = clip(regions, [parse_region(text, contigs) for text in only], genome)
    if not regions:
        raise MetaError(f"no region left, {source}; check the input and --region", NOTHING_TO_SCORE)
    if labels:
        read.files["labels"] = labels
        index = _sites(open_table(labels), genome, read)
    elif index is None and not no_labels and config.annotation_tiers:
        index = _from_config(config, genome, regions, read)
    return regions, None if no_labels else index, read


def scored_regions(
    source: str | None, only: tuple[str, ...], config: Config, genome: Genome, with_labels: bool
) -> tuple[list[Region], SiteIndex | None, Read]:
    """As labelled_regions, for tools that score every base: without a source, `only` or the whole genome is meant."""
    if source:
        return labelled_regions(source, None, not with_labels, only, config, genome)
    regions, read = whole(only, genome), Read()
    if with_labels and config.annotation_tiers:
        return regions, _from_config(config, genome, regions, read), read
    return regions, None, read


def _sites(stream, genome: Genome, read: Read) -> SiteIndex:
    stream.expect("sites")
    read.upstream.append(stream.provenance)
    if "genes" not in stream.metadata:
        raise MetaError(f"no gene spans (ms.genes), {stream.name}; make the table with ms-labels")
    meta, table = stream.metadata, stream.table()
    _check_build(table, meta["genes"], genome, stream.name)
    check_labels(table, meta.get("recipe"), stream.name)
    return SiteIndex(
        table, meta["genes"], genome.contigs, meta.get("recipe"), meta.get("tiers", []), meta.get("rule", {})
    )


def _check_build(table, genes: list, genome: Genome, where: str) -> None:
    """Genes end inside their contigs, and the table's dinucleotides are those of this genome."""
    lengths = genome.contigs.lengths
    for chrom, _, end, _, gene, *_ in genes:
        ours = genome.contigs.resolve(chrom)
        if ours and end > lengths[ours]:
            raise MetaError(
                f"gene {gene} ends at {end:,}, past {ours} ({lengths[ours]:,} bp), {where}; likely another build"
            )
    names = [genome.contigs.resolve(c) for c in table["chrom"].to_pylist()]
    rows = [i for i, n in enumerate(names) if n]
    if not rows:
        return
    strand = np.array([1 if s == "+" else -1 for s in table["strand"].to_pylist()])[rows]
    kind = np.array([DONOR if s == "donor" else ACCEPTOR for s in table["site"].to_pylist()])[rows]
    chrom = np.array([genome.contigs.order[names[i]] for i in rows])
    pairs = dinucleotides.beside(genome, pack(chrom, table["pos"].to_numpy()[rows], strand, kind))
    told = np.array(table["dinucleotide"].to_pylist(), object)[rows]
    found = np.array(dinucleotides.letters(pairs).to_pylist(), object)
    known = np.array(["N" not in a and "N" not in b for a, b in zip(told, found, strict=True)])
    same = (told == found)[known]
    if len(same) >= 20 and same.mean() < 0.95:
        raise MetaError(
            f"only {same.mean():.0%} of {len(same):,} sites have the dinucleotide that the table says, {where}; likely "
            f"another build than {genome.contigs.build or genome.path}"
        )


def _from_config(config: Config, genome: Genome, regions: list[Region], read: Read) -> SiteIndex:
    from libmeta import sites

    log.info("labels from the annotation of %s", config.name)
    # whole contigs: no gene is cut, and the look-up does not slow down with the number of regions
    lengths = genome.contigs.lengths
    found = sites.from_config(
        config, genome, [Region(c, 0, lengths[c]) for c in dict.fromkeys(r.chrom for r in regions)]
    )
    read.files |= {f"annotation.{t['name']}": t["gtf"] for t in config.annotation_tiers}
    evidence = config.modality("junction")
    read.files |= {f"junction.{k}": v for k, v in evidence.get("files", {}).items()}
    read.files |= {"junction.psi": evidence["psi"]} if "psi" in evidence else {}
    return SiteIndex(found.table, [g.row for g in found.genes], genome.contigs, tiers=found.tiers)


def clip(regions: list[Region], only: list[Region], genome: Genome) -> list[Region]:
    """The parts of regions that lie inside `only` (strand by strand)."""
    inside = merge(only, genome.contigs)
    return [
        Region(r.chrom, max(r.start, o.start), min(r.end, o.end), o.strand, r.name)
        for r in regions
        for o in inside
        if r.chrom == o.chrom and o.strand in r.strands and r.start < o.end and o.start < r.end
    ]


def whole(only: tuple[str, ...], genome: Genome) -> list[Region]:
    """The regions named on the command line, else every contig."""
    if only:
        return [parse_region(text, genome.contigs) for text in only]
    return [Region(name, 0, length) for name, length in genome.contigs.lengths.items()]
