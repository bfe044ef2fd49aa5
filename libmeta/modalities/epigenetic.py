"""Histone marks H3K36me3 (gene bodies, exons) and H3K4me3 (promoters) across tissues: 12 columns."""

import numpy as np

from libmeta.modalities import Absent, Channel
from libmeta.schema import Column
from libmeta.tissue_tracks import FLANK, TissueTracks, summaries

NAME = "epigenetic"
MARKS = ("h3k36me3", "h3k4me3")
KEYS = MARKS
REACH = 200
ABOVE = 1.5
DOC = (
    "From [modalities.epigenetic] h3k36me3 and h3k4me3, each a file or {tissue = file}: bigWig, bedGraph, narrowPeak, "
    "broadPeak, BED or bigBed of fold change. Across the tissues with a value at the base; context and ratio are of the "
    "mean across tissues."
)
_MISSING = "mark not named, or no tissue has a value there (between peaks of a peak file the value is 0)"
_AROUND = "mark not named, or no base around has a value"


def _columns(mark: str) -> list[Column]:
    def column(name: str, doc: str, unit: str = "", low: float | None = 0, missing: str = _MISSING) -> Column:
        return Column(f"{mark}_{name}", "float32", doc, "feature", unit=unit, min=low, missing=missing)

    return [
        column("max_across_tissues", "highest value over tissues", "signal"),
        column("mean_across_tissues", "mean over tissues", "signal"),
        column("tissue_breadth", f"tissues above {ABOVE}", "tissues"),
        column("variance", "variance over tissues (population)", "signal squared"),
        column("context_mean", f"mean over +-{REACH} bp, centre included", "signal", missing=_AROUND),
        column(
            "exon_intron_ratio",
            f"log2(mean of the {FLANK} bp upstream + 1) - log2(mean of the {FLANK} bp downstream + 1), transcript direction",
            "log2",
            None,
            f"mark not named, or no value on one of the sides of {FLANK} bp",
        ),
    ]


COLUMNS = tuple(c for mark in MARKS for c in _columns(mark))
CHANNELS = tuple(
    Channel(f"{mark}_max", f"highest value of {mark} over tissues", "signal", log1p=True, missing=_MISSING)
    for mark in MARKS
)


class Reader:
    def __init__(self, marks: dict[str, TissueTracks]):
        self.marks, self.columns = marks, COLUMNS
        self.channels = tuple(c for c in CHANNELS if c.name.removesuffix("_max") in marks)
        self.opened = {f"{mark}{t}": track for mark, tracks in marks.items() for t, track in tracks.opened.items()}
        self.inputs = {key: track.path for key, track in self.opened.items()}

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        out = {c.name: np.full(len(positions), np.nan, np.float32) for c in COLUMNS}
        for mark, tracks in self.marks.items():
            found = summaries(tracks, window, positions, ABOVE, REACH)
            up, down = found.pop("upstream"), found.pop("downstream")
            found["exon_intron_ratio"] = np.log2(up + 1) - np.log2(down + 1)
            out |= {f"{mark}_{name}": values.astype(np.float32) for name, values in found.items()}
        return out

    def dense(self, window) -> dict[str, np.ndarray]:
        return {f"{m}_max": t.highest(window.chrom, window.start, window.end) for m, t in self.marks.items()}


def open_source(sources) -> Reader:
    named = sources.config.modality(NAME)
    where = f"[modalities.{NAME}]"
    marks = {
        mark: TissueTracks(named[mark], sources.genome.contigs, f"{where} {mark} in {sources.config.name}")
        for mark in MARKS
        if mark in named
    }
    if not marks:
        raise Absent(f"no histone mark, {where} in ms.toml; name h3k36me3 or h3k4me3 files")
    return Reader(marks)
