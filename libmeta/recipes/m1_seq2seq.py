"""The window classifier's encoders, run over whole windows."""

from dataclasses import replace

from libmeta.recipes.m1_s import RECIPE as M1_S

RECIPE = replace(
    M1_S,
    name="m1-seq2seq",
    doc="As m1-s, with the encoders of the window classifier at every base.",
    kind="seq2seq",
)
