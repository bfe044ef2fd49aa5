"""M2E-S: annotated and supported sites, tissue by tissue, sequence model."""

from libmeta.recipes import PROFILES, SequenceRecipe

RECIPE = SequenceRecipe(
    name="m2e-s",
    doc="Sites that are active in a tissue, at every base; those that are inactive in it are negatives, unknown ones masked.",
    labels="m2e",
    evidence="junction",  # reads of the predicted tissue would be the label in disguise
    tissues="embedding",
    # The tissue joins at the head, not in stream C: the rest of the network is then run once for all tissues.
    network={"tissue_join": "head"},
    # Only sites tell tissues apart: short windows hold more of them.
    window=2001,
    batch=16,
    profiles={
        "lightweight": {**PROFILES["lightweight"], "windows": 1280},
        "full": {**PROFILES["full"], "windows": 80_000},
    },
)
