"""What a reader of metrics must be told: how the rows were sampled, what the models have seen, what could not be scored."""

from libmeta.contigs import plain_name
from libmeta.evaluate import Evaluation
from libmeta.summary import MINIMUM_POSITIVES
from libmeta.truth import SITES

COVERED = 0.5  # below this share of scored positions they are a sample
ADRIFT = 0.2  # how far the sum of weights may be from the scope's size
RECOGNISED = 0.1  # a score by which a site is recognised at all


def cautions(evaluation: Evaluation, model: object, chains: tuple[list[dict], list[dict]]) -> list[str]:
    """Warnings, most serious first. model: ms.model of the scores; chains: provenance of the scores and of the labels."""
    found = [*_sampling(evaluation), *_training(evaluation, model), *_other_genome(evaluation, *chains)]
    return [*found, *_left_out(evaluation)]


def _sampling(evaluation: Evaluation) -> list[str]:
    counts, size = evaluation.counts, evaluation.truth.size
    if abs(counts.weight - size) <= ADRIFT * size:
        return []
    told = f"sum of weights {counts.weight:,.0f}, scope {size:,} positions, {counts.scored:,} of them scored"
    if counts.unit_weights == counts.scored and counts.scored < COVERED * size:
        return [
            f"not at true prevalence: positions are sampled but all weights are 1 ({told}); every AP is too high by "
            "what was left out, unless all that was left out is negative and scored near 0"
        ]
    return [f"prevalence is off: the weights do not add up to the scope ({told})"]


def _training(evaluation: Evaluation, model: object) -> list[str]:
    if not isinstance(model, dict):
        return []
    found = []
    for key, told in (("train", "the model was trained"), ("valid", "the model was selected (validated)")):
        seen = sorted({chrom for chrom, *span in model.get(key) or [] if _touches(evaluation, chrom, span)})
        if seen:
            found.append(f"{told} on regions of {', '.join(seen)} that are tested here: its figures are too good")
    names = {plain_name(str(n)) for n in model.get("base_trained_on") or []}
    seen = [n for n in _scored_contigs(evaluation) if plain_name(n) in names]
    if seen:
        listed = ", ".join(plain_name(n) for n in seen)
        found.append(
            f"the base model was trained on chromosome{'s' * (len(seen) > 1)} {listed}: its scores are better here than "
            "on unseen DNA, and so is what is built on them"
        )
    return found


def _scored_contigs(evaluation: Evaluation) -> list[str]:
    cells = {c // 2 for (_, c), s in zip(evaluation.truth.genes, evaluation.scored_genes, strict=True) if s}
    return [evaluation.truth.names[c] for c in sorted(cells)]


def _touches(evaluation: Evaluation, chrom: str, span: list) -> bool:
    """Whether a region [start, end) (none: the whole contig) holds a position of a gene that was scored."""
    truth = evaluation.truth
    for cell, segments in truth.segments.items():
        if plain_name(truth.names[cell // 2]) != plain_name(str(chrom)):
            continue
        start, end = span[:2] if len(span) >= 2 else (0, segments.edges[-1])
        overlap = (segments.edges[:-1] < end) & (segments.edges[1:] > start) & (segments.gene[:-1] >= 0)
        if evaluation.scored_genes[segments.gene[:-1][overlap]].any():
            return True
    return False


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
            f"only {known:,} of {int(seen.sum()):,} sites have any score of {RECOGNISED:g} or more: labels of another "
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
                f"{counts['without_row']:,} of {counts['in_scope']:,} {site}s in the scope have no scored row and count as "
                "missed by both models"
            )
        if 0 < counts["in_scope"] < MINIMUM_POSITIVES:
            found.append(f"only {counts['in_scope']} {site}s: the figures of this class mean little")
    if evaluation.truth.genes_unmeasured:
        found.append(
            f"{evaluation.truth.genes_unmeasured:,} genes without junction evidence are left out: nothing is known of "
            "their negatives under recipe m3"
        )
    return found
