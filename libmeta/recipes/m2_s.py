"""M2-S: every annotated site, alternative ones included, sequence model."""

from libmeta.recipes import EVIDENCE, SequenceRecipe

RECIPE = SequenceRecipe(
    name="m2-s",
    doc="Annotated sites of all tiers at every base; novel ones are masked. Junctions are evidence like any other.",
    labels="m2",
    evidence="annotation",
    uses=(*EVIDENCE, "junction"),
)
