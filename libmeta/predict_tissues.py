"""Which tissues a model is asked for, and what its network is given for them."""

from dataclasses import dataclass

import numpy as np

from libmeta import tissue_names, tissue_profiles, tissue_training
from libmeta.errors import USAGE, MetaError


@dataclass(frozen=True)
class Asked:
    """names: full names of the tissues, in the order asked. inputs: int64 (T,) or float32 (T, F), of the network."""

    names: list[str]
    inputs: np.ndarray

    @property
    def short(self) -> list[str]:
        """As in file and column names."""
        return [tissue_names.short(n) for n in self.names]


def ask(model, tissues: tuple[str, ...], profile: str | None, where: str) -> Asked | None:
    """What --tissue and --tissue-profile ask of a model; None for a model without tissues.

    profile: a table of further tissues, for a model that was trained on profiles; it may hold known ones too, whose rows
    it then replaces. Raises MetaError (usage) where the model has no tissues but some are asked for, none is asked for, or
    one is unknown.
    """
    known = model.tissues
    if not known:
        if tissues or profile:
            raise MetaError(f"{where} of {model.recipe} knows no tissues, --tissue; leave it out", USAGE)
        return None
    names, inputs = list(known["names"]), tissue_training.inputs(known)
    if profile:
        if known["form"] != tissue_training.PROFILE:
            raise MetaError(
                f"{where} was trained on names of tissues, not on profiles, --tissue-profile; leave it out", USAGE
            )
        names, inputs = _with_profiles(known, names, inputs, tissue_profiles.read(profile))
    chosen = tissue_names.choose(tissues, names, where)
    return Asked([names[i] for i in chosen], inputs[chosen])


def _with_profiles(known: dict, names: list[str], inputs: np.ndarray, table) -> tuple[list[str], np.ndarray]:
    """Names and inputs of the model's tissues and of those of a table."""
    values = (table.of(table.names, known["genes"]) - known["centre"]) / np.array(known["scale"])
    given = {tissue_names.short(n) for n in table.names}
    kept = [i for i, n in enumerate(names) if tissue_names.short(n) not in given]
    return [names[i] for i in kept] + table.names, np.concatenate([inputs[kept], values.astype(np.float32)])
