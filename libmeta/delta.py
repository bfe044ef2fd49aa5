"""Delta scores of variants: how much ALT gains or loses each kind of site, raw and masked. Definition: science.md 4."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from libmeta import alleles
from libmeta.alleles import Edit
from libmeta.errors import MetaError
from libmeta.gene_index import Gene, GeneIndex
from libmeta.genome import Genome
from libmeta.introns import ACCEPTOR, DONOR
from libmeta.regions import Region
from libmeta.variant_windows import Aligned

MODELS = ("base", "meta")
KINDS = ("ag", "al", "dg", "dl")  # acceptor gain, acceptor loss, donor gain, donor loss: SpliceAI's order
_SITE = (ACCEPTOR, ACCEPTOR, DONOR, DONOR)
_SIGN = (1, -1, 1, -1)
MOST_MISMATCHES = 0.05  # above this share of alleles whose REF is not the genome's, it is another genome
FEWEST_MISMATCHES = 5  # and so many of them at the least: one slip in a file of ten is no other build


@dataclass(frozen=True)
class Effect:
    """The four scores of one allele on one strand, in the order of KINDS; each array (4,).

    score: float32, 0..1; pos: 0-based, the base where it is (the base before, for an inserted one); offset: which
    inserted base, 1, 2, ..., 0 for a base that REF has. ref, alt: scores there, ref NaN at an inserted base, alt 0 at a
    deleted one. masked: the same under the mask, None without an annotation; pos -1 where the mask left nothing.
    """

    score: np.ndarray
    pos: np.ndarray
    offset: np.ndarray
    ref: np.ndarray
    alt: np.ndarray
    masked: "Effect | None" = None


def effect(found: Aligned, annotated: np.ndarray | None) -> Effect:
    """Delta scores of a window. annotated: bool (2, n), donors and acceptors of the annotation on this strand.

    A base without a score in one of both alleles (NaN) has no change. Masked are gains at annotated sites and losses at
    bases that are not annotated, before the maximum is taken.
    """
    n, k = len(found.ref), len(found.inserted)
    # one row per base of either allele; an inserted one stands behind the base that it follows
    order = np.lexsort((np.concatenate([np.zeros(n, np.int64), found.offset]),
                        np.concatenate([found.start + np.arange(n), found.after])))  # fmt: skip
    pos = np.concatenate([found.start + np.arange(n), found.after])[order]
    offset = np.concatenate([np.zeros(n, np.int64), found.offset])[order]
    ref = np.concatenate([found.ref, np.zeros((k, 3), np.float32)])[order]
    alt = np.concatenate([found.alt, found.inserted])[order]
    known = None
    if annotated is not None:
        known = np.concatenate([annotated, np.zeros((2, k), bool)], axis=1)[:, order]
    change = np.nan_to_num(alt - ref)
    raw, masked = [], []
    for site, sign in zip(_SITE, _SIGN, strict=True):
        gained = sign * change[:, site]
        raw.append(int(gained.argmax()))
        if known is not None:
            left = np.where(known[site] == (sign < 0), gained, 0)
            at = int(left.argmax())
            masked.append(at if left[at] > 0 else -1)

    def at_rows(rows: list[int], inner: Effect | None = None) -> Effect:
        rows = np.array(rows)
        none = rows < 0
        size = np.maximum(np.array(_SIGN) * change[rows, _SITE], 0)
        before = np.where(none | (offset[rows] > 0), np.float32(np.nan), ref[rows, _SITE])
        return Effect(
            np.where(none, 0, size).astype(np.float32), np.where(none, -1, pos[rows]), np.where(none, 0, offset[rows]),
            before, np.where(none, np.float32(np.nan), alt[rows, _SITE]), inner,
        )  # fmt: skip

    return at_rows(raw, None if known is None else at_rows(masked))


def folded(found: Aligned, anchor: int, distance: int) -> Aligned:
    """As SpliceAI's command lays it out: `distance` bases on either side of the anchor (0-based), and inserted bases
    folded into the anchor by their maximum."""
    alt = found.alt.copy()
    if len(found.inserted):
        here = anchor - found.start
        alt[here] = np.maximum(alt[here], found.inserted.max(axis=0))
    low = max(anchor - distance - found.start, 0)
    cut = slice(low, anchor + distance + 1 - found.start)
    none = np.zeros(0, np.int64)
    return Aligned(found.start + low, found.ref[cut], alt[cut], found.inserted[:0], none, none)


# ---- alleles of records ---------------------------------------------------------------------------------------------


@dataclass
class Row:
    """One allele on one strand, for one gene (None: no gene there); scores by the base and, if asked for, a meta model."""

    strand: str
    gene: Gene | None
    transcripts: list[str]
    aligned: Aligned | None = None
    effect: Effect | None = None
    meta_aligned: Aligned | None = None
    meta_effect: Effect | None = None

    def of(self, model: str) -> tuple[Aligned | None, Effect | None]:
        """Scores and effect by the "base" or the "meta" model, see MODELS."""
        return (self.aligned, self.effect) if model == "base" else (self.meta_aligned, self.meta_effect)


@dataclass
class Allele:
    """One ALT of a record: why it has no scores, or its edit and its rows. contig: the genome's name, None unknown."""

    contig: str | None
    pos: int
    ref: str
    alt: str
    reason: str | None
    edit: Edit | None = None
    rows: list[Row] = field(default_factory=list)


