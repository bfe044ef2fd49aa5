"""M2D-SOFT-S: as m2d-s, with the weight as a soft target."""

from dataclasses import replace

from libmeta.recipes.m2d_s import RECIPE as M2D_S

RECIPE = replace(
    M2D_S,
    name="m2d-soft-s",
    doc="As m2d-s, but every site counts fully and its weight w is its target: w on its class, the rest on neither.",
    loss="kl",
    soft=True,
)
