"""Window classifier: one position from the 501 bases around it."""

from dataclasses import replace

from libmeta.recipes.m1_s import RECIPE as M1_S

_SIZES = {
    "lightweight": {"epochs": 8, "windows": 40_000, "patience": 3},
    "full": {"epochs": 40, "windows": 1_000_000, "patience": 6},
}

RECIPE = replace(
    M1_S,
    name="m1-window",
    doc="As m1-s, but one position at a time: a window classifier over 501 bases.",
    kind="window",
    window=1,
    batch=512,
    windows=40_000,
    epochs=8,
    profiles=_SIZES,
)
