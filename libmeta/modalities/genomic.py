"""Where in its gene the position lies, and GC content: 4 columns."""

import logging
from functools import lru_cache

import numpy as np

from libmeta.schema import Column
from libmeta.window_sums import Moments

log = logging.getLogger("libmeta")

NAME = "genomic"
KEYS = ()
DOC = (
    "Gene bounds come from the annotation and are leaky for novel sites: M3 leaves the first three out. A position in "
    "several genes of its strand takes the one that starts first."
)
REACH = 50
_OUTSIDE = "outside every gene of that strand, or no annotation"
LEAKY = ("relative_gene_position", "distance_to_gene_start", "distance_to_gene_end")
COLUMNS = (
    Column(LEAKY[0], "float32", "0 at the gene's first base, 1 at its last, in transcript direction", "feature",
           min=0, max=1, missing=_OUTSIDE),
    Column(LEAKY[1], "float32", "bases from the gene's first base, in transcript direction", "feature",
           unit="bp", min=0, missing=_OUTSIDE),
    Column(LEAKY[2], "float32", "bases to the gene's last base, in transcript direction", "feature",
           unit="bp", min=0, missing=_OUTSIDE),
    Column("gc_content", "float32", f"G + C among the known bases of the {2 * REACH + 1} bp around", "feature",
           unit="fraction", min=0, max=1, missing="no known base around"),
)  # fmt: skip


class Reader:
    def __init__(self, sources):
        self.genome, self.sources, self.columns = sources.genome, sources, COLUMNS
        self.inputs = {"genome": sources.genome.path}
        self._gc = lru_cache(maxsize=1)(self._gc)  # the same on both strands

    def _gc(self, chrom: str, start: int, end: int) -> Moments:
        codes = self.genome.codes(chrom, start, end)
        return Moments(np.array([np.nan, 0, 1, 1, 0])[codes])

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        gc = self._gc(window.chrom, window.start - REACH, window.end + REACH)
        count, total, _ = gc.around(positions - window.start + REACH, REACH)
        starts, ends = self.sources.gene_bounds(window.chrom, window.strand, positions)
        up, down = positions - starts, ends - 1 - positions
        if window.strand == "-":
            up, down = down, up
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(up + down > 0, up / (up + down), np.where(np.isnan(up), np.nan, 0.0))
            content = total / count
        values = (relative, up, down, np.clip(content, 0, 1))
        return {c.name: v.astype(np.float32) for c, v in zip(COLUMNS, values, strict=True)}


def open_source(sources) -> Reader:
    if not sources.has_genes:
        log.info("no annotation: the gene columns of %s are empty", NAME)
    return Reader(sources)
