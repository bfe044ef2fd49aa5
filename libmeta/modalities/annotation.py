"""What the annotation says of the position: labels and metadata, never features. 3 columns."""

import numpy as np

from libmeta.modalities import Absent
from libmeta.schema import Column

NAME = "annotation"
KEYS = ()
DOC = "Labels and metadata from the sites table or the annotation of ms.toml; never features."
_NONE = "no annotated site there"
COLUMNS = (
    Column("splice_type", "string", "donor, acceptor or (a one-base exon) both", "label", missing=_NONE,
           values=("donor", "acceptor", "both")),
    Column("transcript_id", "string", "first transcript with the site, in alphabetical order", "label", missing=_NONE),
    Column("transcript_count", "int32", "transcripts with the site", "label", min=0),
)  # fmt: skip


class Reader:
    def __init__(self, sources):
        self.sources, self.columns = sources, COLUMNS
        self.inputs = {}

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        facts = self.sources.facts(window.chrom, window.strand, positions)
        return {c.name: facts[c.name] for c in COLUMNS}


def open_source(sources) -> Reader:
    if not sources.has_genes:
        raise Absent("no annotation, [annotation] tiers in ms.toml; name a GTF, or give sites on standard input")
    return Reader(sources)
