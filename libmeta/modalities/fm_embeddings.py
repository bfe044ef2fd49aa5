"""A foundation model's embedding of the position, or the base model's own trunk, in a few numbers: 8 columns."""

import numpy as np

from libmeta.embedding_files import Embeddings, rows_at_once
from libmeta.errors import USAGE, MetaError
from libmeta.modalities import Absent, Channel
from libmeta.schema import Column

NAME = "fm_embeddings"
KEYS = ("file", "pca")
DOC = (
    "From [modalities.fm_embeddings] file (HDF5 or Parquet, see libmeta/embedding_files.py) and pca, the principal "
    "components of the training contigs that `python -m libmeta.embedding_pca` stores. A position takes the vector of the "
    "bin that holds it, on its strand where the file tells strands apart."
)
COMPONENTS = 6
_MISSING = "no vector there"
COLUMNS = (
    *(
        Column(f"pca_{i}", "float32", f"principal component {i}", "feature",
               missing=f"{_MISSING}, or fewer than {i} components")
        for i in range(1, COMPONENTS + 1)
    ),
    Column("norm", "float32", "Euclidean norm of the vector", "feature", min=0, missing=_MISSING),
    Column("local_gradient", "float32", "mean Euclidean distance to the vectors of the two bins that touch this one "
           "(to the one, where there is but one)", "feature", min=0, missing=f"{_MISSING}, or no bin touches this one"),
)  # fmt: skip
CHANNELS = tuple(Channel(c.name, c.doc, missing=c.missing) for c in COLUMNS[:COMPONENTS])


class Reader:
    def __init__(self, embeddings: Embeddings, pca, inputs: dict):
        self.embeddings, self.pca, self.inputs = embeddings, pca, inputs
        self.columns, self.channels = COLUMNS, CHANNELS[: len(pca.components)]
        self.opened = {"file": embeddings}

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        out = np.full((len(COLUMNS), len(positions)), np.nan, np.float32)
        bins = self.embeddings.bins(window.chrom, window.strand)
        if bins is not None:
            row, hit = bins.locate(positions)
            hits = np.flatnonzero(hit)
            row, size, i = row[hits], rows_at_once(self.embeddings.width), 0
            while i < len(hits):
                j = int(np.searchsorted(row, row[i] + size))
                first, last = int(row[i]), int(row[j - 1]) + 1
                out[:, hits[i:j]] = self._values(bins, first, last)[:, row[i:j] - first]
                i = j
        return {c.name: values for c, values in zip(COLUMNS, out, strict=True)}

    def _values(self, bins, low: int, high: int) -> np.ndarray:
        """The columns of bins [low, high): float64 (8, high - low)."""
        before, after = max(low - 1, 0), min(high + 1, bins.n)
        start, end = bins.bounds(before, after)
        vectors = bins.fetch(before, after).astype(np.float64)
        distance = np.linalg.norm(np.diff(vectors, axis=0), axis=1)
        distance[end[:-1] != start[1:]] = np.nan
        around = np.concatenate([[np.nan] * (before == low), distance, [np.nan] * (after == high)])
        sides = np.stack([around[:-1], around[1:]])
        known = np.isfinite(sides)
        count = known.sum(axis=0)
        gradient = np.where(count > 0, np.where(known, sides, 0).sum(axis=0) / np.maximum(count, 1), np.nan)
        here = vectors[low - before : high - before]
        return np.stack([*self.pca.project(here).T, np.linalg.norm(here, axis=1), gradient])

    def dense(self, window) -> dict[str, np.ndarray]:
        low, high = max(window.start, 0), min(window.end, self.embeddings.contigs.lengths[window.chrom])
        found = self.read(window, np.arange(low, max(low, high)))
        out = {}
        for channel in self.channels:
            out[channel.name] = np.full(window.end - window.start, np.nan, np.float32)
            if low < high:
                out[channel.name][low - window.start : high - window.start] = found[channel.name]
        return out


def open_source(sources) -> Reader:
    from libmeta import embedding_pca

    named = sources.config.modality(NAME, KEYS)
    where = f"[modalities.{NAME}] in {sources.config.name}"
    if not named:
        raise Absent(f"no embeddings, [modalities.{NAME}] in ms.toml; name file and pca")
    if lacking := [k for k in KEYS if k not in named]:
        raise MetaError(
            f"no {lacking[0]}, {where}; name file and pca (python -m libmeta.embedding_pca makes it)", USAGE
        )
    embeddings, pca = Embeddings(named["file"], sources.genome.contigs), embedding_pca.load(named["pca"])
    if len(pca.mean) != embeddings.width:
        raise MetaError(
            f"components for {len(pca.mean)} numbers, {named['pca']}, and vectors of {embeddings.width}, {named['file']}; "
            "fit the components on this file"
        )
    return Reader(embeddings, pca, {k: str(named[k]) for k in KEYS})