class Deltas:
    """Judges and scores the alleles of records.

    scorer: see libmeta.variant_windows. genes: None where there is no annotation (both strands, no mask). distance: bp
    searched on either side. longest: bp of an allele. regions: score only inside. like_spliceai: N outside the gene,
    windows as `folded` makes them, and indels where the record has them, not moved to the left. meta: a MetaScorer
    (libmeta.delta_meta), which then scores in place of the scorer, for both models. earlier: a Lookup
    (libmeta.delta_lookup) that is asked first.
    """

    def __init__(
        self,
        genome: Genome,
        scorer,
        genes: GeneIndex | None,
        distance: int,
        longest: int,
        regions: Sequence[Region] = (),
        like_spliceai: bool = False,
        meta=None,
        earlier=None,
    ):
        self.genome, self.scorer, self.genes, self.distance = genome, scorer, genes, distance
        self.longest, self.regions, self.like_spliceai = longest, regions, like_spliceai
        self.meta, self.earlier = meta, earlier

    def judge(self, chrom: str, pos: int, ref: str, alts: Sequence[str]) -> list[Allele]:
        """The alleles of one record (pos 1-based), not scored yet; one with the reason "missing" where it has no ALT."""
        contig = self.genome.contigs.resolve(chrom)
        out = []
        for alt in alts or ["."]:
            why = alleles.reason(contig, pos, ref, alt, self.genome, self.longest)
            if why is None and self.regions and not self._inside(contig, pos - 1, pos - 1 + len(ref)):
                why = "outside_region"
            out.append(Allele(contig, pos, ref, alt, why, None if why else self._edit(contig, pos, ref, alt)))
        return out

    def score(self, chosen: Sequence[Allele]) -> None:
        """Fill the rows of the alleles that can be scored: one per gene, or one per strand where there is none."""
        scored = [a for a in chosen if a.reason is None]
        for allele in scored:
            allele.rows = self._rows(allele)
        if self.earlier is not None:
            for contig in dict.fromkeys(a.contig for a in scored):
                self.earlier.fill(contig, [(a.edit, row) for a in scored if a.contig == contig for row in a.rows])
        groups: dict[tuple, dict[Edit, list[Row]]] = {}
        for allele in scored:
            for row in allele.rows:
                if row.effect is None:
                    bounds = (row.gene.start, row.gene.end) if row.gene and self.like_spliceai else None
                    groups.setdefault((allele.contig, row.strand, bounds), {}).setdefault(allele.edit, []).append(row)
        for (contig, strand, bounds), wanted in groups.items():
            edits = sorted(wanted, key=lambda e: (e.start, e.removed, e.inserted))
            if self.meta is not None:
                both = zip(*self.meta.score(contig, strand, edits, self.distance), strict=True)
            else:
                both = ((found, None) for found in self.scorer.score(contig, strand, edits, self.distance, bounds))
            for edit, (base, refined) in zip(edits, both, strict=True):
                self._fill(wanted[edit], contig, strand, edit, base, refined)

    def _fill(
        self, rows: list[Row], contig: str, strand: str, edit: Edit, base: Aligned, refined: Aligned | None
    ) -> None:
        if self.like_spliceai:
            base = folded(base, edit.anchor, self.distance)
        result = self._effect(contig, strand, base)
        changed = None
        if refined is not None:
            changed = result if refined is base else self._effect(contig, strand, refined)
        for row in rows:
            row.aligned, row.effect, row.meta_aligned, row.meta_effect = base, result, refined, changed

    def _effect(self, contig: str, strand: str, found: Aligned) -> Effect:
        known = None
        if self.genes is not None:
            known = self.genes.annotated(contig, strand, found.start, found.start + len(found.ref))
        return effect(found, known)

    def _rows(self, allele: Allele) -> list[Row]:
        span = (allele.contig, allele.edit.anchor, allele.edit.end)
        over = self.genes.over(*span) if self.genes is not None else []
        if not over:
            return [Row(strand, None, []) for strand in "+-"]
        return [Row(g.strand, g, self.genes.transcripts(g, *span)) for g in over]

    def _edit(self, contig: str, pos: int, ref: str, alt: str) -> Edit:
        if self.like_spliceai:  # an indel is laid over REF where the record has it
            return alleles.trimmed(pos, ref, alt, left_first=True)
        return alleles.normalise(contig, pos, ref, alt, self.genome)

    def _inside(self, contig: str, start: int, end: int) -> bool:
        return any(r.chrom == contig and r.start < end and start < r.end for r in self.regions)


