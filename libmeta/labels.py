"""Label rules of the recipes, on arrays: the one place that says what is positive, negative and masked.

The same functions label site tables (every row a site) and feature rows (most rows no site).
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from libmeta.introns import NEITHER

NOVEL = 3  # tier of a site that no annotation has


@dataclass(frozen=True)
class Facts:
    """What is known of n positions, each (n,).

    site: uint8, 0 donor, 1 acceptor, 2 no site. tier: float, 0..3, NaN where there is no site. reads: junction reads,
    float, NaN where no junction table covers it. psi: float in [0, 1], NaN not measured. measured: bool, the junction
    evidence covers the gene (or the position itself).
    """

    site: np.ndarray
    tier: np.ndarray
    reads: np.ndarray
    psi: np.ndarray
    measured: np.ndarray


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


RULES = {"m1": m1, "m2": m2, "m3": m3}


def _evidence(facts: Facts, min_support: float, min_psi: float) -> tuple[np.ndarray, np.ndarray]:
    """(some reads but too few, supported), bool (n,). Comparisons with NaN are False, as they should be."""
    few = (facts.reads > 0) & (facts.reads < min_support)
    return few, (facts.reads >= min_support) | ((facts.psi >= min_psi) & ~few)


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
    score. m1: alternative sites. m3: sites of the reference that the evidence supports.
    """
    if labels == "m1":
        kinds, weights = m2(facts)
        known = facts.tier > 0
    else:
        kinds, weights = m3(facts, **{**rule, "reference": ()})
        known = np.isin(facts.tier, rule.get("reference", (0, 1, 2)))
    return known & (weight == 0) & (weights > 0) & (kinds < NEITHER), kinds
