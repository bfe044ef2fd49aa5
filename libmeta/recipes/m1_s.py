"""M1-S: canonical sites, sequence model."""

from libmeta.recipes import SequenceRecipe

RECIPE = SequenceRecipe(
    name="m1-s",
    doc="Canonical (tier 0) sites at every base, from sequence, base scores and evidence tracks; no junctions.",
    labels="m1",
    evidence="annotation",
    # masked altogether, alternative sites would sink below what the base models say of them; 1.5 for tier 2 gained nothing
    reference_weight=0.5,
)
