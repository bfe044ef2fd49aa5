"""The two intronic bases beside a site: GT, GC or AT after a donor, AG or AC before an acceptor."""

import logging
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from libmeta.errors import MetaError
from libmeta.genome import Genome
from libmeta.introns import DONOR, unpack

log = logging.getLogger("libmeta")

DONORS, ACCEPTORS = ("GT", "GC", "AT"), ("AG", "AC")
FEWEST = 20  # below this many sites a rate says nothing
_BLOCK = 1 << 23
_LETTERS = "NACGT"
_PAIRS = [a + b for a in _LETTERS for b in _LETTERS]
_FITS = np.array([[p in DONORS for p in _PAIRS], [p in ACCEPTORS for p in _PAIRS]])  # (2 kinds, 25 pairs)
_KNOWN = np.array(["N" not in p for p in _PAIRS])


def _bases(genome: Genome, name: str, pos: np.ndarray) -> np.ndarray:
    """Plus-strand base codes at sorted or unsorted 0-based positions, uint8; 0 outside; reads only blocks in use."""
    out = np.zeros(len(pos), np.uint8)
    order = np.argsort(pos, kind="stable")
    ordered = pos[order]
    inside = np.flatnonzero((ordered >= 0) & (ordered < genome.contigs.lengths[name]))
    while len(inside):
        low = int(ordered[inside[0]])
        stop = np.searchsorted(ordered[inside], low + _BLOCK)
        chunk, inside = inside[:stop], inside[stop:]
        codes = genome.codes(name, low, int(ordered[chunk[-1]]) + 1)
        out[order[chunk]] = codes[ordered[chunk] - low]
    return out


def beside(genome: Genome, keys: np.ndarray) -> np.ndarray:
    """Pair index uint8 (n,) of the two intronic bases beside each site key, on its strand in transcript direction."""
    chrom, pos, strand, site = unpack(keys)
    after = (site == DONOR) == (strand > 0)  # the intron lies at higher coordinates
    low = np.where(after, pos + 1, pos - 2)
    first, second = np.zeros(len(keys), np.uint8), np.zeros(len(keys), np.uint8)
    names = list(genome.contigs.lengths)
    for index in np.unique(chrom):
        rows = np.flatnonzero(chrom == index)
        both = _bases(genome, names[index], np.concatenate([low[rows], low[rows] + 1]))
        first[rows], second[rows] = both[: len(rows)], both[len(rows) :]
    complement = np.array([0, 4, 3, 2, 1], np.uint8)
    minus = strand < 0
    first, second = np.where(minus, complement[second], first), np.where(minus, complement[first], second)
    return (first * 5 + second).astype(np.uint8)


def fits(pairs: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(fits, known), bool (n,): the pair is one that its kind of site takes; neither base is N or outside."""
    kind = (keys & 1) ^ 1  # donor is row 0 of _FITS
    return _FITS[kind, pairs], _KNOWN[pairs]


def canonical(pairs: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """bool (n,): GT beside a donor, AG beside an acceptor."""
    return pairs == np.where(keys & 1, _PAIRS.index("GT"), _PAIRS.index("AG"))


def letters(pairs: np.ndarray) -> pa.Array:
    """Pairs as strings, N for what is not known."""
    return pa.array(_PAIRS).take(pa.array(pairs.astype(np.int32)))


@dataclass(frozen=True)
class Rate:
    """How many of the sites of one strand and kind have a fitting dinucleotide, of those with known sequence."""

    strand: str
    site: str
    fitting: int
    known: int

    @property
    def share(self) -> float:
        return self.fitting / self.known if self.known else float("nan")


def rates(keys: np.ndarray, pairs: np.ndarray) -> list[Rate]:
    """Rates per strand and kind: + donor, + acceptor, - donor, - acceptor."""
    good, known = fits(pairs, keys)
    out = []
    for strand, minus in (("+", 0), ("-", 2)):
        for site, donor in (("donor", 1), ("acceptor", 0)):
            rows = ((keys & 3) == (minus | donor)) & known
            out.append(Rate(strand, site, int((good & rows).sum()), int(rows.sum())))
    return out


def check(found: list[Rate], minimum: float, build: str | None, where: str) -> None:
    """Stop where fewer than `minimum` of a strand's sites fit; a strand of fewer than FEWEST sites only gets a warning.

    Raises MetaError that names the genome's build: below that rate the annotation is of another one, or shifted.
    """
    for strand in "+-":
        fitting = sum(r.fitting for r in found if r.strand == strand)
        known = sum(r.known for r in found if r.strand == strand)
        if not known or fitting >= minimum * known:
            continue
        what = f"{fitting:,} of {known:,} sites ({fitting / known:.1%}) on strand {strand} have a splice dinucleotide"
        if known < FEWEST:
            log.warning("warning: only %s, %s; too few to judge the build by", what, where)
            continue
        raise MetaError(
            f"only {what}, {where}; the genome is {build or 'of unknown build'} and the annotation likely of another "
            "build or with shifted coordinates: use files of one build (--min-dinucleotide sets the limit)"
        )
