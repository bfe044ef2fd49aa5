"""REF and ALT scores of a sequence model around variants: base scores by the cone, evidence carried over by alignment.

The network sees its own context around the window and no more, so that is all that is computed: of REF once for
neighbouring variants together, of ALT once for each. An inserted base has no evidence (missing, mask 0), a deleted one
takes its own away, every other base keeps what it has. Definition: science.md section 4.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from libmeta.alleles import Edit
from libmeta.basescore import N_RUN, known_stretches
from libmeta.dense import Piece, read_piece
from libmeta.features import Sources
from libmeta.predict_sequence import Refiner, run
from libmeta.variant_windows import Aligned, Rows, aligned

ROWS = 1 << 17  # bases that go through the network in one call: its inputs are some 30 MB


@dataclass
class _Job:
    """An edit, its window [low, high), and the part [first, last) of the contig that the network sees around it."""

    edit: Edit
    low: int
    high: int
    first: int
    last: int
    base: list[Rows]  # of each base model, over what of [first, last) is on the contig


class MetaScorer:
    """Scores edits with a sequence model and the base models that it refines.

    refiner: see libmeta.predict_sequence. primary: scorer (libmeta.variant_windows) of the base model shown beside it.
    bases: scorers of the model's base models, in its order. sources, readers: of its channels. Order and company change
    a score by rounding only.
    """

    def __init__(self, refiner: Refiner, primary, bases: list, sources: Sources, readers: dict):
        self.refiner, self.primary, self.bases = refiner, primary, bases
        self.sources, self.readers, self.genome = sources, readers, sources.genome
        self.name = f"{primary.name}, refined"

    def score(
        self, chrom: str, strand: str, edits: Sequence[Edit], distance: int
    ) -> tuple[list[Aligned], list[Aligned]]:
        """Scores of each edit by the primary base model and by the model, over `distance` bases on either side (those
        of the base model no further than its context, beyond which nothing changes)."""
        margin, length = self.refiner.context, self.genome.contigs.lengths[chrom]
        reach = min(distance, max((b.context for b in self.bases), default=0) + margin)
        if self.refiner.network is None:
            base = self.primary.score(chrom, strand, edits, distance)
            return base, base
        windows = [scorer.windows(chrom, strand, edits, reach + margin) for scorer in self.bases]
        if self.bases and self.primary is self.bases[0]:
            base = [_base(edit, w, distance, self.primary, length) for edit, w in zip(edits, windows[0], strict=True)]
        else:
            base = self.primary.score(chrom, strand, edits, distance)
        jobs = []
        for i, edit in enumerate(edits):
            low, high = edit.window(reach, length)
            jobs.append(_Job(edit, low, high, low - margin, high + margin, [w[i] for w in windows]))
        found: dict[int, Aligned] = {}
        order = sorted(range(len(jobs)), key=lambda i: jobs[i].first)
        for part in _neighbours(order, jobs):
            found |= self._stretch(chrom, strand, part, jobs)
        return base, [found[i] for i in range(len(jobs))]

    def _stretch(self, chrom: str, strand: str, part: list[int], jobs: list[_Job]) -> dict[int, Aligned]:
        """Edits whose windows overlap: REF once for all of them."""
        margin = self.refiner.context
        first, last = jobs[part[0]].first, max(jobs[i].last for i in part)
        ref = self._reference(chrom, strand, first, last, [jobs[i] for i in part])
        (before,) = self._refined([ref])
        found = {}
        changed = [i for i in part if jobs[i].edit.removed != jobs[i].edit.inserted]
        pieces = (_alternative(ref, jobs[i]) for i in changed)
        after = dict(zip(changed, self._refined(pieces), strict=True))
        for i in part:
            job = jobs[i]
            here = before[job.low - first - margin : job.high - first - margin]
            found[i] = aligned(job.edit, job.low, here, after.get(i, here))
        return found

    def _reference(self, chrom: str, strand: str, first: int, last: int, jobs: list[_Job]) -> Piece:
        """[first, last) as it is: base scores from the jobs' windows, evidence from its sources."""
        piece = read_piece(self.sources, self.readers, [], self.refiner.channel_names, chrom, first, last, strand)
        base = np.full((len(self.bases), 2, last - first), np.nan, np.float32)
        for job in jobs:
            for track, (start, ref, _) in zip(base, job.base, strict=True):
                track[:, start - first : start - first + len(ref)] = ref[:, :2].T
        around = self.genome.codes(chrom, first - N_RUN, last + N_RUN)
        unknown = np.ones(len(around), bool)  # as ms-basescore has it: long runs of N have no scores
        for a, b in known_stretches(around):
            unknown[a:b] = False
        base[:, :, unknown[N_RUN:-N_RUN]] = np.nan
        piece.base = base
        return piece

    def _refined(self, pieces) -> Iterator[np.ndarray]:
        """(L - 2 * context, 3) of each piece, all of one strand; many go through the network end to end, since an output
        sees its own context only."""
        together: list[Piece] = []
        for piece in pieces:
            if together and sum(len(p.codes) for p in together) + len(piece.codes) > ROWS:
                yield from self._run(together)
                together = []
            together.append(piece)
        if together:
            yield from self._run(together)

    def _run(self, pieces: list[Piece]) -> Iterator[np.ndarray]:
        margin = self.refiner.context
        joined = [
            np.concatenate([getattr(p, k) for p in pieces], axis=-1) for k in ("codes", "core", "base", "channels")
        ]
        out = run(self.refiner, Piece(pieces[0].chrom, 0, len(joined[0]), pieces[0].strand, *joined))
        at = 0
        for piece in pieces:
            rows = len(piece.codes) - 2 * margin
            scores = out[at : at + rows]
            if self.refiner.needs_base:
                scores = scores.copy()
                scores[np.isnan(piece.base[0, :, margin : margin + rows]).any(axis=0)] = np.nan
            yield scores
            at += len(piece.codes)


