"""M2-P: every annotated site, alternative ones included, position model."""

from libmeta.recipes import EVIDENCE, PositionRecipe

RECIPE = PositionRecipe(
    name="m2-p",
    doc="Annotated sites of all tiers; novel ones are masked. Junctions are evidence like any other.",
    labels="m2",
    target="class",
    evidence="annotation",
    uses=(*EVIDENCE, "junction"),
)
