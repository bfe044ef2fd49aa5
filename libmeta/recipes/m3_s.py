"""M3-S: sites that RNA-seq supports and the reference does not have, sequence model."""

from libmeta.recipes import SequenceRecipe

RECIPE = SequenceRecipe(
    name="m3-s",
    doc="Junction-supported sites outside the reference at every base; junction evidence is the target, never a channel.",
    labels="m3",
    evidence="junction",
    reference_weight=0.5,
)
