"""A stretch of sequence and the variants on it: edits in, shapes for the cone, aligned scores out."""

from collections.abc import Iterator
from dataclasses import dataclass
from threading import Lock

import numpy as np

from libmeta.engines.cone_net import Group
from libmeta.resnet import BASES, CLASSES

MOST_DISTANCE = 10_000
STEP = 64  # alleles are prolonged by unchanged bases, fewer than this, to the length of others


@dataclass(frozen=True)
class Edit:
    """Bases [position, position + deleted) of the stretch replaced by `inserted` (uint8 codes, may be empty)."""

    position: int
    deleted: int
    inserted: np.ndarray

    @property
    def end(self) -> int:
        """Position behind the deleted bases."""
        return self.position + self.deleted


@dataclass(frozen=True)
class Stretch:
    """A piece of sequence and the haplotypes to score on it.

    codes: (L + 2 * context,) uint8, position 0 is codes[context]; haplotypes: edits of one sequence each, sorted,
    apart, inside [0, L).
    """

    codes: np.ndarray
    haplotypes: list[list[Edit]]


@dataclass(frozen=True)
class Scored:
    """Scores of one haplotype, from `distance` bases before its first edit to as many after its last.

    start: position of the first row of ref. ref (n, 3), alt (m, 3): probabilities of donor, acceptor, neither.
    alt_row (n,): row of alt that is the same base as a row of ref, -1 where the ALT sequence has none. Of an edit that
    replaces bases by another number of bases, the first ones are paired; rows of alt that no row of ref names are
    inserted bases.
    """

    start: int
    ref: np.ndarray
    alt: np.ndarray
    alt_row: np.ndarray

    @property
    def delta(self) -> np.ndarray:
        """(n, 3) float32: alt - ref at every reference base; a deleted base counts as alt = 0."""
        paired = self.alt_row >= 0
        change = -self.ref
        change[paired] += self.alt[self.alt_row[paired]]
        return change


class Task:
    """A stretch made ready: haplotypes as one replacement each, grouped by shape, and sums over the networks.

    low, high: reference positions to score; codes: theirs and `context` more on both sides. ref (high - low, 3), alt
    per group (V, rows, 3): sums in float64, so that the order of the networks does not show. ValueError if the stretch
    or the distance is not as Stretch and VariantScorer.score say.
    """

    def __init__(self, stretch: Stretch, context: int, distance: int):
        self.distance, self.haplotypes = distance, stretch.haplotypes
        self.length = _check(stretch, context, distance)
        shapes = self._shapes(np.pad(stretch.codes[context:], (0, STEP)))
        self.groups = [
            Group(np.array([start for start, _, _ in members]), np.array([shift for _, shift, _ in members]), alt)
            for members in shapes.values()
            for alt in [np.stack([alt for _, _, alt in members])]
        ]
        starts = [edits[0].position for edits in self.haplotypes]
        ends = [edits[-1].end for edits in self.haplotypes]
        ends += [int((group.start - group.shift).max()) + group.alt.shape[1] for group in self.groups]
        self.low, self.high = min(starts, default=0) - distance, max(ends, default=0) + distance
        self.codes = _window(stretch.codes, self.low, self.high + 2 * context)
        self.ref = np.zeros((self.high - self.low, len(CLASSES)))
        self.alt = [np.zeros((len(g.start), g.alt.shape[1] + 2 * distance, len(CLASSES))) for g in self.groups]
        self._lock = Lock()

    def _shapes(self, codes: np.ndarray) -> dict[int, list[tuple[int, int, np.ndarray]]]:
        """(start, shift, ALT codes) by their length, neighbours together; notes each haplotype's group and place in
        it, None where ALT is REF. codes: from position 0 on.
        """
        shapes: dict[int, list[tuple[int, int, np.ndarray]]] = {}
        self._places: list[tuple[int, int] | None] = [None] * len(self.haplotypes)
        for i in sorted(range(len(self.haplotypes)), key=lambda i: self.haplotypes[i][0].position):
            start, end = self.haplotypes[i][0].position, self.haplotypes[i][-1].end
            alt = _replacement(codes, self.haplotypes[i])
            shift = len(alt) - (end - start)
            if shift == 0 and np.array_equal(alt, codes[start:end]):
                continue
            length = _rounded(len(alt))
            members = shapes.setdefault(length, [])
            self._places[i] = list(shapes).index(length), len(members)
            members.append((start, shift, np.concatenate([alt, codes[end : end + length - len(alt)]])))
        return shapes

    def add(self, total: np.ndarray, part: slice, scores: np.ndarray) -> None:
        """total[part] += scores, from any thread."""
        with self._lock:
            total[part] += scores

    def scored(self, models: int) -> list[Scored]:
        """The mean over the networks, haplotype by haplotype."""
        found = []
        for edits, place in zip(self.haplotypes, self._places, strict=True):
            first = edits[0].position - self.distance
            low, high = max(first, 0), min(edits[-1].end + self.distance, self.length)
            ref = (self.ref[low - self.low : high - self.low] / models).astype(np.float32)
            alt_row, rows = _align(edits, low, high)
            if place is None:
                alt = ref.copy()
            else:
                group, number = place
                alt = (self.alt[group][number, low - first : low - first + rows] / models).astype(np.float32)
            found.append(Scored(low, ref, alt, alt_row))
        return found


