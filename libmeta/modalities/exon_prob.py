"""Probability that the base is exonic on its strand, from an exon classifier: 1 column."""

import numpy as np

from libmeta.errors import MetaError
from libmeta.modalities import Absent, Channel
from libmeta.schema import Column
from libmeta.tracks import BigWig, evidence_bigwig

NAME = "exon_prob"
KEYS = ("plus", "minus", "both")
DOC = (
    "From [modalities.exon_prob] plus and minus, a bigWig for each strand, or both, one bigWig that does not tell the "
    "strands apart."
)
_MISSING = "no file for the strand, or the classifier was not run there"
COLUMNS = (
    Column("exon_prob", "float32", "probability that the base is exonic", "feature", unit="probability", min=0, max=1,
           missing=_MISSING),
)  # fmt: skip
CHANNELS = (Channel("exon_prob", "probability that the base is exonic", "probability", missing=_MISSING),)


class Reader:
    def __init__(self, tracks: dict[str, BigWig]):
        self.tracks, self.columns, self.channels = tracks, COLUMNS, CHANNELS
        self.inputs = {key: track.path for key, track in tracks.items()}

    def _values(self, window) -> np.ndarray:
        track = self.tracks.get("both") or self.tracks.get("plus" if window.strand == "+" else "minus")
        if track is None:
            return np.full(window.end - window.start, np.nan, np.float32)
        values = track.values(window.chrom, window.start, window.end)
        bad = (values < 0) | (values > 1)
        if bad.any():
            i = int(np.argmax(bad))
            at = f"{window.chrom}:{window.start + i + 1}"
            raise MetaError(f"{values[i]:g} at {at} is no probability, {track.path}; give the exon classifier's bigWig")
        return values

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        return {"exon_prob": self._values(window)[positions - window.start]}

    def dense(self, window) -> dict[str, np.ndarray]:
        return {"exon_prob": self._values(window)}


def open_source(sources) -> Reader:
    named = sources.config.modality(NAME, KEYS)
    if not named:
        raise Absent("no exon probabilities, [modalities.exon_prob] in ms.toml; name plus and minus bigWigs, or both")
    if "both" in named and len(named) > 1:
        raise MetaError(
            f"both and {'plus' if 'plus' in named else 'minus'}, [modalities.exon_prob] in {sources.config.name}; name "
            "plus and minus, or both alone"
        )
    return Reader({key: evidence_bigwig(named[key], sources.genome.contigs) for key in KEYS if key in named})
