"""Conservation of the position and its surroundings from phyloP and phastCons tracks: 9 columns."""

from functools import lru_cache

import numpy as np

from libmeta.modalities import Absent, Channel
from libmeta.schema import Column
from libmeta.tracks import BigWig, evidence_bigwig
from libmeta.window_sums import Moments, max_around

NAME = "conservation"
KEYS = ("phylop", "phastcons")
DOC = "From [modalities.conservation] phylop and phastcons (bigWig); context is +-10 bp, centre included."
REACH = 10
TRACKS = ("phylop", "phastcons")
_MISSING = "no track named, or no aligned base there"


def _columns(track: str) -> list[Column]:
    unit = "phyloP score" if track == "phylop" else "probability"
    docs = {
        "score": f"{track} at the position",
        "context_mean": f"mean of {track} over +-{REACH} bp",
        "context_max": f"maximum of {track} over +-{REACH} bp",
        "context_std": f"standard deviation of {track} over +-{REACH} bp (population)",
    }
    return [Column(f"{track}_{k}", "float32", v, "feature", unit=unit, missing=_MISSING) for k, v in docs.items()]


COLUMNS = (
    *(c for t in TRACKS for c in _columns(t)),
    Column(
        "conservation_contrast",
        "float32",
        "phylop_score - phylop_context_mean (phastcons where phylop is not named)",
        "feature",
        missing=_MISSING,
    ),
)
CHANNELS = tuple(
    Channel(c.name, c.doc, c.unit, missing=_MISSING) for c in COLUMNS if c.name in [f"{t}_score" for t in TRACKS]
)


class Reader:
    def __init__(self, tracks: dict[str, BigWig]):
        self.tracks, self.columns = tracks, COLUMNS
        self.channels = tuple(c for c in CHANNELS if c.name.removesuffix("_score") in tracks)
        self.inputs = {name: t.path for name, t in tracks.items()}
        self._around = lru_cache(maxsize=1)(self._around)  # the same on both strands

    def _around(self, chrom: str, start: int, end: int) -> dict[str, tuple[np.ndarray, Moments]]:
        values = {name: track.values(chrom, start, end) for name, track in self.tracks.items()}
        return {name: (v, Moments(v)) for name, v in values.items()}

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        absent = np.full(len(positions), np.nan, np.float32)
        out = {c.name: absent for c in COLUMNS}
        at = positions - window.start + REACH
        for name, (values, moments) in self._around(window.chrom, window.start - REACH, window.end + REACH).items():
            count, total, squares = moments.around(at, REACH)
            with np.errstate(invalid="ignore", divide="ignore"):
                mean = total / count
                std = np.sqrt(np.maximum(squares / count - mean**2, 0))
            out[f"{name}_score"] = values[at].astype(np.float64)
            out[f"{name}_context_mean"] = mean
            out[f"{name}_context_max"] = max_around(values, at, REACH)
            out[f"{name}_context_std"] = std
        first = next(t for t in TRACKS if t in self.tracks)
        out["conservation_contrast"] = out[f"{first}_score"] - out[f"{first}_context_mean"]
        return {k: np.asarray(v, np.float32) for k, v in out.items()}

    def dense(self, window) -> dict[str, np.ndarray]:
        return {f"{n}_score": t.values(window.chrom, window.start, window.end) for n, t in self.tracks.items()}


def open_source(sources) -> Reader:
    named = sources.config.modality(NAME, KEYS)
    tracks = {t: evidence_bigwig(named[t], sources.genome.contigs) for t in TRACKS if t in named}
    if not tracks:
        raise Absent("no conservation track, [modalities.conservation] in ms.toml; name phylop or phastcons bigWigs")
    return Reader(tracks)
