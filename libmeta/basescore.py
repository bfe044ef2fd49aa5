"""Score regions of a genome with a base model: pieces of either strand, real flanks, genome orientation out."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from threading import Event

import numpy as np
import pyarrow as pa

from libmeta import schema
from libmeta.genome import Genome
from libmeta.regions import Region, windows

N_RUN = 1000  # runs of unknown bases from this length on are not scored
PIECE = 1 << 18  # bases in one call of the engine: long against its context, short enough to lose little to a kill


def known_stretches(codes: np.ndarray, run: int = N_RUN) -> list[tuple[int, int]]:
    """[start, end) stretches of codes left when runs of at least `run` unknown bases (code 0) are taken out."""
    unknown = np.concatenate([[False], codes == 0, [False]])
    edges = np.flatnonzero(np.diff(unknown.astype(np.int8)))
    gaps = [(a, b) for a, b in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True) if b - a >= run]
    bounds = [0, *(x for gap in gaps for x in gap), len(codes)]
    return [(a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True) if a < b]


def score_stretch(engine, genome: Genome, chrom: str, start: int, end: int, strand: str) -> np.ndarray:
    """float32 (2, end - start): donor and acceptor of every base, genome orientation, NaN in long runs of N."""
    out = np.full((2, end - start), np.nan, np.float32)
    # runs of N are looked for beyond the ends, so that they do not depend on where a stretch is cut
    before, after = min(N_RUN, start), min(N_RUN, genome.contigs.lengths[chrom] - end)
    for low, high in known_stretches(genome.codes(chrom, start - before, end + after)):
        low, high = max(low - before, 0), min(high - before, end - start)
        if low >= high:
            continue
        flanked = genome.codes(chrom, start + low - engine.context, start + high + engine.context, strand)
        scores = engine.score(flanked)
        out[:, low:high] = (scores[::-1] if strand == "-" else scores)[:, :2].T
    return out


def cut(region: Region) -> Iterator[Region]:
    """Pieces of a region on a fixed grid of 256 kb."""
    for low in range(region.start // PIECE * PIECE, region.end, PIECE):
        yield Region(region.chrom, max(region.start, low), min(region.end, low + PIECE), region.strand)


def pieces(scorer, regions: list[Region]) -> Iterator[tuple[list[tuple], int]]:
    """Per stretch of the genome: [(piece, donor, acceptor), ...] and the region bases it covers.

    The next stretch is scored while the caller writes this one: the engine works outside Python's lock.
    """
    stretches = windows(regions, scorer.genome.contigs)

    stopped = Event()

    def score(inside: list[Region]) -> tuple[list[tuple], int]:
        scored = []
        for p in (piece for region in inside for piece in cut(region)):
            if stopped.is_set():  # interrupted: do not finish the stretch first
                break
            scored.append((p, *scorer.read(p.chrom, p.start, p.end, p.strand)))
        return scored, sum(r.end - r.start for r in inside)

    with ThreadPoolExecutor(1) as pool:
        try:
            ahead = [pool.submit(score, inside) for inside in islice(stretches, 1)]
            while ahead:
                done = ahead.pop().result()
                ahead += [pool.submit(score, inside) for inside in islice(stretches, 1)]
                yield done
        finally:
            stopped.set()


def tables(scored: list[tuple]) -> Iterator[pa.Table]:
    """Scored pieces of one stretch as rows of the base_scores format, sorted by position and strand: 256 kb at a time.

    A row takes some ten times the memory of its two scores while it is made, so that few are made at once.
    """
    cells: dict[int, list[tuple]] = {}
    for found in scored:
        cells.setdefault(found[0].start // PIECE, []).append(found)
    for cell in sorted(cells):
        yield _table(cells[cell])


def _table(scored: list[tuple]) -> pa.Table:
    form = schema.load("base_scores").arrow
    position = np.concatenate([np.arange(p.start, p.end) for p, _, _ in scored])
    strand = np.concatenate([np.full(len(donor), p.strand) for p, donor, _ in scored])
    donor, acceptor = (np.concatenate([s[i] for s in scored]) for i in (1, 2))
    order = np.lexsort((strand == "-", position))
    order = order[np.isfinite(donor[order])]
    columns = {
        "chrom": pa.array(np.full(len(order), scored[0][0].chrom)),
        "pos": pa.array(position[order]),
        "strand": pa.array(strand[order]),
        "donor": pa.array(donor[order]),
        "acceptor": pa.array(acceptor[order]),
    }
    return pa.Table.from_arrays([columns[f.name].cast(f.type) for f in form], schema=form)
