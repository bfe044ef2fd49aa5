"""How far a trained model is pulled back to a base model, so that it is below the better one of them in no tier.

Labels of one tier teach a model to rank that tier; what a base model knows of rarer sites may get lost on the way. A
geometric mean with that base model gives it back at some cost elsewhere. Validation, where every annotated site is known,
says how much of it to take: among the shares that leave no tier below the better base model, the one that does best what
the recipe aims at; where none does, the one that leaves least below. The figures told of it are of the tiles it was chosen
on.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from libmeta import bootstrap, encode
from libmeta.sequence_validation import ANNOTATED, DRAWS, Judged, ScoredTile, filled, merged, scored_tiles, tiles
from libmeta.shards import ShardRegion, Shards

log = logging.getLogger("libmeta")
SHARES = tuple(round(0.1 * i, 1) for i in range(1, 10))
FEWEST = 20  # sites of each kind that make a tier worth looking at


@dataclass(frozen=True)
class Pull:
    """share: of base model number `to` in the geometric mean."""

    share: float = 0.0
    to: int = 0


@dataclass
class Found:
    """pull: what was chosen. strata: {stratum: {"model", "unpulled", "base", "base_model"}}: macro AP on validation of the
    model as it is now and before, and of the better base model with its number.
    """

    pull: Pull
    strata: dict[str, dict]


def find(
    shards: Shards, regions: list[ShardRegion], score: Callable, context: int, bases: list[Judged], aims: tuple, seed: int,
    workers,
) -> Found:  # fmt: skip
    """What to take for a score as of sequence_validation.scored_tiles, found by all processes together and told."""
    each = merged(judge_each(shards, regions, score, context, workers.rank, workers.count), workers)
    found = choose(each, bases, aims, len(tiles(regions)), seed)
    tell(found, shards.base_names)
    return found


def candidates(base_models: int) -> list[Pull]:
    """No pull, and each share of each base model."""
    return [Pull(), *(Pull(share, k) for k in range(base_models) for share in SHARES)]


def pulled(p: np.ndarray, towards: np.ndarray, share: float) -> np.ndarray:
    """Geometric mean of probabilities p and `towards`, each (n, 3), by share, summing to 1: what models.Blend does."""
    smallest = np.finfo(np.float32).tiny
    return encode.probabilities((1 - share) * np.log(np.maximum(p, smallest)) + share * np.log(towards))


def judge_each(
    shards: Shards, regions: list[ShardRegion], score: Callable, context: int, rank: int = 0, ranks: int = 1
) -> list[Judged]:
    """One Judged for each of candidates(), by a score as of sequence_validation.scored_tiles; draws are had of the first only:
    those of all would take memory.
    """
    pulls = candidates(len(shards.base_names))
    found = [Judged(), *(Judged.plain() for _ in pulls[1:])]
    for tile in scored_tiles(shards, regions, score, context, rank, ranks):
        bases = _bases(tile)
        for judged, pull in zip(found, pulls, strict=True):
            p = pulled(tile.p, bases[pull.to], pull.share) if pull.share else tile.p
            judged.add(tile.number, tile.label, tile.weight, p, tile.tier)
    return found


def _bases(tile: ScoredTile) -> np.ndarray:
    """Probabilities of the base models (K, n, 3) as the network takes them."""
    return np.exp(encode.log_probabilities(filled(tile.base)).reshape(len(tile.base), 3, -1)).transpose(0, 2, 1)


def choose(models: list[Judged], bases: list[Judged], aims: tuple, units: int, seed: int) -> Found:
    """The candidate to take. models: of candidates(); bases: of the base models; aims: strata that the recipe aims at;
    units: how many tiles there are.

    Each tier's difference to the better base model is counted in its standard error over paired bootstrap draws of tiles;
    shortfalls only are weighed against each other.
    """
    pulls = candidates(len(bases))
    strata = [ANNOTATED, *models[0].tiers(FEWEST)]
    if units < bootstrap.MINIMUM_GENES or not models[0].tiers(FEWEST):
        return Found(Pull(), {})
    times = bootstrap.draw_genes(units, DRAWS, seed)
    worst, told = np.zeros(len(pulls)), {}
    for which in strata:
        floors = [base.macro_ap(which=which) for base in bases]
        best = int(np.argmax(floors))
        error = np.nanstd(models[0].draws(times, which) - bases[best].draws(times, which))
        aps = np.array([model.macro_ap(which=which) for model in models])
        worst = np.minimum(worst, (aps - floors[best]) / max(error, 1e-9))
        told[which] = aps, floors[best], best
    wanted = [model.aim(aims) for model in models]
    chosen = max(range(len(pulls)), key=lambda i: (worst[i], wanted[i]))
    return Found(
        pulls[chosen],
        {
            _name(which): {
                "model": float(aps[chosen]), "unpulled": float(aps[0]), "base": float(floor), "base_model": best,
            }
            for which, (aps, floor, best) in told.items()
        },
    )  # fmt: skip


def _name(which: str | int) -> str:
    return which if isinstance(which, str) else f"tier {which}"


def tell(found: Found, base_names: list[str]) -> None:
    """What was chosen, and each stratum beside the better base model, to the log."""
    if not found.strata:
        return
    if found.pull.share:
        share, name = found.pull.share, base_names[found.pull.to]
        log.info("mixed with %s by a share of %.1f, which does best on validation", name, share)
    for name, s in found.strata.items():
        log.info(
            "validation, %s: macro AP %.4f, %s %.4f (%+.4f)", name, s["model"], base_names[s["base_model"]], s["base"],
            s["model"] - s["base"],
        )  # fmt: skip
