"""Every base of a region: codes, base scores and channels of one strand, in genome orientation."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from libmeta import modalities
from libmeta.errors import MetaError
from libmeta.features import Sources, Window
from libmeta.modalities import Channel
from libmeta.regions import Region, merge

GRID = 1 << 18  # core bases of a piece of the stream: long against any flank, small in memory


@dataclass
class Piece:
    """[start, end) of a contig on one strand, 0-based half-open, genome orientation; it may reach beyond the contig.

    codes: uint8 (L,) of the PLUS strand, 0 unknown, 1..4 A C G T. core: bool (L,), the base belongs to the regions asked
    for (else it is flank). base: float32 (K, 2, L), donor and acceptor probability of each base model. channels: float32
    (C, L), raw. Unknown is NaN in both, and code 0.
    """

    chrom: str
    start: int
    end: int
    strand: str
    codes: np.ndarray
    core: np.ndarray
    base: np.ndarray
    channels: np.ndarray

    def cut(self, start: int, end: int) -> "Piece":
        """The part [start, end) of it, as views."""
        at = slice(start - self.start, end - self.start)
        arrays = self.codes[at], self.core[at], self.base[:, :, at], self.channels[:, at]
        return Piece(self.chrom, start, end, self.strand, *arrays)


def channels(readers: dict) -> dict[str, Channel]:
    """{modality.channel: Channel} of the readers that have channels, in their order."""
    return {f"{name}.{c.name}": c for name, reader in readers.items() for c in getattr(reader, "channels", ())}


def read_piece(
    sources: Sources,
    readers: dict,
    base_names: list[str],
    channel_names: list[str],
    chrom: str,
    start: int,
    end: int,
    strand: str,
    core: np.ndarray | None = None,
) -> Piece:
    """Read [start, end) of a strand from the sources.

    base_names: of sources.base_scores, in the order wanted. channel_names: full names; a channel that no reader has
    (because the user lacks its source, which the caller declares) is NaN, one that no modality knows is an error. core:
    bool (end - start,), all True where it is None.
    """
    length = end - start
    base = np.empty((len(base_names), 2, length), np.float32)
    for row, name in zip(base, base_names, strict=True):
        row[0], row[1] = sources.base_scores[name].read(chrom, start, end, strand)
    values = np.full((len(channel_names), length), np.nan, np.float32)
    window, read = Window(sources, chrom, start, end, strand), {}
    for row, name in zip(values, channel_names, strict=True):
        modality, _, channel = name.partition(".")
        if modality not in readers:
            modalities.get(modality, f"channel {name}")
            continue
        if modality not in read:
            read[modality] = readers[modality].dense(window)
        if channel in read[modality]:
            row[:] = read[modality][channel]
        elif name not in [c.name for c in modalities.channels(modality)]:
            known = ", ".join(c.name for c in modalities.channels(modality)) or "none"
            raise MetaError(f"unknown channel {name}, modality {modality}; known: {known}")
    codes = sources.genome.codes(chrom, start, end)
    return Piece(chrom, start, end, strand, codes, np.ones(length, bool) if core is None else core, base, values)


def pieces(
    sources: Sources,
    readers: dict,
    base_names: list[str],
    channel_names: list[str],
    regions: list[Region],
    flank: int,
    size: int = GRID,
) -> Iterator[tuple[Piece, int]]:
    """(piece, its core bases) of the regions, merged per strand and cut on a fixed grid of `size` bases.

    Each piece has `flank` further bases on both sides, whatever stands there, and its core between them. They come in
    genome order of the grid's cells; within a cell by start, plus before minus.
    """
    for region in cells(regions, sources.genome.contigs, size):
        yield cell_piece(sources, readers, base_names, channel_names, region, flank), region.end - region.start


def cell_piece(
    sources: Sources, readers: dict, base_names: list[str], channel_names: list[str], region: Region, flank: int
) -> Piece:
    """The piece of one cell with its flanks."""
    start, end = region.start - flank, region.end + flank
    core = np.zeros(end - start, bool)
    core[flank : flank + region.end - region.start] = True
    return read_piece(sources, readers, base_names, channel_names, region.chrom, start, end, region.strand, core)


def cells(regions: list[Region], contigs, size: int) -> list[Region]:
    """The merged regions, cut at multiples of `size`, in the order in which pieces() takes them."""
    found = [
        Region(r.chrom, max(r.start, low), min(r.end, low + size), r.strand)
        for r in merge(regions, contigs)
        for low in range(r.start // size * size, r.end, size)
    ]
    return sorted(found, key=lambda r: (contigs.order[r.chrom], r.start // size, r.start, r.strand))
