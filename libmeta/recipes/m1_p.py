"""M1-P: canonical sites, position model."""

from libmeta.recipes import PositionRecipe

RECIPE = PositionRecipe(
    name="m1-p",
    doc="Canonical (tier 0) sites from base scores, sequence context and evidence tracks; junctions are not used at all.",
    labels="m1",
    target="class",
    evidence="annotation",
)
