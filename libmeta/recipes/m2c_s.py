"""M2C-S: as m2-s, with the weight of a site by its tier."""

from dataclasses import replace

from libmeta.recipes.m2_s import RECIPE as M2_S

RECIPE = replace(
    M2_S,
    name="m2c-s",
    doc="As m2-s; a site counts by its tier: 1.0, 0.85, 0.65, or as ms-labels --tier-weights says.",
    labels="m2c",
)
