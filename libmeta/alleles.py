"""Alleles of VCF records: reason codes, trimming, left-alignment, and which bases of REF and ALT belong together."""

import re
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from libmeta.genome import Genome, decode, encode

# why an allele has no scores
REASONS = {
    "missing": "no alternative allele, or the missing allele (.)",
    "star": "the allele * (deleted upstream)",
    "symbolic": "a symbolic allele or breakend: no sequence",
    "iupac": "letters other than A, C, G, T in REF or ALT",
    "unknown_contig": "the contig is not in the genome",
    "beyond_contig": "the position or the end of REF is outside the contig",
    "ref_mismatch": "REF is not what the genome has there",
    "too_long": "REF or ALT is longer than --max-length",
    "outside_region": "outside --region",
}
_BASES = re.compile(r"^[ACGTacgt]+$")
_LETTERS = re.compile(r"^[A-Za-z]+$")
_BLOCK = 256  # bases looked at in one go while an allele moves left
_TABLE = 1 << 16  # largest table in which removed and inserted bases are matched


@dataclass(frozen=True)
class Edit:
    """A change of a contig: `removed` from `start` (0-based) on becomes `inserted`; upper-case letters, plus strand.

    Either may be empty; both are where ALT equals REF.
    """

    start: int
    removed: str
    inserted: str

    @property
    def anchor(self) -> int:
        """The first base of the allele as VCF writes it: the base before a pure insertion or deletion (0-based)."""
        return self.start if self.removed and self.inserted else max(self.start - 1, 0)

    @property
    def end(self) -> int:
        """The first base after the reference allele, its anchor included (0-based)."""
        return max(self.start + len(self.removed), self.anchor + 1)

    @cached_property
    def codes(self) -> np.ndarray:
        """Base codes of the inserted bases, uint8 (k,)."""
        return encode(self.inserted)

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """(i, j): removed base i and inserted base j stand in one column; both ascend. The rest is deleted, or new."""
        return _columns(encode(self.removed), encode(self.inserted))

    def window(self, reach: int, length: int) -> tuple[int, int]:
        """[start, end): `reach` bases on either side of the reference allele, inside a contig of `length` bp."""
        return max(self.anchor - reach, 0), min(self.end + reach, length)


def reason(contig: str | None, pos: int, ref: str, alt: str, genome: Genome, longest: int) -> str | None:
    """Why the allele cannot be scored, one of REASONS; None where it can.

    contig: the genome's name of it, None where it has none; pos: 1-based, as VCF has it; longest: bp.
    """
    if alt == ".":
        return "missing"
    if alt == "*":
        return "star"
    if alt[0] == "<" or not _LETTERS.match(alt):
        return "symbolic"
    if contig is None:
        return "unknown_contig"
    if pos < 1 or pos - 1 + len(ref) > genome.contigs.lengths[contig]:
        return "beyond_contig"
    if not _BASES.match(ref) or not _BASES.match(alt):
        return "iupac"
    if max(len(ref), len(alt)) > longest:
        return "too_long"
    if not np.array_equal(encode(ref), genome.codes(contig, pos - 1, pos - 1 + len(ref))):
        return "ref_mismatch"
    return None


def trimmed(pos: int, ref: str, alt: str, left_first: bool = False) -> Edit:
    """The least edit that says the same. pos: 1-based. left_first: the common beginning goes before the common end, so
    that an indel stays where the record has it."""
    start, ref, alt = pos - 1, ref.upper(), alt.upper()
    for left in (left_first, not left_first):
        if left:
            same = _shared(ref, alt)
            start, ref, alt = start + same, ref[same:], alt[same:]
        else:
            same = _shared(ref[::-1], alt[::-1])
            ref, alt = ref[: len(ref) - same], alt[: len(alt) - same]
    return Edit(start, ref, alt)


def normalise(contig: str, pos: int, ref: str, alt: str, genome: Genome) -> Edit:
    """The least edit that says the same, as far left as it goes (Tan et al. 2015), so that all spellings are one.

    pos: 1-based; ref is what the genome has there.
    """
    edit = trimmed(pos, ref, alt)
    start, ref, alt = edit.start, edit.removed, edit.inserted
    if bool(ref) == bool(alt):
        return edit
    start, turned = _leftmost(contig, start, ref or alt, genome)
    return Edit(start, turned, "") if ref else Edit(start, "", turned)


def _shared(one: str, other: str) -> int:
    """Length of the common beginning."""
    length = min(len(one), len(other))
    differ = np.flatnonzero(encode(one[:length]) != encode(other[:length]))
    return int(differ[0]) if len(differ) else length


def _leftmost(contig: str, start: int, unit: str, genome: Genome) -> tuple[int, str]:
    """Move the inserted or deleted `unit` left while the base before it equals its last; unknown bases stop it."""
    moved, size = 0, len(unit)
    codes = encode(unit)
    while start - moved > 0:
        low = max(start - moved - _BLOCK, 0)
        before = genome.codes(contig, low, start - moved)[::-1]
        for base in before:
            if base == 0 or base != codes[-1 - moved % size]:
                break
            moved += 1
        else:
            continue
        break
    turn = moved % size
    return start - moved, decode(np.roll(codes, turn))


def _columns(removed: np.ndarray, inserted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns of a global alignment with the fewest changes; of equal ones, the gaps as far left as they go.

    Alleles too long for the table are paired from the left.
    """
    rows, columns = len(removed), len(inserted)
    if rows == columns or not rows or not columns or rows * columns > _TABLE:
        shared = np.arange(min(rows, columns))
        return shared, shared
    cost = np.add.outer(np.arange(rows + 1), np.arange(columns + 1))
    for i in range(1, rows + 1):
        swap = cost[i - 1, :-1] + (removed[i - 1] != inserted)
        for j in range(1, columns + 1):
            cost[i, j] = min(swap[j - 1], cost[i - 1, j] + 1, cost[i, j - 1] + 1)
    pairs, i, j = [], rows, columns
    while i and j:
        if cost[i, j] == cost[i - 1, j - 1] + (removed[i - 1] != inserted[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif cost[i, j] == cost[i - 1, j] + 1:
            i -= 1
        else:
            j -= 1
    first, second = np.array(pairs[::-1], np.int64).reshape(-1, 2).T
    return first, second
