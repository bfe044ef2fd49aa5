"""A small genome with a random track of every kind, kept in plain Python as well, for the tests of the modalities."""

import json
import math
from pathlib import Path

import h5py
import numpy as np
import pyBigWig
from conftest import random_sequence, write_fasta

from libmeta.config import Config
from libmeta.embedding_files import Embeddings
from libmeta.embedding_pca import fit, save
from libmeta.features import Sources, Window, open_readers
from libmeta.genome import Genome

LENGTHS = {"c1": 4000, "c2": 1700, "c3": 900}  # no evidence on c3
NAN = math.nan


def write_bigwig(path: Path, values: dict[str, np.ndarray], lengths: dict[str, int]) -> Path:
    """values: {contig: (L,)} with NaN for bases without an interval; runs of one value become one interval."""
    file = pyBigWig.open(str(path), "w")
    file.addHeader(list(lengths.items()), maxZooms=0)
    for chrom in lengths:
        if chrom not in values:
            continue
        rows = [r for r in runs(values[chrom]) if not math.isnan(r[2])]
        if rows:
            start, end, value = zip(*rows, strict=True)
            file.addEntries([chrom] * len(rows), list(start), ends=list(end), values=[float(v) for v in value])
    file.close()
    return path


def runs(values: np.ndarray) -> list[tuple[int, int, float]]:
    """[start, end) of equal values, NaN equal to itself."""
    found, low = [], 0
    for i in range(1, len(values) + 1):
        if i == len(values) or not (values[i] == values[low] or (np.isnan(values[i]) and np.isnan(values[low]))):
            found.append((low, i, float(values[low])))
            low = i
    return found


def random_track(rng, length: int, scale: float = 3.0) -> np.ndarray:
    """Steps of a gamma signal with gaps, float32 values as a bigWig keeps them."""
    out = np.full(length, np.nan)
    at = 0
    while at < length:
        size = int(rng.integers(1, 60))
        if rng.random() < 0.8:
            out[at : at + size] = np.float32(rng.gamma(0.7, scale))
        at += size
    return out


def random_peaks(rng, n: int, length: int) -> list[tuple]:
    """(start, end, name, strand, signal, -log10 p), sorted; some weak, some at the contig's ends."""
    peaks = []
    for _ in range(n):
        start = int(rng.integers(0, length - 5))
        end = min(start + int(rng.integers(1, 120)), length)
        peaks.append((start, end, "+-"[int(rng.integers(2))], float(rng.normal(2, 2)), float(rng.gamma(2, 1.5))))
    return sorted([(0, 7, "+", 1.5, 2.0), (length - 9, length, "-", 2.5, 9.0), *peaks])


def narrowpeak(path: Path, peaks: dict[str, list[tuple]], name: str = "peak") -> Path:
    lines = [
        f"{chrom}\t{a}\t{b}\t{name}\t0\t{strand}\t{signal!r}\t{p!r}\t-1\t-1"
        for chrom, rows in peaks.items()
        for a, b, strand, signal, p in rows
    ]
    path.write_text("\n".join(lines) + "\n")
    return path


class World:
    """The sources in a folder; `tracks` and `peaks` are what the files hold, for oracles."""

    def __init__(self, folder: Path, seed: int = 1):
        rng = np.random.default_rng(seed)
        self.folder, self.rng = folder, rng
        self.sequence = {name: random_sequence(n, seed + i) for i, (name, n) in enumerate(LENGTHS.items())}
        write_fasta(folder / "g.fa", self.sequence)
        self.genome = Genome(folder / "g.fa")
        self.tracks: dict[str, dict[str, np.ndarray]] = {}
        self.sections: dict[str, dict] = {}

    def bigwig(self, name: str, **options) -> str:
        """A random bigWig on c1 and c2."""
        self.tracks[name] = {c: random_track(self.rng, LENGTHS[c], **options) for c in ("c1", "c2")}
        write_bigwig(self.folder / f"{name}.bw", self.tracks[name], LENGTHS)
        return f"{name}.bw"

    def value(self, name: str, chrom: str, pos: int) -> float:
        """What the track says of a base; NaN beyond the contig and where it says nothing."""
        track = self.tracks[name].get(chrom)
        return float(track[pos]) if track is not None and 0 <= pos < len(track) else NAN

    def sources(self, **sections) -> Sources:
        """sections: {modality: {key: value}} as ms.toml would have them."""
        return Sources(Config({"modalities": sections}, self.folder / "ms.toml"), self.genome)

    def reader(self, modality: str, **section):
        """The reader of a modality whose section of ms.toml is given."""
        sources = self.sources(**{modality: section})
        return open_readers(sources, [modality], must=True)[0][modality]

    def read(self, reader, chrom: str, start: int, end: int, strand: str, positions=None) -> dict[str, np.ndarray]:
        positions = np.arange(start, end) if positions is None else positions
        return reader.read(Window(None, chrom, start, end, strand), positions)

    def dense(self, reader, chrom: str, start: int, end: int, strand: str) -> dict[str, np.ndarray]:
        return reader.dense(Window(None, chrom, start, end, strand))


def embeddings_file(path: Path, vectors: dict[str, np.ndarray], step: int, first: int = 0) -> Path:
    """HDF5 with regular bins; keys are "c1" or "c1/+"."""
    with h5py.File(path, "w") as file:
        for name, values in vectors.items():
            group = file.create_group(name)
            group.create_dataset("embedding", data=values)
            group.attrs["start"], group.attrs["step"] = first, step
    return path


def fitted_pca(folder: Path, file: Path, contigs, train: list[str]) -> Path:
    save(fit(Embeddings(file, contigs), train), folder / "pca.safetensors", [json.loads('{"tool": "t"}')])
    return folder / "pca.safetensors"


def same(found: np.ndarray, wanted: list[float], what: str = "") -> None:
    """Equal to 1e-5 relative or absolute, NaN at the same places."""
    wanted = np.array(wanted, float)
    assert found.dtype == np.float32, what
    assert np.array_equal(np.isnan(found), np.isnan(wanted)), what
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5, err_msg=what)
