"""Score regions of a genome with a base model: pieces of either strand, real flanks, genome orientation out."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from libmeta import schema
from libmeta.genome import Genome
from libmeta.regions import Region, windows

N_RUN = 1000  # runs of unknown bases from this length on are not scored


def known_stretches(codes: np.ndarray, run: int = N_RUN) -> list[tuple[int, int]]:
    """[start, end) stretches of codes left when runs of at least `run` unknown bases (code 0) are taken out."""
    unknown = np.concatenate([[False], codes == 0, [False]])
    edges = np.flatnonzero(np.diff(unknown.astype(np.int8)))
    gaps = [(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True) if b - a >= run]
    bounds = [0, *(x for gap in gaps for x in gap), len(codes)]
    return [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if a < b]


def score_region(engine, genome: Genome, region: Region) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """(start, donor, acceptor) of the known stretches of a region of one strand; float32, genome orientation."""
    codes = genome.codes(region.chrom, region.start, region.end)
    for low, high in known_stretches(codes):
        start, end = region.start + low, region.start + high
        flanked = genome.codes(region.chrom, start - engine.context, end + engine.context, region.strand)
        scores = engine.score(flanked)
        if region.strand == "-":
            scores = scores[::-1]
        yield start, scores[:, 0], scores[:, 1]


def pieces(engine, genome: Genome, regions: list[Region]) -> Iterator[tuple[list[tuple], int]]:
    """Per stretch of the genome: [(region, start, donor, acceptor), ...] and the region bases it covers."""
    for inside in windows(regions, genome.contigs):
        scored = [(region, *piece) for region in inside for piece in score_region(engine, genome, region)]
        yield scored, sum(r.end - r.start for r in inside)


def table(scored: list[tuple]) -> pa.Table:
    """Scored pieces of one stretch as rows of the base_scores format, sorted by position and strand."""
    form = schema.load("base_scores").arrow
    if not scored:
        return form.empty_table()
    position = np.concatenate([start + np.arange(len(donor)) for _, start, donor, _ in scored])
    strand = np.concatenate([np.full(len(donor), region.strand) for region, _, donor, _ in scored])
    order = np.lexsort((strand == "-", position))
    columns = {
        "chrom": pa.array(np.full(len(order), scored[0][0].chrom)),
        "pos": pa.array(position[order]),
        "strand": pa.array(strand[order]),
        "donor": pa.array(np.concatenate([s[2] for s in scored])[order]),
        "acceptor": pa.array(np.concatenate([s[3] for s in scored])[order]),
    }
    return pa.Table.from_arrays([columns[f.name].cast(f.type) for f in form], schema=form)
