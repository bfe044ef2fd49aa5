"""Base scores that were computed once: a folder of small files, shared by every command that needs base scores.

Keyed by model and weights (sha256), engine and dtype, contig, strand, stretch, and a hash of the stretch's own sequence
with the context that its scores depend on: another genome, or one with a base changed, has other keys. A file holds
32,768 bases of one strand, float32 (2, bases): donor and acceptor, NaN where not computed yet; it is replaced as a whole,
so a kill leaves no half of it, and two writers at worst do some work twice.
"""

import hashlib
import json
from pathlib import Path

import numpy as np

from libmeta import basemodels
from libmeta.basescore import N_RUN, score_stretch
from libmeta.errors import MetaError
from libmeta.genome import Genome
from libmeta.streams import atomic

CELL = 1 << 15
UNSCORED = -1.0  # a base inside a run of N: looked at, and without a score


class ScoreCache:
    """The scores of one ensemble on one genome below `folder`.

    model: what identifies the scores (name, sha256, engine, dtype, ...). Raises MetaError where the folder cannot be made
    or a file in it is damaged.
    """

    def __init__(self, folder: str | Path, model: dict, genome: Genome):
        kind = f"{model['name']}-{model['sha256'][:16]}-{model['engine']}-{model['dtype']}"
        parent = Path(folder).absolute().parent
        if not parent.is_dir():
            raise MetaError(f"no folder to write to, {parent}; make it first")
        self.folder = Path(folder) / kind
        self.genome, self.context = genome, model["context"] + N_RUN
        self.lengths = genome.contigs.lengths
        self.folder.mkdir(parents=True, exist_ok=True)
        described = self.folder / "manifest.json"
        if not described.exists():
            with atomic(described) as path:
                about = {"model": model, "cell": CELL}
                path.write_text(json.dumps(about, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def read(self, chrom: str, start: int, end: int, strand: str) -> np.ndarray | None:
        """float32 (2, end - start): donor and acceptor, genome orientation, NaN in runs of N; None unless all is there."""
        out = np.empty((2, end - start), np.float32)
        for cell, low, high in _cells(start, end):
            stored = self._load(chrom, strand, cell)
            if stored is None:
                return None
            part = stored[:, low - cell * CELL : high - cell * CELL]
            if np.isnan(part).any():
                return None
            out[:, low - start : high - start] = part
        return np.where(out == UNSCORED, np.float32(np.nan), out)

    def write(self, chrom: str, start: int, strand: str, scores: np.ndarray) -> None:
        """Keep scores (2, n) of [start, start + n); NaN says that a base has none. What is there already stays."""
        scores = np.where(np.isnan(scores), np.float32(UNSCORED), scores)
        for cell, low, high in _cells(start, start + scores.shape[1]):
            stored = self._load(chrom, strand, cell)
            if stored is None:
                stored = np.full((2, min(CELL, self.lengths[chrom] - cell * CELL)), np.nan, np.float32)
            part = stored[:, low - cell * CELL : high - cell * CELL]
            new = scores[:, low - start : high - start]
            part[...] = np.where(np.isnan(part), new, part)
            path = self._path(chrom, strand, cell)
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic(path) as temporary, open(temporary, "wb") as handle:
                np.save(handle, stored)

    def _path(self, chrom: str, strand: str, cell: int) -> Path:
        codes = self.genome.codes(chrom, cell * CELL - self.context, (cell + 1) * CELL + self.context)
        content = hashlib.sha256(codes).hexdigest()[:16]
        return self.folder / f"{chrom}.{'plus' if strand == '+' else 'minus'}" / f"{cell}.{content}.npy"

    def _load(self, chrom: str, strand: str, cell: int) -> np.ndarray | None:
        path = self._path(chrom, strand, cell)
        try:
            return np.load(path)
        except FileNotFoundError:
            return None
        except (ValueError, EOFError) as error:
            raise MetaError(f"damaged cache file, {path}; remove it") from error


def _cells(start: int, end: int):
    """(cell, start, end) of the stretch of each cell inside [start, end)."""
    for cell in range(start // CELL, (end - 1) // CELL + 1):
        yield cell, max(start, cell * CELL), min(end, (cell + 1) * CELL)


class Scorer:
    """A base model on a genome, through a cache or not: what ms-basescore, ms-features and others ask for scores.

    engine: of libmeta.engines. model: its description. It reads as precomputed scores do (.read, .inputs, .about).
    """

    def __init__(
        self, engine, genome: Genome, model: dict, cache: str | Path | None = None, inputs: dict | None = None
    ):
        self.engine, self.genome, self.model = engine, genome, model
        self.cache = ScoreCache(cache, model, genome) if cache else None
        self.inputs = inputs or {}
        self.about = {"model": model}
        self.computed = 0  # bases not found in the cache

    def read(self, chrom: str, start: int, end: int, strand: str) -> tuple[np.ndarray, np.ndarray]:
        """(donor, acceptor) of [start, end), float32, genome orientation; NaN in runs of N and beyond the contig."""
        low, high = max(start, 0), min(end, self.genome.contigs.lengths[chrom])
        out = np.full((2, end - start), np.nan, np.float32)
        found = self.cache.read(chrom, low, high, strand) if self.cache else None
        if found is None:
            found = score_stretch(self.engine, self.genome, chrom, low, high, strand)
            self.computed += high - low
            if self.cache:
                self.cache.write(chrom, low, strand, found)
        out[:, low - start : high - start] = found
        return out[0], out[1]


def open_model(
    name: str,
    genome: Genome,
    weights=None,
    count=None,
    engine="auto",
    dtype="float32",
    device="auto",
    threads=None,
    cache=None,
) -> Scorer:
    """A Scorer of a base model by name; count: the first networks of the ensemble only."""
    from libmeta import engines
    from libmeta.device import pick
    from libmeta.errors import USAGE

    adapter = basemodels.get(name)
    paths = adapter.find(weights)
    if count is not None and not 1 <= count <= len(paths):
        raise MetaError(f"the ensemble has {len(paths)} networks, not {count}; ask for 1 to {len(paths)}", USAGE)
    paths = paths[:count]
    built = engines.build(adapter.read(paths), engine, pick(device), threads, dtype)
    model = {
        "name": adapter.NAME,
        "sha256": basemodels.digest(paths),
        "networks": len(paths),
        "context": built.context,
        "engine": built.name,
        "dtype": dtype,
        "licence": adapter.LICENCE,
        "trained_on": list(adapter.TRAINED_ON),
    }
    return Scorer(built, genome, model, cache, {p.name: p for p in paths})
