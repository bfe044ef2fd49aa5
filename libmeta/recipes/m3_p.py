"""M3-P: sites that RNA-seq supports and the reference does not have, position model."""

from libmeta.modalities.genomic import LEAKY
from libmeta.recipes import PositionRecipe

RECIPE = PositionRecipe(
    name="m3-p",
    doc="Junction-supported sites outside the reference; junction evidence is the target, never a feature.",
    labels="m3",
    target="class",
    evidence="junction",
    leaves_out={f"genomic.{c}": "gene bounds are those of the annotation, and leaky for novel sites" for c in LEAKY},
    reference_weight=0.5,
)
