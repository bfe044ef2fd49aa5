"""Base scores that were made before: four bigWigs of a prefix, or one Parquet table; any base model's."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from libmeta.contigs import Contigs
from libmeta.errors import MetaError
from libmeta.streams import read_metadata
from libmeta.tracks import TRACKS, ScoreTracks

NEEDED = ("chrom", "pos", "strand", "donor", "acceptor")


class ScoreTable:
    """A Parquet table in the base_scores (or scores) format, read one contig at a time."""

    def __init__(self, path: str | Path, contigs: Contigs):
        self.path = str(path)
        self.inputs = {"table": self.path}
        try:
            self._file = pq.ParquetFile(self.path)
            names = pc.unique(pq.read_table(self.path, columns=["chrom"])["chrom"]).to_pylist()
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            raise MetaError(f"not a Parquet table of scores, {self.path}; make it with ms-basescore") from error
        self.about = read_metadata(self._file.schema_arrow)
        if lacking := [c for c in NEEDED if c not in self._file.schema_arrow.names]:
            raise MetaError(f"no column {lacking[0]}, {self.path}; a table of scores has {', '.join(NEEDED)}")
        self._theirs = {ours: theirs for theirs, ours in contigs.match(names, self.path).items()}
        self._chrom, self._rows = None, {}

    def _load(self, chrom: str) -> None:
        table = pq.read_table(self.path, columns=list(NEEDED), filters=[("chrom", "==", self._theirs[chrom])])
        self._chrom, self._rows = chrom, {}
        for strand in "+-":
            part = table.filter(pc.equal(table["strand"], strand))
            pos = part["pos"].to_numpy()
            order = np.argsort(pos, kind="stable")
            pos = pos[order]
            if len(pos) and (np.diff(pos) == 0).any():
                raise MetaError(f"a position stands twice on {chrom} {strand}, {self.path}; make the table again")
            sites = (part[c].to_numpy().astype(np.float32)[order] for c in ("donor", "acceptor"))
            self._rows[strand] = (pos, *sites)

    def read(self, chrom: str, start: int, end: int, strand: str) -> tuple[np.ndarray, np.ndarray]:
        """(donor, acceptor) of [start, end), float32, genome orientation; NaN where there is no row."""
        out = tuple(np.full(end - start, np.nan, np.float32) for _ in range(2))
        if chrom not in self._theirs:
            return out
        if chrom != self._chrom:
            self._load(chrom)
        pos, *values = self._rows[strand]
        low, high = np.searchsorted(pos, (start, end))
        for track, value in zip(out, values, strict=True):
            track[pos[low:high] - start] = value[low:high]
        return out


def open_entry(entry: dict, genome, device: str = "auto", threads: int | None = None):
    """A base model of ms.toml (see Config.base_scores): an object with .inputs, .about and .read(...).

    device, threads: of a model that is run where scores are wanted.
    """
    if "prefix" in entry:
        return open_scores(entry["prefix"], genome.contigs)
    from libmeta.score_cache import open_model

    return open_model(entry["model"], genome, entry["weights"], device=device, threads=threads, cache=entry["cache"])


def open_scores(prefix: str | Path, contigs: Contigs):
    """Scores by prefix (bigWigs) or by the name of a .parquet file; an object with .inputs and .read(...)."""
    if str(prefix).endswith(".parquet"):
        return ScoreTable(prefix, contigs)
    first = Path(f"{prefix}.{TRACKS['donor', '+']}")
    if not first.exists():
        raise MetaError(f"no base scores, {first}; make them with ms-basescore -o {prefix}, or mend ms.toml")
    return ScoreTracks(prefix, contigs)
