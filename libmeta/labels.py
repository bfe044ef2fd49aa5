"""Label rules of the recipes, on arrays: the one place that says what is positive, negative and masked.

The same functions label site tables (every row a site) and feature rows (most rows no site).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from libmeta.errors import MetaError
from libmeta.introns import NEITHER

NOVEL = 3  # tier of a site that no annotation has
TIER_WEIGHTS = (1.0, 0.85, 0.65)  # M2c, see science.md section 1
TIER_PRIORS = (1.0, 0.85, 0.4)  # M2d: trust in a tier before any evidence
LEAST_TRUST = 0.15  # M2d: floor of the weight of a site
FULL_PSI, FULL_BREADTH = 0.5, 10  # M2d: more than this adds no trust


@dataclass(frozen=True)
class Facts:
    """What is known of n positions, each (n,).

    site: uint8, 0 donor, 1 acceptor, 2 no site. tier: float, 0..3, NaN where there is no site. reads: junction reads,
    float, NaN where no junction table covers it. psi: float in [0, 1], NaN not measured. measured: bool, the junction
    evidence covers the gene (or the position itself). breadth: tissues that use it, float, NaN not measured or not told.
    """

    site: np.ndarray
    tier: np.ndarray
    reads: np.ndarray
    psi: np.ndarray
    measured: np.ndarray
    breadth: np.ndarray | None = None


def m1(facts: Facts) -> tuple[np.ndarray, np.ndarray]:
    """(label uint8, weight float32): sites of tier 0 positive, other sites masked, the rest negative.

    A masked row keeps its own class as label and has weight 0.
    """
    masked = (facts.site != NEITHER) & ~(facts.tier == 0)
    return facts.site.astype(np.uint8), np.where(masked, 0, 1).astype(np.float32)


def m2(facts: Facts) -> tuple[np.ndarray, np.ndarray]:
    """(label uint8, weight float32): annotated sites of every tier positive, novel ones masked, the rest negative."""
    masked = (facts.site != NEITHER) & ~(facts.tier < NOVEL)
    return facts.site.astype(np.uint8), np.where(masked, 0, 1).astype(np.float32)


def m2c(facts: Facts, tier_weights: tuple[float, ...] = TIER_WEIGHTS) -> tuple[np.ndarray, np.ndarray]:
    """As m2, with the weight of a site by its tier."""
    label, weight = m2(facts)
    return label, np.where(_annotated(facts), _by_tier(facts, tier_weights), weight).astype(np.float32)


def m2d(facts: Facts) -> tuple[np.ndarray, np.ndarray]:
    """As m2, with the weight of a site by the evidence for it: trust(). The weight is also the soft target of the site,
    for recipes that want one: trust on its own class, the rest on neither.
    """
    label, weight = m2(facts)
    return label, np.where(_annotated(facts), trust(facts), weight).astype(np.float32)


def trust(facts: Facts) -> np.ndarray:
    """w in [0.15, 1] of annotated sites, float64 (n,): 0.4 prior + 0.35 min(psi / 0.5, 1) + 0.25 min(breadth / 10, 1)
    where evidence was measured, the tier's prior where it was not: a site of a silent gene is not punished for silence.

    Measured: reads are known (0 counts, in genes that reads cover) or a PSI is. Source: science.md section 1.
    """
    prior = _by_tier(facts, TIER_PRIORS)
    breadth = np.full(len(prior), np.nan) if facts.breadth is None else facts.breadth
    use = np.minimum(np.nan_to_num(facts.psi) / FULL_PSI, 1)
    spread = np.minimum(np.nan_to_num(breadth) / FULL_BREADTH, 1)
    known = ~(np.isnan(facts.reads) & np.isnan(facts.psi))
    weight = np.where(known, 0.4 * prior + 0.35 * use + 0.25 * spread, prior)
    return np.maximum(weight, LEAST_TRUST)


def without(
    facts: Facts, last: int, minus: tuple[int, ...] = (0,), others: str = "masked"
) -> tuple[np.ndarray, np.ndarray]:
    """(label uint8, weight float32) to evaluate on: sites of tiers 0..last that are not in the tiers `minus` positive.

    others: what the remaining sites are (those of `minus`, of wider tiers, novel ones). "masked" leaves them out. As
    "negative" they count like any other position: a model is then punished for every canonical site that it finds.
    """
    site = facts.site != NEITHER
    positive = site & (facts.tier <= last) & ~np.isin(facts.tier, minus)
    label = np.where(positive | (others == "masked"), facts.site, NEITHER).astype(np.uint8)
    return label, np.where(site & ~positive & (others == "masked"), 0, 1).astype(np.float32)


def m2a(facts: Facts, minus: tuple[int, ...] = (0,), others: str = "masked") -> tuple[np.ndarray, np.ndarray]:
    """without() of tier 1, basic or Ensembl: its sites that are not canonical."""
    return without(facts, 1, minus, others)


def m2b(facts: Facts, minus: tuple[int, ...] = (0,), others: str = "masked") -> tuple[np.ndarray, np.ndarray]:
    """without() of every annotated tier: all sites of the annotation that are not canonical."""
    return without(facts, NOVEL - 1, minus, others)


def m3(
    facts: Facts, reference: tuple[int, ...] = (0, 1, 2), min_support: float = 3, min_psi: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """(label uint8, weight float32) for novel sites, given what the reference (tiers) already knows.

    Positive: sites outside the reference with >= min_support reads or PSI >= min_psi. Masked: sites of the reference;
    weak evidence (fewer reads than min_support but some, whatever the PSI made of so few; PSI below min_psi but above
    0); genes that were not measured; annotated sites outside the reference of which nothing is known. Negative: the
    rest, that is positions of measured genes without a read; an annotated site that is silent there is one of them.
    A masked row keeps its own class as label and has weight 0.
    """
    site = facts.site != NEITHER
    few, supported = _evidence(facts, min_support, min_psi)
    reference_site = site & np.isin(facts.tier, reference)
    weak = ~supported & (few | ((facts.psi > 0) & (facts.psi < min_psi)))
    unknown = site & np.isnan(facts.reads) & np.isnan(facts.psi)
    masked = reference_site | weak | unknown | ~facts.measured.astype(bool)
    label = np.where(site & (supported | masked), facts.site, NEITHER)
    return label.astype(np.uint8), np.where(masked, 0, 1).astype(np.float32)


# of m2e the states by tissue say the rest
RULES = {"m1": m1, "m2": m2, "m2a": m2a, "m2b": m2b, "m2c": m2c, "m2d": m2d, "m2e": m2, "m3": m3}
# settings that a rule takes
OPTIONS = {
    "m2a": ("minus", "others"), "m2b": ("minus", "others"), "m2c": ("tier_weights",),
    "m3": ("reference", "min_support", "min_psi"),
}  # fmt: skip
EVALUATION = ("m2a", "m2b")  # rules that say what to evaluate on; nothing is trained on them


def _annotated(facts: Facts) -> np.ndarray:
    return (facts.site != NEITHER) & (facts.tier < NOVEL)


def _by_tier(facts: Facts, values: tuple[float, ...]) -> np.ndarray:
    """The value of each position's tier, float64 (n,); NaN where it has no annotated tier."""
    table = np.array([*values, np.nan])
    known = facts.tier < len(values)
    return table[np.where(known, facts.tier, len(values)).astype(np.int64)]


