"""M3-P: sites that RNA-seq supports and the reference does not have, position model."""

from libmeta.modalities.genomic import LEAKY
from libmeta.recipes import PositionRecipe

RECIPE = PositionRecipe(
    name="m3-p",
    doc="Junction-supported sites outside the reference; junction evidence is the target, never a feature.",
    labels="m3",
    target="class",
    evidence="junction",
    uses=(
        "base_scores",
        "genomic",
        "conservation",
        "epigenetic",
        "chrom_access",
        "rbp_eclip",
        "fm_embeddings",
    ),
    leaves_out={f"genomic.{c}": "gene bounds are those of the annotation, and leaky for novel sites" for c in LEAKY},
    reference_weight=0.5,
    params={
        "max_depth": 4,
        "eta": 0.05,
        "min_child_weight": 5,
        "subsample": 0.8,
        "colsample_bytree": 0.5,
        "lambda": 5,
    },
)
