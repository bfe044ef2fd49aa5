"""What a site table comes to: counts for the eye, rows for BED, pieces for a stream."""

import logging
from collections.abc import Iterator
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa

from libmeta.gene_spans import GeneSpan
from libmeta.introns import NEITHER
from libmeta.site_tissues import ACTIVE, INACTIVE, UNKNOWN
from libmeta.sites import NOVEL, Sites

log = logging.getLogger("libmeta")

_ALL_ANNOTATED = 0.999
_FEW = 100


def tell(sites: Sites, recipe: str | None) -> None:
    """Sum up on stderr: sites per tier, dinucleotides per strand, annotated share of junction sites, labels."""
    names = {**dict(enumerate(sites.tiers)), NOVEL: "novel"}
    tier = sites.table["tier"].to_numpy()
    counts = ", ".join(f"{name} {int((tier == i).sum()):,}" for i, name in names.items())
    log.info("%s sites: %s; %s genes", f"{len(tier):,}", counts, f"{len({g.gene for g in sites.genes}):,}")
    for strand in "+-":
        rates = [f"{r.share:.2%} of {r.known:,} {r.site}s" for r in sites.rates if r.strand == strand and r.known]
        if rates:
            log.info("strand %s: splice dinucleotides at %s", strand, " and ".join(rates))
    if sites.junction_annotated:
        known, total = sites.junction_annotated
        share = known / total if total else float("nan")
        log.info("junctions: %s of %s sites (%.1f%%) are annotated", f"{known:,}", f"{total:,}", 100 * share)
        if total >= _FEW and share > _ALL_ANNOTATED:
            log.warning(
                "warning: the junctions hold annotated sites only; as a feature they would be the label in disguise"
            )
    if recipe:
        _tell_labels(sites, recipe)
    if sites.tissues:
        state = sites.tissues.state
        both = (state == ACTIVE).any(axis=1) & (state == INACTIVE).any(axis=1)
        counts = [f"{int((state == s).sum()):,}" for s in (ACTIVE, INACTIVE, UNKNOWN)]
        log.info(
            "%d tissues: sites are active in %s cases, inactive in %s, unknown in %s; %s sites are both, by tissue",
            len(sites.tissues.names), *counts, f"{int(both.sum()):,}",
        )  # fmt: skip


def _tell_labels(sites: Sites, recipe: str) -> None:
    label, weight = sites.table["label"].to_numpy(), sites.table["weight"].to_numpy()
    donors, acceptors = (int(((label == c) & (weight > 0)).sum()) for c in (0, 1))
    silent, masked = int(((label == NEITHER) & (weight > 0)).sum()), int((weight == 0).sum())
    log.info("recipe %s: %s donors and %s acceptors positive, %s sites negative, %s masked", recipe, f"{donors:,}",
             f"{acceptors:,}", f"{silent:,}", f"{masked:,}")  # fmt: skip
    if not donors + acceptors:
        log.warning("warning: no positive site under recipe %s", recipe)


def gene_rows(genes: list[GeneSpan]) -> Iterator[tuple]:
    """BED6 rows of gene spans; genes of one span and strand share a row, their names joined by commas."""
    for (chrom, start, end, strand), same in groupby(genes, key=lambda g: (g.chrom, g.start, g.end, g.strand)):
        yield chrom, start, end, ",".join(dict.fromkeys(g.gene for g in same)), 0, strand


def site_rows(table: pa.Table) -> Iterator[tuple]:
    """BED6 rows of sites: the name tells kind and tier, the score is the reads up to 1000 (0 where not measured)."""
    columns = (table[c].to_pylist() for c in ("chrom", "pos", "strand", "site", "tier", "reads"))
    for chrom, pos, strand, site, tier, reads in zip(*columns, strict=True):
        yield chrom, pos, pos + 1, f"{site}:{tier}", min(reads or 0, 1000), strand


def with_tissues(sites: Sites) -> pa.Table:
    """The table, with the columns by tissue where they are known."""
    table = sites.table
    for field, values in sites.tissues.columns() if sites.tissues else ():
        table = table.append_column(field, values)
    return table


def by_contig(table: pa.Table) -> Iterator[pa.Table]:
    """The table in pieces of one contig."""
    if not table.num_rows:
        return
    codes = table["chrom"].combine_chunks().dictionary_encode().indices.to_numpy()
    bounds = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), table.num_rows]
    for start, end in pairwise(bounds):
        yield table.slice(start, end - start)