def _evidence(facts: Facts, min_support: float, min_psi: float) -> tuple[np.ndarray, np.ndarray]:
    """(some reads but too few, supported), bool (n,). Comparisons with NaN are False, as they should be."""
    few = (facts.reads > 0) & (facts.reads < min_support)
    return few, (facts.reads >= min_support) | ((facts.psi >= min_psi) & ~few)


def check(table: pa.Table, recipe: str | None, where: str) -> None:
    """Raises MetaError where a site's weight is negative or no number; m2d: outside [0, 1], as it is a soft target too."""
    weight = np.nan_to_num(table["weight"].cast(pa.float64()).to_numpy(), nan=0.0, posinf=-1)
    if (weight < 0).any():
        raise MetaError(f"a weight is negative or infinite, {where}; label the sites again with ms-labels")
    if recipe == "m2d" and (weight > 1).any():
        raise MetaError(
            f"soft target {weight.max():g} is outside [0, 1], {where}; weights of m2d are probabilities: label again with "
            "ms-labels"
        )


def column(batch: pa.RecordBatch, name: str) -> np.ndarray:
    """A numeric or boolean column as float64, NaN for null."""
    values = batch.column(batch.schema.get_field_index(name))
    return values.cast(pa.float64()).to_numpy(zero_copy_only=False)


def assign_labels(batch: pa.RecordBatch, recipe, options: dict) -> tuple[np.ndarray, ...]:
    """(target, weight, known): target (n, 1) class or (n, 2) PSI; weight is the label's, 0 for masked rows; known marks
    annotated sites that are kept for training only.

    A stream whose sites carried the same recipe keeps their labels; otherwise the recipe's rule is applied to the
    facts. recipe: of libmeta.recipes, with labels, target, reference_weight. options: of the rule (reference, min_support,
    min_psi), and given where the labels of the sites are kept.
    """
    facts = Facts(
        site=column(batch, "label.site").astype(np.uint8),
        tier=column(batch, "label.tier"),
        reads=column(batch, "label.reads"),
        psi=column(batch, "label.psi"),
        measured=column(batch, "label.measured") > 0,
        breadth=column(batch, "label.breadth") if "label.breadth" in batch.schema.names else None,
    )
    rule = {k: v for k, v in options.items() if k != "given"}
    if options.get("given"):
        kind, weight = column(batch, "label.class"), column(batch, "label.weight")
    else:
        kind, weight = RULES[recipe.labels](facts, **rule)
    kind, weight = kind.astype(np.float64), weight.astype(np.float64)
    kept = np.zeros(len(kind), bool)
    if recipe.reference_weight:
        kept, kinds = _kept_aside(facts, recipe.labels, weight, rule)
        kind, weight = np.where(kept, kinds, kind), np.where(kept, recipe.reference_weight, weight)
    if recipe.target != "psi":
        return kind[:, None], weight, kept
    weight = np.where((kind < NEITHER) & np.isnan(facts.psi), 0.0, weight)  # supported, but its PSI was not measured
    return np.column_stack([np.where(kind == k, np.nan_to_num(facts.psi), 0.0) for k in (0, 1)]), weight, kept


def _kept_aside(facts: Facts, labels: str, weight: np.ndarray, rule: dict) -> tuple[np.ndarray, np.ndarray]:
    """(bool (n,), class (n,)): sites that a rule masks because they are annotated, for training with a weight, never for the
    recipe's own score. m1: alternative sites. m3: sites of the reference that the evidence supports.
    """
    if labels == "m1":
        kinds, weights = m2(facts)
        known = facts.tier > 0
    else:
        kinds, weights = m3(facts, **{**rule, "reference": ()})
        known = np.isin(facts.tier, rule.get("reference", (0, 1, 2)))
    return known & (weight == 0) & (weights > 0) & (kinds < NEITHER), kinds
