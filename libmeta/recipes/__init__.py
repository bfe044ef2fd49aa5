"""Recipes: one file per model of the families M1..M4, found by being here. A file has one RECIPE."""

import pkgutil
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import import_module

from libmeta.errors import USAGE, MetaError

EVIDENCE = (
    "base_scores", "genomic", "conservation", "epigenetic", "chrom_access", "rbp_eclip", "rbp_motif", "fm_embeddings",
    "exon_prob",
)  # fmt: skip
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


# What a laptop trains in minutes, and what a whole genome deserves: the same recipe at two sizes.
PROFILES = {
    "lightweight": {"epochs": 8, "windows": 640, "patience": 3},
    "full": {"epochs": 40, "windows": 40_000, "patience": 6, "network": {"hidden": 48}},
}


@dataclass(frozen=True)
class SequenceRecipe:
    """How a sequence model (a network of libmeta.models) is made.

    labels, target, evidence, uses, leaves_out, reference_weight: as of PositionRecipe; leaves_out names channels.
    kind: "meta", "window" or "seq2seq". network: changes of its configuration. window: bases of a training window that
    are scored (its context comes on top). epochs of `windows` windows at most; patience: epochs without a better
    validation AP. site_share: windows that are drawn at a site. loss: ce, focal, kl or nnpu, whose
    priors are estimated (see libmeta.label_gaps). soft: the weight of a site is the probability of its class, its target.
    modality_dropout: chance that a window lacks a modality. tissues: what stands for a tissue (embedding, one-hot,
    profile), "" for a model without; tissues_per_window: drawn for each window. profiles: {name: changes of these settings}.
    """

    name: str
    doc: str
    labels: str
    evidence: str
    target: str = "class"
    uses: tuple[str, ...] = EVIDENCE
    leaves_out: dict[str, str] = field(default_factory=dict)
    reference_weight: float = 0.0
    kind: str = "meta"
    network: dict = field(default_factory=dict)
    window: int = 5001
    batch: int = 8
    epochs: int = 8
    windows: int = 640
    patience: int = 3
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    warm_up: float = 0.1
    clip: float = 1.0
    site_share: float = 0.5
    loss: str = "ce"
    soft: bool = False
    modality_dropout: float = 0.1
    tissues: str = ""
    tissues_per_window: int = 8
    profiles: dict = field(default_factory=lambda: dict(PROFILES))

    def profile(self, name: str) -> "SequenceRecipe":
        """The recipe with the settings of a profile."""
        if name not in self.profiles:
            raise MetaError(f"unknown profile {name!r}, --profile; known: {', '.join(self.profiles)}", USAGE)
        changes = dict(self.profiles[name])
        return replace(self, **{**changes, "network": {**self.network, **changes.get("network", {})}})


@cache
def names() -> tuple[str, ...]:
    """Names as typed: m1-p, m3-p, ..."""
    return tuple(sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if m.name[0] != "_"))


def get(name: str) -> PositionRecipe | SequenceRecipe:
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
