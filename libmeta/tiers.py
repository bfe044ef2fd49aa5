"""Ordered annotation sources -> transcripts with their tier; a site's tier is the first source that has it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from libmeta import annotation, gene_spans
from libmeta.annotation import Annotation
from libmeta.errors import MetaError
from libmeta.genome import Genome
from libmeta.introns import exon_sides

log = logging.getLogger("libmeta")

_NONE = 127
_TAG_EXPECTED = 200  # an annotation of at least so many transcripts that never has a tag: a misspelt tag


@dataclass(frozen=True)
class Tiers:
    """Annotations in use, each file once and with the transcripts of a tier only.

    sources: annotations. transcript_tier: per source, int8 (T,). pairs: per source (site keys, transcript), not unique.
    keys: int64 (S,), the sites of all sources, sorted, unique. tier: int8 (S,), the first tier that has each.
    """

    sources: list[Annotation]
    transcript_tier: list[np.ndarray]
    pairs: list[tuple[np.ndarray, np.ndarray]]
    keys: np.ndarray
    tier: np.ndarray

    def of_genes(self, names: set[str]) -> "Tiers":
        """Only the genes of these ids or names. Raises MetaError for one that no source has."""
        gene_spans.require_genes(self.sources, names)
        keep = [gene_spans.chosen(a, names) for a in self.sources]
        return _tiers(
            [a.select(k) for a, k in zip(self.sources, keep, strict=True)],
            [t[k] for t, k in zip(self.transcript_tier, keep, strict=True)],
        )

    @property
    def name(self) -> str:
        return ", ".join(a.name for a in self.sources)


def read(genome: Genome, tiers: list[dict], only: set[str] | None) -> Tiers:
    """Read tiers, dicts with name, gtf and tag (None: the whole file); a file named several times is parsed once.

    A tier without transcripts is warned of; it is an error where a sizeable annotation never has its tag.
    """
    files: dict[Path, Annotation] = {}
    best: dict[Path, np.ndarray] = {}
    own: list[np.ndarray] = []  # site keys of each tier by itself
    for number, tier in enumerate(tiers):
        path = Path(tier["gtf"]).absolute()
        if path not in files:
            files[path] = annotation.read(tier["gtf"], genome.contigs, only)
            best[path] = np.full(len(files[path]), _NONE, np.int8)
        has = files[path].has_tag(tier["tag"]) if tier.get("tag") else np.ones(len(files[path]), bool)
        if not has.any():
            _no_transcripts(files[path], tier)
        best[path][has] = np.minimum(best[path][has], number)
        own.append(np.unique(files[path].select(has).sites()[0]))
    _tell_gaps([tier["name"] for tier in tiers], own)
    keep = {p: b < _NONE for p, b in best.items()}
    return _tiers([files[p].select(keep[p]) for p in files], [best[p][keep[p]] for p in files])


def _tell_gaps(names: list[str], own: list[np.ndarray]) -> None:
    """Warn of tiers that do not nest: a wider one that lacks sites of the one before it. own: sorted site keys of each."""
    for i in range(len(own) - 1):
        lacking = int((~np.isin(own[i], own[i + 1], assume_unique=True)).sum())
        if lacking and len(own[i + 1]):
            log.warning(
                "warning: tiers do not nest: %s of %s sites of %s are not in %s; they keep tier %d", f"{lacking:,}",
                f"{len(own[i]):,}", names[i], names[i + 1], i,
            )  # fmt: skip


def _tiers(sources: list[Annotation], transcript_tier: list[np.ndarray]) -> Tiers:
    pairs = [a.sites() for a in sources]
    keys = np.concatenate([k for k, _ in pairs])
    tier = np.concatenate([t[i] for (_, i), t in zip(pairs, transcript_tier, strict=True)])
    order = np.lexsort((tier, keys))
    unique, first = np.unique(keys[order], return_index=True)
    return Tiers(sources, transcript_tier, pairs, unique, tier[order][first])


def _no_transcripts(source: Annotation, tier: dict) -> None:
    tags = sorted(set().union(*source.tags)) if source.tags else []
    what = f"no transcript with tag {tier.get('tag')!r}, {source.name}"
    if tier.get("tag") and len(source) >= _TAG_EXPECTED:
        has = ", ".join(tags[:8]) or "none"
        raise MetaError(f"{what}; its tags are {has}")
    log.warning("warning: tier %s is empty: %s", tier["name"], what if tier.get("tag") else f"no exons, {source.name}")


def transcript_ends(sources: list[Annotation]) -> np.ndarray:
    """Keys of both outer ends of every transcript, as if they were sites."""
    ends = []
    for a in sources:
        start, end = a.spans()
        ends += exon_sides(a.chrom, start, end, a.strand)
    return np.unique(np.concatenate(ends))


def all_introns(sources: list[Annotation]) -> tuple[np.ndarray, ...]:
    """(chrom, start, end, strand) of the introns of all sources."""
    parts = []
    for a in sources:
        transcript, start, end = a.introns()
        parts.append((a.chrom[transcript], start, end, a.strand[transcript]))
    return tuple(np.concatenate(c) for c in zip(*parts, strict=True))
