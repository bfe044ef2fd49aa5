"""M2F-S: annotated sites are positive, everything else is unlabelled."""

from dataclasses import replace

from libmeta.recipes.m2_s import RECIPE as M2_S

RECIPE = replace(
    M2_S,
    name="m2f-s",
    doc="As m2-s; a position that nobody has annotated is not taken for a negative (positive-unlabelled risk).",
    loss="nnpu",
)
