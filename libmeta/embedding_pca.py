"""Principal components of embeddings, fitted on training contigs only and stored.

python -m libmeta.embedding_pca EMBEDDINGS --genome FASTA --train chr2,chr4,... -o PCA.safetensors

The file holds mean (D,), components (k, D) and variance (k,), k <= 6, in float64; its metadata the contigs, the rows and
the provenance. The sign of a component is such that its largest loading is positive.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from libmeta.embedding_files import Embeddings, rows_at_once
from libmeta.errors import USAGE, MetaError
from libmeta.streams import atomic, step

COMPONENTS = 6
MOST = 2_000_000  # rows that are looked at: beyond, every second, third, ... one
FORMAT, VERSION = "embedding_pca", 1


@dataclass
class Pca:
    """mean (D,), components (k, D), variance along each (k,), all float64; the contigs that it was fitted on."""

    mean: np.ndarray
    components: np.ndarray
    variance: np.ndarray
    contigs: list[str]

    def project(self, vectors: np.ndarray) -> np.ndarray:
        """(n, D) -> float64 (n, COMPONENTS); NaN for components that a narrow embedding does not have."""
        out = np.full((len(vectors), COMPONENTS), np.nan)
        # not @: BLAS starts threads for it, which then wait busily for as long as the rest takes
        out[:, : len(self.components)] = np.einsum("ij,kj->ik", vectors.astype(np.float64) - self.mean, self.components)
        return out


def fit(embeddings: Embeddings, train: list[str], most: int = MOST) -> Pca:
    """Principal components of the vectors on the contigs `train` (the genome's names), both strands where told apart.

    Raises MetaError for a contig that the file lacks, and where fewer than two vectors are known.
    """
    places = []
    for chrom in train:
        if chrom not in embeddings:
            raise MetaError(f"no embedding on {chrom}, {embeddings.path}; leave it out of --train", USAGE)
        places += [(chrom, strand) for strand in embeddings.strands(chrom)]
    total = sum(embeddings.bins(*place).n for place in places)
    size = rows_at_once(embeddings.width)
    stride = max(-(-total // most), 1)
    count, offset = 0, None
    for place in places:
        bins = embeddings.bins(*place)
        for low in range(0, bins.n, size):
            vectors = bins.fetch(low, min(low + size, bins.n))[-low % stride :: stride].astype(np.float64)
            vectors = vectors[np.isfinite(vectors).all(axis=1)]
            if not len(vectors):
                continue
            if offset is None:
                offset = vectors.mean(axis=0)
                first, second = np.zeros(embeddings.width), np.zeros((embeddings.width,) * 2)
            vectors -= offset
            count += len(vectors)
            first += vectors.sum(axis=0)
            second += vectors.T @ vectors
    if count < 2:
        raise MetaError(f"fewer than two known vectors on {', '.join(train)}, {embeddings.path}; name more contigs")
    covariance = (second - np.outer(first, first) / count) / (count - 1)
    variance, axes = np.linalg.eigh(covariance)
    order = np.argsort(variance)[::-1][:COMPONENTS]
    components = axes[:, order].T
    largest = np.take_along_axis(components, np.abs(components).argmax(axis=1)[:, None], axis=1)
    return Pca(offset + first / count, components * np.sign(largest), np.maximum(variance[order], 0), list(train))


def save(pca: Pca, path: str | Path, provenance: list[dict]) -> None:
    """Write the file, whole or not at all."""
    tensors = {k: np.ascontiguousarray(getattr(pca, k), np.float64) for k in ("mean", "components", "variance")}
    about = {"format": FORMAT, "version": VERSION, "contigs": pca.contigs, "provenance": provenance}
    with atomic(path) as temporary:
        save_file(tensors, temporary, {f"ms.{k}": json.dumps(v, sort_keys=True) for k, v in about.items()})


def load(path: str | Path) -> Pca:
    """Read what save wrote. Raises MetaError for any other file."""
    try:
        with safe_open(str(path), "numpy") as file:
            about = {k: json.loads(v) for k, v in (file.metadata() or {}).items() if k.startswith("ms.")}
            if (about.get("ms.format"), about.get("ms.version")) != (FORMAT, VERSION):
                raise MetaError(f"not a PCA of embeddings, version {VERSION}, {path}; make it: {_HOW}")
            return Pca(*(file.get_tensor(k) for k in ("mean", "components", "variance")), about["ms.contigs"])
    except (SafetensorError, OSError) as error:
        raise MetaError(f"not safetensors or truncated, {path}; make it: {_HOW}") from error


_HOW = "python -m libmeta.embedding_pca EMBEDDINGS --genome FASTA --train chr2,chr4 -o PCA.safetensors"


def main(arguments: list[str]) -> None:
    """Command line of `python -m libmeta.embedding_pca`."""
    import argparse

    from libmeta.genome import Genome

    parser = argparse.ArgumentParser(prog="python -m libmeta.embedding_pca", description=__doc__.splitlines()[0])
    parser.add_argument("embeddings", help="HDF5 or Parquet")
    parser.add_argument("--genome", required=True, help="FASTA")
    parser.add_argument("--train", required=True, help="contigs of the training part, by commas")
    parser.add_argument("-o", "--output", required=True, help="where to write")
    options = parser.parse_args(arguments)
    contigs = Genome(options.genome).contigs
    train = [contigs.require(name.strip(), "--train") for name in options.train.split(",")]
    pca = fit(Embeddings(options.embeddings, contigs), train)
    save(pca, options.output, step("embedding_pca", arguments, {"embeddings": options.embeddings}))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except MetaError as error:
        sys.stderr.write(f"embedding_pca: error: {error}\n")
        raise SystemExit(error.code) from None
