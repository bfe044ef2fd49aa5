"""REF and ALT scores around variants, base by base: what stands behind ms-delta.

A scorer has `.context` (bases on each side that a score depends on), `.name` and

    windows(chrom, strand, edits, reach, bounds=None) -> list of (start, ref, alt), one per edit, in order
    score(chrom, strand, edits, distance, bounds=None) -> list of Aligned, the same laid over each other

Edits are on the plus strand, scores come back in genome orientation whatever the strand. PlainScorer runs both sequences
in full; ConeScorer recomputes only what an edit can change; nobody else need know which it is.
"""

from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from libmeta import cone
from libmeta.alleles import Edit
from libmeta.cone import VariantScorer
from libmeta.genome import Genome, reverse_complement
from libmeta.resnet import CLASSES

Rows = tuple[
    int, np.ndarray, np.ndarray
]  # start of a window (0-based), REF (n, 3) and ALT (m, 3) in genome orientation
KEPT_WINDOWS = 1024  # reference windows remembered: 12 MB at the default distance


@dataclass(frozen=True)
class Aligned:
    """REF and ALT scores of one window of n reference bases from `start` (0-based), genome orientation.

    ref, alt: float32 (n, 3) donor, acceptor, neither; a deleted base has alt 0. inserted: float32 (k, 3), the bases that
    REF does not have; after: int64 (k,), the reference base (0-based, start - 1 at the least) that each comes after;
    offset: int64 (k,), 1, 2, ... within its run.
    """

    start: int
    ref: np.ndarray
    alt: np.ndarray
    inserted: np.ndarray
    after: np.ndarray
    offset: np.ndarray


def aligned(edit: Edit, start: int, ref: np.ndarray, alt: np.ndarray) -> Aligned:
    """Lay ALT's scores over REF's.

    start: first base of the window; ref: (n, 3); alt: (n - removed + inserted, 3), the same window after the edit.
    """
    before, removed, added = edit.start - start, len(edit.removed), len(edit.inserted)
    over = np.zeros_like(ref)
    over[:before] = alt[:before]
    over[before + removed :] = alt[before + added :]
    i, j = edit.pairs
    over[before + i] = alt[before + j]
    if added == len(j):
        none = np.zeros(0, np.int64)
        return Aligned(start, ref, over, alt[:0], none, none)
    new = np.setdiff1d(np.arange(added), j)
    follows = np.searchsorted(j, new)  # columns before each new base
    after = edit.start - 1 + np.where(follows > 0, np.append(i, 0)[follows - 1] + 1, 0)
    fresh = np.ones(len(new), bool)
    fresh[1:] = (np.diff(new) > 1) | (np.diff(after) > 0)
    run = np.maximum.accumulate(np.where(fresh, np.arange(len(new)), 0))
    return Aligned(start, ref, over, alt[before + new], after, np.arange(len(new)) - run + 1)


def flanked(
    genome: Genome, chrom: str, low: int, high: int, context: int, bounds: tuple[int, int] | None
) -> np.ndarray:
    """Plus-strand codes of [low - context, high + context), unknown outside `bounds` ([start, end) of the contig)."""
    first = low - context
    codes = genome.codes(chrom, first, high + context)
    if bounds:
        codes = codes.copy()
        codes[: max(bounds[0] - first, 0)] = 0
        codes[max(bounds[1] - first, 0) :] = 0
    return codes


class _Scorer:
    """What both have in common."""

    def score(
        self, chrom: str, strand: str, edits: Sequence[Edit], distance: int, bounds: tuple[int, int] | None = None
    ) -> list[Aligned]:
        """Aligned scores of each edit, over `distance` bases (at least 1; at most the context: beyond it nothing
        changes) on either side. bounds: [start, end) of the contig outside which the networks see N."""
        found = self.windows(chrom, strand, edits, min(distance, self.context), bounds)
        return [aligned(edit, *window) for edit, window in zip(edits, found, strict=True)]


