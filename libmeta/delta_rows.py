"""What a scored row holds, by model: effects, and scores along the sequence."""

from dataclasses import replace

from libmeta.delta import Effect, Row
from libmeta.variant_windows import Aligned

MODELS = {"base": "base", "meta": "refined"}  # and what pictures call them


def effects(row: Row) -> dict[str, Effect]:
    """The effects of a row by model, in the order of MODELS."""
    return {"base": row.effect}


def scores(row: Row) -> dict[str, Aligned]:
    """The scores along the sequence by model."""
    return {"base": row.aligned}


def light(row: Row) -> Row:
    """The row without its scores along the sequence."""
    return replace(row, aligned=None)