def _alternative(ref: Piece, job: _Job) -> Piece:
    """The job's part of REF with its edit made."""
    edit, here = job.edit, ref.cut(job.first, job.last)
    at, removed, added = edit.start - job.first, len(edit.removed), len(edit.inserted)
    # where each base of ALT stands in REF; -1: nowhere
    new = np.full(added, -1)
    i, j = edit.pairs
    new[j] = at + i
    source = np.concatenate([np.arange(at), new, np.arange(at + removed, len(here.codes))])
    codes = here.codes[source]
    codes[at : at + added] = edit.codes
    channels = here.channels[:, source]
    channels[:, source < 0] = np.nan
    base = np.full((*here.base.shape[:2], len(source)), np.nan, np.float32)
    for track, (start, _, alt) in zip(base, job.base, strict=True):
        low = start - job.first
        track[:, low : low + len(alt)] = alt[:, :2].T
    base[:, :, (source >= 0) & np.isnan(here.base[:, :, source]).any(axis=(0, 1))] = np.nan
    return Piece(
        ref.chrom, job.first, job.first + len(source), ref.strand, codes, np.ones(len(source), bool), base, channels
    )


def _neighbours(order: list[int], jobs: list[_Job]) -> Iterator[list[int]]:
    """Jobs in the order of their starts, cut where one does not overlap those before it."""
    part: list[int] = []
    end = 0
    for i in order:
        if part and jobs[i].first >= end:
            yield part
            part = []
        end = max(end, jobs[i].last) if part else jobs[i].last
        part.append(i)
    if part:
        yield part


def _base(edit: Edit, window: Rows, distance: int, scorer, length: int) -> Aligned:
    """The base model's scores of a window that is wider than what is asked for."""
    start, ref, alt = window
    low, high = edit.window(min(distance, scorer.context), length)
    before, behind = low - start, start + len(ref) - high
    return aligned(edit, low, ref[before : len(ref) - behind], alt[before : len(alt) - behind])
