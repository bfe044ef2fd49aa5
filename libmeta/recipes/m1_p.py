"""M1-P: canonical sites, position model."""

from libmeta.recipes import PositionRecipe

RECIPE = PositionRecipe(
    name="m1-p",
    doc="Canonical (tier 0) sites from base scores, sequence context and evidence tracks; junctions are not used at all.",
    labels="m1",
    target="class",
    evidence="annotation",
    uses=(
        "base_scores",
        "genomic",
        "conservation",
        "epigenetic",
        "chrom_access",
        "rbp_eclip",
        "fm_embeddings",
    ),
    params={
        "max_depth": 4,
        "eta": 0.05,
        "min_child_weight": 5,
        "subsample": 0.8,
        "colsample_bytree": 0.5,
        "lambda": 5,
    },
)
