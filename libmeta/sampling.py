"""Which positions become rows, and with what probability.

A position is certain where the base model says >= min_score or where a labelled site is; else it is drawn with the
dinucleotide rate where a splice dinucleotide is beside it, and with the background rate everywhere. Its weight is the
inverse of that probability, so that weighted metrics hold at true prevalence. The draw is a hash of (seed, contig,
position, strand): it depends on nothing else, so pieces and batches do not change it.
"""

import zlib
from dataclasses import dataclass

import numpy as np

from libmeta.errors import USAGE, MetaError
from libmeta.genome import encode

DONOR_AFTER = ("GT", "GC")
ACCEPTOR_BEFORE = ("AG",)
AMONG = 0.18  # of bases beside one of them, in random sequence


@dataclass(frozen=True)
class Sampling:
    """min_score: base score from which a position is certain. dinucleotide, background: probabilities of the draws."""

    min_score: float = 0.01
    dinucleotide: float = 0.1
    background: float = 0.01
    seed: int = 1

    def __post_init__(self):
        for name in ("min_score", "dinucleotide", "background"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= 1:
                raise MetaError(
                    f"{name} must be in [0, 1], not {value!r}, sampling options or [sampling] in ms.toml",
                    USAGE,
                )
        if self.background == 0:
            raise MetaError(
                "background 0 leaves most negatives without any chance of being drawn, so no metric would hold at true "
                "prevalence, sampling options; use a small rate",
                USAGE,
            )

    def share(self) -> float:
        """About which share of the bases of a strand is drawn, labelled sites and certain positions not counted."""
        return 1.0 if self.min_score == 0 else min(self.background + AMONG * self.dinucleotide, 1.0)


def uniform(seed: int, chrom: str, strand: str, positions: np.ndarray) -> np.ndarray:
    """A number in [0, 1) for each position, float64 (n,), from a hash (splitmix64)."""
    salt = zlib.crc32(f"{seed}|{chrom}|{strand}".encode())
    with np.errstate(over="ignore"):
        x = positions.astype(np.uint64) + np.uint64(salt) * np.uint64(0x9E3779B97F4A7C15)
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
        x ^= x >> np.uint64(31)
    return (x >> np.uint64(11)).astype(np.float64) / 2.0**53


def splice_dinucleotides(codes: np.ndarray) -> np.ndarray:
    """Whether a donor (GT, GC after) or an acceptor (AG before) could be here, bool (L,).

    codes: (L + 4,) base codes in transcript orientation, two beyond each end.
    """
    pairs = codes[:-1] * np.uint8(5) + codes[1:]
    length = len(codes) - 4
    return _among(DONOR_AFTER)[pairs[3 : 3 + length]] | _among(ACCEPTOR_BEFORE)[pairs[:length]]


def _among(wanted: tuple[str, ...]) -> np.ndarray:
    """Whether each pair of codes is one of the dinucleotides, bool (25,)."""
    table = np.zeros(25, bool)
    for first, second in map(encode, wanted):
        table[int(first) * 5 + int(second)] = True
    return table


def draw(
    sampling: Sampling, window, codes: np.ndarray, score: np.ndarray | None, sites: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of a window, ascending int64 (n,), and their weights, float32 (n,).

    codes: base codes of the window with two more on each side, transcript orientation. score: max(donor, acceptor) of
    every base, genome orientation, NaN where not scored; None without a base model. sites: labelled positions.
    Positions whose own base is unknown (N) are left out unless they are labelled.
    """
    can = splice_dinucleotides(codes)
    known = codes[2:-2] > 0
    if window.strand == "-":
        can, known = can[::-1], known[::-1]
    chance = np.where(can, 1 - (1 - sampling.dinucleotide) * (1 - sampling.background), sampling.background)
    if score is not None:
        chance = np.where(score >= sampling.min_score, 1.0, chance)
    chance = np.where(known, chance, 0.0)
    chance[sites - window.start] = 1.0
    positions = np.arange(window.start, window.end)
    taken = uniform(sampling.seed, window.chrom, window.strand, positions) < chance
    return positions[taken], (1 / chance[taken]).astype(np.float32)
