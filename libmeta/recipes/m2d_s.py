"""M2D-S: as m2-s, with the weight of a site by the evidence for it."""

from dataclasses import replace

from libmeta.recipes.m2_s import RECIPE as M2_S

RECIPE = replace(
    M2_S,
    name="m2d-s",
    doc="As m2-s; a site counts by its tier, PSI and breadth over tissues (labels.trust).",
    labels="m2d",
)