class MismatchGuard:
    """Counts alleles whose REF is not what the genome has, and stops where that is the rule.

    contigs: the genome's. told: the build that the variants' own header says, None unknown.
    """

    def __init__(self, contigs, told: str | None, where: str):
        self.contigs, self.told, self.where = contigs, told, where
        self.compared = self.wrong = 0

    @property
    def rate(self) -> float:
        """Share of the alleles compared, NaN before any was."""
        return self.wrong / self.compared if self.compared else float("nan")

    def add(self, found: Sequence[Allele]) -> None:
        """Count alleles. Raises MetaError above MOST_MISMATCHES, naming the likely build."""
        self.wrong += sum(a.reason == "ref_mismatch" for a in found)
        self.compared += sum(a.reason in (None, "ref_mismatch", "outside_region") for a in found)
        if self.wrong >= FEWEST_MISMATCHES and self.rate > MOST_MISMATCHES:
            raise MetaError(
                f"REF is not what the genome has at {self.wrong:,} of {self.compared:,} alleles ({self.rate:.0%}), "
                f"{self.where}; {self.advice()}"
            )

    def advice(self) -> str:
        """Which build it likely is, and what to do."""
        ours = self.contigs.build
        other = {"GRCh38": "GRCh37 (hg19)", "GRCh37": "GRCh38 (hg38)"}.get(ours, "another build")
        likely = self.told if self.told and self.told != ours else other
        name = ours or self.contigs.source
        return f"the variants are likely on {likely}, the genome is {name}: lift them over, or give their own genome"


def best(rows: Sequence[Row], masked: bool = False, model: str = "base") -> Iterator[tuple[float, int, int] | None]:
    """Of each kind the largest (score, pos, offset) over the rows of an allele; None where there is none.

    Of equal ones the first row's. model: one of MODELS.
    """
    effects = [e.masked if masked else e for _, e in (r.of(model) for r in rows)]
    for kind in range(len(KINDS)):
        known = [e for e in effects if e is not None]
        if not known:
            yield None
            continue
        top = max(known, key=lambda e: e.score[kind])
        yield float(top.score[kind]), int(top.pos[kind]), int(top.offset[kind])
