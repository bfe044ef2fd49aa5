"""What a reader of metrics must be told: how the rows were sampled, what the models have seen, what could not
be scored.
"""

from collections.abc import Iterator

import numpy as np

from libmeta.contigs import plain_name
from libmeta.evaluate import Evaluation
from libmeta.summary import MINIMUM_POSITIVES
from libmeta.truth import SITES

COVERED = 0.5  # below this share of scored positions they are a sample
ADRIFT = 0.2  # how far the sum of weights may be from the scope's size
RECOGNISED = 0.1  # a score by which a site is recognised at all


def cautions(evaluation: Evaluation, model: object, chains: tuple[list[dict], list[dict]]) -> list[str]:
    """Warnings, most serious first. model: ms.model of the scores; chains: provenance of the scores and of
    the labels.
    """
    found = [*_sampling(evaluation), *_training(evaluation, model), *_other_genome(evaluation, *chains)]
    return [*found, *_left_out(evaluation)]


def _sampling(evaluation: Evaluation) -> list[str]:
    counts, size = evaluation.counts, evaluation.truth.size
    if abs(counts.weight - size) <= ADRIFT * size:
        return []
    told = f"sum of weights {counts.weight:,.0f}, scope {size:,} positions, {counts.scored:,} of them scored"
    if counts.unit_weights == counts.scored and counts.scored < COVERED * size:
        return [
            f"not at true prevalence: positions are sampled but all weights are 1 ({told}); every AP is too "
            f"high by "
            "what was left out, unless all that was left out is negative and scored near 0"
        ]
    return [f"prevalence is off: the weights do not add up to the scope ({told})"]


def _training(evaluation: Evaluation, model: object) -> list[str]:
    if not isinstance(model, dict):
        return []
    found = []
    for key, told in (("train", "the model was trained"), ("valid", "the model was selected (validated)")):
        regions = model.get(key) or []
        seen = list(dict.fromkeys(str(r[0]) for r in regions if _touched(evaluation, [r]).any()))
        if seen:
            found.append(f"{told} on regions of {', '.join(seen)} that are tested here: its figures are too good")
    kept = model.get("test") or []
    if kept and not model.get("train") and (n := int(_outside(evaluation, kept).sum())):
        found.append(
            f"the model was trained on all but its test regions, and {n:,} genes tested here reach beyond "
            "these: its figures may be too good"
        )
    names = {plain_name(str(n)) for n in model.get("base_trained_on") or []}
    seen = [n for n in _scored_contigs(evaluation) if plain_name(n) in names]
    if seen:
        listed = ", ".join(plain_name(n) for n in seen)
        found.append(
            f"the base model was trained on chromosome{'s' * (len(seen) > 1)} {listed}: its scores are "
            f"better "
            "here than on unseen DNA, and so is what is built on them"
        )
    return found


def _scored_contigs(evaluation: Evaluation) -> list[str]:
    cells = {c // 2 for (_, c), s in zip(evaluation.truth.genes, evaluation.scored_genes, strict=True) if s}
    return [evaluation.truth.names[c] for c in sorted(cells)]


def _spans(evaluation: Evaluation, regions: list) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Per cell: genes (k,) of the pieces of its scope, bases (k,) of each piece in the regions, its length
    (k,).

    regions: [contig, start, end], 0-based half-open, disjoint; without an end, to the end of the contig.
    """
    truth = evaluation.truth
    for cell, segments in truth.segments.items():
        inside = segments.gene[:-1] >= 0
        low, high = segments.edges[:-1][inside], segments.edges[1:][inside]
        covered = np.zeros(len(low), np.int64)
        for chrom, start, end in ([*r, None, None][:3] for r in regions):
            if plain_name(str(chrom)) == plain_name(truth.names[cell // 2]):
                last = np.iinfo(np.int64).max if end is None else end
                covered += np.maximum(0, np.minimum(high, last) - np.maximum(low, start or 0))
        yield segments.gene[:-1][inside], covered, high - low


def _touched(evaluation: Evaluation, regions: list) -> np.ndarray:
    """Which scored genes have a base in the regions, bool (genes,)."""
    found = np.zeros(len(evaluation.scored_genes), bool)
    for gene, covered, _ in _spans(evaluation, regions):
        found[gene[covered > 0]] = True
    return found & evaluation.scored_genes


def _outside(evaluation: Evaluation, regions: list) -> np.ndarray:
    """Which scored genes have a base outside the regions, bool (genes,)."""
    found = np.zeros(len(evaluation.scored_genes), bool)
    for gene, covered, length in _spans(evaluation, regions):
        found[gene[covered < length]] = True
    return found & evaluation.scored_genes


def _genomes(chain: list[dict]) -> set[str]:
    inputs = [(k, v) for step in chain for k, v in step.get("inputs", {}).items()]
    return {v for k, v in inputs if k in ("genome", "fasta")}


def _other_genome(evaluation: Evaluation, scores: list[dict], labels: list[dict]) -> list[str]:
    found = []
    theirs, ours = _genomes(scores), _genomes(labels)
    if theirs and ours and not theirs & ours:
        found.append("scores and labels were made with different genome files: check that both are of one build")
    seen = evaluation.seen
    known = int((evaluation.score[:, seen].max(axis=0) >= RECOGNISED).sum()) if seen.any() else 0
    if seen.sum() >= 20 and known < 0.05 * seen.sum():
        found.append(
            f"only {known:,} of {int(seen.sum()):,} sites have any score of {RECOGNISED:g} or more: labels "
            f"of another "
            "build, or coordinates off by one?"
        )
    return found


def _left_out(evaluation: Evaluation) -> list[str]:
    found = []
    if (n := evaluation.counts.without_base) > 0:
        found.append(f"{n:,} rows have no base score and are left out for both models")
    for i, site in enumerate(SITES):
        counts = evaluation.site_counts(i)
        if counts["without_row"]:
            found.append(
                f"{counts['without_row']:,} of {counts['in_scope']:,} {site}s in the scope have no scored "
                f"row and count as "
                "missed by both models"
            )
        if 0 < counts["in_scope"] < MINIMUM_POSITIVES:
            found.append(f"only {counts['in_scope']} {site}s: the figures of this class mean little")
    if evaluation.truth.genes_unmeasured:
        found.append(
            f"{evaluation.truth.genes_unmeasured:,} genes without junction evidence are left out: nothing is "
            f"known of "
            "their negatives under recipe m3"
        )
    return found
