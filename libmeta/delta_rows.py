"""What a scored row holds, by model: effects, and scores along the sequence."""

from dataclasses import replace

from libmeta.delta import MODELS, Effect, Row
from libmeta.variant_windows import Aligned

CALLED = {"base": "base", "meta": "refined"}  # the models, as pictures call them


def effects(row: Row) -> dict[str, Effect]:
    """The effects of a row by model, the base's first."""
    return {model: row.of(model)[1] for model in MODELS if row.of(model)[1] is not None}


def scores(row: Row) -> dict[str, Aligned]:
    """The scores along the sequence by model, the base's first."""
    return {model: row.of(model)[0] for model in MODELS if row.of(model)[0] is not None}


def light(row: Row) -> Row:
    """The row without its scores along the sequence."""
    return replace(row, aligned=None, meta_aligned=None)