class PlainScorer(_Scorer):
    """Runs REF and ALT windows in full through an engine of libmeta.engines.

    threads: windows scored at a time (the engine itself should then use one). A window's scores do not depend on what
    else is asked for, so neither order nor batch size change a digit.
    """

    def __init__(self, engine, genome: Genome, threads: int = 1):
        self.engine, self.genome, self.context = engine, genome, engine.context
        self.name = f"{engine.name}, windows in full"
        self._pool = ThreadPoolExecutor(threads)
        self._known: OrderedDict[tuple, Future] = OrderedDict()
        self.computed = 0  # windows scored

    def windows(
        self, chrom: str, strand: str, edits: Sequence[Edit], reach: int, bounds: tuple[int, int] | None = None
    ) -> list[Rows]:
        """(start, ref, alt) of each edit, over `reach` bases on either side, see `aligned`. bounds: as in score."""
        length = self.genome.contigs.lengths[chrom]
        jobs = []
        for edit in edits:
            low, high = edit.window(reach, length)
            codes = flanked(self.genome, chrom, low, high, self.context, bounds)
            ref = self._reference((chrom, strand, low, high, bounds), codes)
            at = edit.start - low + self.context
            changed = np.concatenate([codes[:at], edit.codes, codes[at + len(edit.removed) :]])
            same = edit.removed == edit.inserted
            jobs.append((low, ref, ref if same else self._submit(changed, strand)))
        return [(low, ref.result(), alt.result()) for low, ref, alt in jobs]

    def _reference(self, key: tuple, codes: np.ndarray) -> Future:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._submit(codes, key[1])
        self._known.move_to_end(key)
        while len(self._known) > KEPT_WINDOWS:
            self._known.popitem(last=False)
        return known

    def _submit(self, codes: np.ndarray, strand: str) -> Future:
        self.computed += 1
        return self._pool.submit(self._score, codes, strand)

    def _score(self, codes: np.ndarray, strand: str) -> np.ndarray:
        if len(codes) <= 2 * self.context:  # the whole window is deleted
            return np.zeros((0, len(CLASSES)), np.float32)
        if strand == "-":
            return self.engine.score(reverse_complement(codes))[::-1]
        return self.engine.score(codes)


class ConeScorer(_Scorer):
    """Recomputes of each ALT only what the edit can change: libmeta.cone on stretches of neighbouring edits.

    The same scores as PlainScorer's to 1e-5; what else is asked for moves a score by 1e-6 at the most.
    """

    def __init__(self, scorer: VariantScorer, genome: Genome):
        self.scorer, self.genome, self.context = scorer, genome, scorer.context
        self.name = f"{scorer.engine}, cones"

    def windows(
        self, chrom: str, strand: str, edits: Sequence[Edit], reach: int, bounds: tuple[int, int] | None = None
    ) -> list[Rows]:
        """As PlainScorer.windows; reach: 1 to 10,000."""
        length = self.genome.contigs.lengths[chrom]
        order = sorted(range(len(edits)), key=lambda i: (edits[i].anchor, edits[i].end))
        parts = [order[cut] for cut in cone.clusters([(edits[i].anchor, edits[i].end) for i in order])]
        spans = []
        for part in parts:
            windows = [edits[i].window(reach, length) for i in part]
            spans.append((min(w[0] for w in windows), max(w[1] for w in windows)))
        stretches = (
            self._stretch(chrom, strand, [edits[i] for i in part], span, bounds)
            for part, span in zip(parts, spans, strict=True)
        )
        found: dict[int, Rows] = {}
        for part, (low, high), scored in zip(parts, spans, self.scorer.score_many(stretches, reach), strict=True):
            for i, one in zip(part, scored, strict=True):
                start, ref, alt = low + one.start, one.ref, one.alt
                if strand == "-":
                    start, ref, alt = high - one.start - len(ref), ref[::-1], alt[::-1]
                found[i] = start, ref, alt
        return [found[i] for i in range(len(edits))]

    def _stretch(
        self, chrom: str, strand: str, edits: list[Edit], span: tuple[int, int], bounds: tuple[int, int] | None
    ) -> cone.Stretch:
        """The edits on [low, high) in transcript orientation; each replaces its allele with the anchor, as VCF has it,
        so that the windows come out around that."""
        low, high = span
        codes = flanked(self.genome, chrom, low, high, self.context, bounds)
        changes = []
        for edit in edits:
            first, last = edit.anchor - low + self.context, edit.end - low + self.context
            at = edit.start - low + self.context
            new = codes[first:last]
            if edit.removed != edit.inserted:
                new = np.concatenate([codes[first:at], edit.codes, codes[at + len(edit.removed) : last]])
            position = edit.anchor - low
            if strand == "-":
                position, new = high - edit.end, reverse_complement(new)
            changes.append([cone.Edit(position, edit.end - edit.anchor, new)])
        return cone.Stretch(reverse_complement(codes) if strand == "-" else codes, changes)