def clusters(spans: list[tuple[int, int]], gap: int = 8_000, longest: int = 16_000, most: int = 500) -> Iterator[slice]:
    """Cut variants into stretches: slices of `spans`, (start, end) sorted by start.

    A stretch goes on over gaps up to `gap`, where more reference costs less than a new one with its context, until it
    has `longest` bases or `most` variants.
    """
    first, end = 0, 0
    for number, (start, stop) in enumerate(spans):
        if number > first and (
            start - end > gap or max(end, stop) - spans[first][0] > longest or number - first == most
        ):
            yield slice(first, number)
            first, end = number, stop
        end = max(end, stop) if number > first else stop
    if spans:
        yield slice(first, len(spans))


def _check(stretch: Stretch, context: int, distance: int) -> int:
    codes = stretch.codes
    if codes.dtype != np.uint8 or codes.ndim != 1 or len(codes) <= 2 * context or codes.max() > BASES:
        raise ValueError(f"codes must be 0..{BASES}, uint8 of shape (L + {2 * context},)")
    if not 1 <= distance <= MOST_DISTANCE:
        raise ValueError(f"distance must be 1..{MOST_DISTANCE}, not {distance}")
    length = len(codes) - 2 * context
    for edits in stretch.haplotypes:
        ends = [0, *(edit.end for edit in edits)]
        apart = all(edit.deleted >= 0 and end <= edit.position for edit, end in zip(edits, ends, strict=False))
        if not edits or not apart or ends[-1] > length:
            raise ValueError(f"edits must be sorted, apart and inside [0, {length}): {edits}")
        if any(edit.inserted.dtype != np.uint8 or edit.inserted.max(initial=0) > BASES for edit in edits):
            raise ValueError(f"inserted codes must be uint8, 0..{BASES}: {edits}")
    return length


def _replacement(codes: np.ndarray, edits: list[Edit]) -> np.ndarray:
    """ALT codes from the first edit's start to the last one's end."""
    pieces, at = [], edits[0].position
    for edit in edits:
        pieces += [codes[at : edit.position], edit.inserted]
        at = edit.end
    return np.concatenate(pieces)


def _rounded(length: int) -> int:
    """A length that few shapes share: powers of two up to 64, then multiples of 64."""
    return 1 << max(length - 1, 0).bit_length() if length <= STEP else -(-length // STEP) * STEP


def _window(codes: np.ndarray, start: int, end: int) -> np.ndarray:
    """codes[start:end], 0 outside."""
    inside = codes[max(start, 0) : max(end, 0)]
    before = min(max(-start, 0), end - start)
    return np.pad(inside, (before, end - start - before - len(inside)))


def _align(edits: list[Edit], low: int, high: int) -> tuple[np.ndarray, int]:
    """Row of the ALT sequence, counted from position low, of every reference base in [low, high), -1 where deleted;
    and how many rows the ALT sequence has there.
    """
    positions = np.arange(low, high)
    rows, shift = positions - low, 0
    for edit in edits:
        longer = len(edit.inserted) - edit.deleted
        rows[positions >= edit.end] += longer
        rows[(positions >= edit.position + len(edit.inserted)) & (positions < edit.end)] = -1
        shift += longer
    return rows, high - low + shift
