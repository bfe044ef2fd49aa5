"""The sequence window around the position, for encoders; trees are not fed with it."""

import numpy as np

from libmeta.genome import decode
from libmeta.schema import Column

NAME = "sequence"
KEYS = ()
DOC = "For sequence encoders and for people; position models do not use it."
SIZE = 501
COLUMNS = (
    Column("sequence", "string", f"{SIZE} bases centred on the position, on its strand; N beyond the contig"),
    Column("window_start", "int64", "first base of the window on the genome", unit="bp, 0-based"),
    Column("window_end", "int64", "one past its last base", unit="bp, 0-based"),
)


class Reader:
    def __init__(self, genome):
        self.genome, self.columns = genome, COLUMNS
        self.inputs = {"genome": genome.path}

    def read(self, window, positions: np.ndarray) -> dict[str, np.ndarray]:
        half = SIZE // 2
        codes = self.genome.codes(window.chrom, window.start - half, window.end + half, window.strand)
        offset = positions - window.start if window.strand == "+" else window.end - 1 - positions
        letters = decode(codes)
        text = [letters[i : i + SIZE] for i in offset.tolist()]
        return {"sequence": text, "window_start": positions - half, "window_end": positions + half + 1}


def open_source(sources) -> Reader:
    return Reader(sources.genome)
