"""Open chromatin across tissues, from ATAC-seq and DNase-seq: 12 columns."""

import numpy as np

from libmeta.modalities import Absent, Channel
from libmeta.schema import Column
from libmeta.tissue_tracks import TissueTracks, summaries

NAME = "chrom_access"
ASSAYS = ("atac", "dnase")
KEYS = ASSAYS
REACH = 150
ABOVE = {"atac": 2.0, "dnase": 5.0}
PEAK = {"atac": 3.0, "dnase": 10.0}
DOC = (
    "From [modalities.chrom_access] atac and dnase, each a file or {tissue = file}: bigWig, bedGraph, narrowPeak, "
    "broadPeak, BED or bigBed of fold change (ATAC) and read depth (DNase). Across the tissues with a value at the base; "
    "context is of the mean across tissues."
)
_MISSING = "assay not named, or no tissue has a value there (between peaks of a peak file the value is 0)"
_AROUND = "assay not named, or no base around has a value"


def _columns(assay: str) -> list[Column]:
    def column(name: str, doc: str, unit: str = "", high: float | None = None, missing: str = _MISSING) -> Column:
        return Column(f"{assay}_{name}", "float32", doc, "feature", unit=unit, min=0, max=high, missing=missing)

    return [
        column("max_across_tissues", "highest value over tissues", "signal"),
        column("mean_across_tissues", "mean over tissues", "signal"),
        column("tissue_breadth", f"tissues above {ABOVE[assay]:g}", "tissues"),
        column("variance", "variance over tissues (population)", "signal squared"),
        column("context_mean", f"mean over +-{REACH} bp, centre included", "signal", missing=_AROUND),
        column("has_peak", f"1 if any tissue is above {PEAK[assay]:g}", "", 1),
    ]


COLUMNS = tuple(c for assay in ASSAYS for c in _columns(assay))
CHANNELS = tuple(
    Channel(f"{assay}_max", f"highest value of {assay} over tissues", "signal", log1p=True, missing=_MISSING)
    for assay in ASSAYS
)


class Reader:
    def __init__(self, assays: dict[str, TissueTracks]):
        self.assays, self.columns = assays, COLUMNS
        self.channels = tuple(c for c in CHANNELS if c.name.removesuffix("_max") in assays)
        self.opened = {f"{assay}{t}": track for assay, tracks in assays.items() for t, track in tracks.opened.items()}
        self.inputs = {key: track.path for key, track in self.opened.items()}

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        out = {c.name: np.full(len(positions), np.nan, np.float32) for c in COLUMNS}
        for assay, tracks in self.assays.items():
            found = summaries(tracks, window, positions, ABOVE[assay], REACH)
            top = found["max_across_tissues"]
            found["has_peak"] = np.where(np.isnan(top), np.nan, top > PEAK[assay])
            for name in ("upstream", "downstream"):
                del found[name]
            out |= {f"{assay}_{name}": values.astype(np.float32) for name, values in found.items()}
        return out

    def dense(self, window) -> dict[str, np.ndarray]:
        return {f"{a}_max": t.highest(window.chrom, window.start, window.end) for a, t in self.assays.items()}


def open_source(sources) -> Reader:
    named = sources.config.modality(NAME)
    where = f"[modalities.{NAME}]"
    assays = {
        assay: TissueTracks(named[assay], sources.genome.contigs, f"{where} {assay} in {sources.config.name}")
        for assay in ASSAYS
        if assay in named
    }
    if not assays:
        raise Absent(f"no open chromatin, {where} in ms.toml; name atac or dnase files")
    return Reader(assays)
