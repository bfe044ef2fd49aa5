"""Label rules of the recipes, on arrays: the one place that says what is positive, negative and masked.

The same functions label site tables (every row a site) and feature rows (most rows no site).
"""

from dataclasses import dataclass

import numpy as np

from libmeta.introns import NEITHER


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


def _evidence(facts: Facts, min_support: float, min_psi: float) -> tuple[np.ndarray, np.ndarray]:
    """(some reads but too few, supported), bool (n,). Comparisons with NaN are False, as they should be."""
    few = (facts.reads > 0) & (facts.reads < min_support)
    return few, (facts.reads >= min_support) | ((facts.psi >= min_psi) & ~few)
