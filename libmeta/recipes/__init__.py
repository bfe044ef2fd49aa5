"""Recipes: one file per model of the families M1..M4, found by being here. A file has one RECIPE."""

import pkgutil
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

from libmeta.errors import USAGE, MetaError

EVIDENCE = ("base_scores", "genomic", "conservation", "epigenetic", "chrom_access", "rbp_eclip", "fm_embeddings")
PARAMS = {"max_depth": 4, "eta": 0.05, "min_child_weight": 5, "subsample": 0.8, "colsample_bytree": 0.5, "lambda": 5}


@dataclass(frozen=True)
class PositionRecipe:
    """How a position model (xgboost) is made.

    labels: rule of libmeta.labels that gives class and weight. target: "class" (donor, acceptor, neither) or "psi" (one
    logistic output per kind of site). evidence: the modality that the target comes from; its features are refused.
    uses: modalities whose features are taken; leaves_out: columns that are not, with the reason. reference_weight: weight
    in training of sites that the rule masks because they are annotated. params, rounds, patience: of xgboost.
    """

    name: str
    doc: str
    labels: str
    target: str
    evidence: str
    uses: tuple[str, ...] = EVIDENCE
    leaves_out: dict[str, str] = field(default_factory=dict)
    reference_weight: float = 0.0
    params: dict = field(default_factory=lambda: dict(PARAMS))
    rounds: int = 400
    patience: int = 40


@cache
def names() -> tuple[str, ...]:
    """Names as typed: m1-p, m3-p, ..."""
    return tuple(sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__)))


def get(name: str) -> PositionRecipe:
    """The recipe of that name."""
    if name not in names():
        raise MetaError(f"unknown recipe {name!r}, --recipe; known: {', '.join(names())}", USAGE)
    return import_module(f"libmeta.recipes.{name.replace('-', '_')}").RECIPE


def for_target(target: str) -> str:
    """The recipe that --target alone stands for."""
    chosen = {"annotation": "m1-p", "junction": "m3-p", "psi": "m3-p-psi"}
    if target not in chosen:
        raise MetaError(f"unknown target {target!r}, --target; known: {', '.join(chosen)}", USAGE)
    return chosen[target]
