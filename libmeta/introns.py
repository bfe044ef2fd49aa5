"""Introns and the splice sites that flank them; sites as single integers, so that joins are array operations.

A site key packs (contig index, pos, strand, kind) so that keys sort as site tables do: contig order of the genome, pos,
"+" before "-", acceptor before donor.
"""

import numpy as np

DONOR, ACCEPTOR, NEITHER = 0, 1, 2
PLUS, MINUS = 1, -1
SITE_NAMES = ("donor", "acceptor", "neither")
_CONTIG_SHIFT = 42  # 40 bits of position, one of strand, one of kind


def pack(chrom: np.ndarray, pos: np.ndarray, strand: np.ndarray, site: np.ndarray | int) -> np.ndarray:
    """Keys, int64 (n,). chrom: contig index; pos: 0-based; strand: +1 or -1; site: DONOR or ACCEPTOR."""
    chrom, pos = np.asarray(chrom, np.int64), np.asarray(pos, np.int64)
    minus, donor = np.asarray(strand) < 0, np.asarray(site) == DONOR
    return (chrom << _CONTIG_SHIFT) | (pos << 2) | (minus.astype(np.int64) << 1) | donor.astype(np.int64)


def unpack(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """chrom int32, pos int64, strand int8 (+1/-1), site uint8 of keys."""
    keys = np.asarray(keys, np.int64)
    chrom = (keys >> _CONTIG_SHIFT).astype(np.int32)
    pos = (keys >> 2) & ((1 << (_CONTIG_SHIFT - 2)) - 1)
    strand = np.where(keys & 2, MINUS, PLUS).astype(np.int8)
    site = np.where(keys & 1, DONOR, ACCEPTOR).astype(np.uint8)
    return chrom, pos, strand, site


def flanking_sites(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, strand: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Donor and acceptor keys of introns [start, end), 0-based half-open.

    Plus: donor = start - 1 (last base of the exon before), acceptor = end. Minus: donor = end, acceptor = start - 1.
    """
    plus = np.asarray(strand) > 0
    before, after = np.asarray(start, np.int64) - 1, np.asarray(end, np.int64)
    donor = pack(chrom, np.where(plus, before, after), strand, DONOR)
    acceptor = pack(chrom, np.where(plus, after, before), strand, ACCEPTOR)
    return donor, acceptor


def exon_sides(
    chrom: np.ndarray, start: np.ndarray, end: np.ndarray, strand: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Acceptor and donor keys at the two ends of exons [start, end), 0-based half-open (whether real sites or not)."""
    plus = np.asarray(strand) > 0
    first, last = np.asarray(start, np.int64), np.asarray(end, np.int64) - 1
    acceptor = pack(chrom, np.where(plus, first, last), strand, ACCEPTOR)
    donor = pack(chrom, np.where(plus, last, first), strand, DONOR)
    return acceptor, donor


def member(keys: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where keys stand in the sorted unique array `known`: (index int64 (n,), 0 where absent; found bool (n,))."""
    if not len(known):
        return np.zeros(len(keys), np.int64), np.zeros(len(keys), bool)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    found = known[at] == keys
    return np.where(found, at, 0), found


def intron_key(chrom: np.ndarray, start: np.ndarray, end: np.ndarray, strand: np.ndarray) -> np.ndarray:
    """Introns as a structured array (n,) that np.unique and np.isin take."""
    key = np.empty(len(start), [("chrom", "i4"), ("start", "i8"), ("end", "i8"), ("strand", "i1")])
    key["chrom"], key["start"], key["end"], key["strand"] = chrom, start, end, strand
    return key
