"""M3-P with a continuous target: the PSI of the site."""

from dataclasses import replace

from libmeta.recipes.m3_p import RECIPE as M3_P

RECIPE = replace(
    M3_P,
    name="m3-p-psi",
    doc="As m3-p, but the target is the site's junction PSI in [0, 1], one logistic output for donor and acceptor each.",
    target="psi",
)
