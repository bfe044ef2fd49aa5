"""Validation of a sequence model: whole regions tiled at true prevalence, the base model on the same positions."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from libmeta import bootstrap
from libmeta.histograms import Scores, bin_of
from libmeta.introns import NEITHER
from libmeta.labels import NOVEL
from libmeta.metrics import average_precision, make_curve
from libmeta.shards import NO_TIER, ShardRegion, Shards

PIECE = 50_000
DRAWS = 200
COUNTED, ANNOTATED = "counted", "annotated"  # sites of the recipe; all sites that an annotation has


@dataclass
class Kind:
    """Scores of one kind of site by one model, by numbered tile. Cells of the negatives are the halves of the tiles.

    Sites that the recipe masks (weight 0) are kept beside those that count: which ones are looked at, each time before the
    same negatives, is said by `which`: COUNTED, ANNOTATED or a tier.
    """

    negatives: Scores = field(default_factory=Scores)
    by_tile: bootstrap.GeneCounts | None = field(default_factory=bootstrap.GeneCounts)  # None: no draws are wanted
    sites: list[tuple[np.ndarray, ...]] = field(default_factory=list)  # (tile, score, weight, tier)

    def add(self, tile: int, score: np.ndarray, is_site: np.ndarray, weight: np.ndarray, tier: np.ndarray) -> None:
        self.sites.append((np.full(int(is_site.sum()), tile), score[is_site], weight[is_site], tier[is_site]))
        is_negative = ~is_site & (weight > 0)
        rest, weights = score[is_negative], weight[is_negative]
        bins = bin_of(rest)
        self.negatives.add(half_of(tile), rest, weights, bins)
        if self.by_tile is not None:
            self.by_tile.add(np.full(len(rest), tile), bins, weights)

    def merge(self, other: "Kind") -> None:
        self.negatives.merge(other.negatives)
        if self.by_tile is not None:
            self.by_tile.merge(other.by_tile)
        self.sites += other.sites

    def positives(self, which: str | int = COUNTED) -> tuple[np.ndarray, ...]:
        """(tile, score, weight) of the sites looked at."""
        none = np.zeros(0, np.int64), np.zeros(0, np.float32), np.zeros(0, np.float32), np.zeros(0, np.uint8)
        tile, score, weight, tier = (np.concatenate(parts) for parts in zip(none, *self.sites, strict=True))
        if which == COUNTED:
            mine = weight > 0
        else:
            mine, weight = tier < NOVEL if which == ANNOTATED else tier == which, np.ones(len(tier), np.float32)
        return tile[mine], score[mine], weight[mine]

    def average_precision(self, half: int | None = None, which: str | int = COUNTED) -> float | None:
        """Over all tiles, or one half of them; None without a site."""
        tile, score, weight = self.positives(which)
        if half is not None:
            mine = np.array([half_of(t) == half for t in tile.tolist()], bool)
            score, weight = score[mine], weight[mine]
        if not len(score):
            return None
        edges, counts, _ = self.negatives.select(None if half is None else {half})
        placed = self.negatives.place(score)[0]
        zero = np.zeros
        return average_precision(
            make_curve(
                np.concatenate([placed, edges]),
                np.concatenate([weight, zero(len(edges))]),
                np.concatenate([zero(len(placed)), counts]),
            )
        )

    def draws(self, times: np.ndarray, which: str | int = COUNTED) -> np.ndarray:
        """AP of each bootstrap draw of tiles, the first being the data as it is."""
        tile, score, weight = self.positives(which)
        n = len(times)
        positive = bootstrap.positive_matrix(tile, score, weight, n) @ times
        return bootstrap.draw_average_precision(positive, self.by_tile.matrix(n) @ times)


@cache
def half_of(tile: int) -> int:
    """0 or 1, by chance but always the same: neighbours and strands must not alternate."""
    return int(np.random.default_rng(tile).integers(2))


@dataclass
class Judged:
    """The two kinds of sites of one model."""

    kinds: tuple[Kind, Kind] = field(default_factory=lambda: (Kind(), Kind()))

    @classmethod
    def plain(cls) -> "Judged":
        """One that keeps nothing for draws."""
        return cls((Kind(by_tile=None), Kind(by_tile=None)))

    def add(
        self, tile: int, label: np.ndarray, weight: np.ndarray, p: np.ndarray, tier: np.ndarray | None = None
    ) -> None:
        """Positions of a tile: label uint8 (n,), weight (n,), 0 for sites to be kept beside, p float32 (n, >= 2), tier uint8
        (n,), which may be unknown.
        """
        tier = np.full(len(label), NO_TIER, np.uint8) if tier is None else tier
        for k, kind in enumerate(self.kinds):
            kind.add(tile, p[:, k], label == k, weight, tier)

    def merge(self, other: "Judged") -> None:
        for mine, theirs in zip(self.kinds, other.kinds, strict=True):
            mine.merge(theirs)

    def aps(self, half: int | None = None, which: str | int = COUNTED) -> list[float | None]:
        """AP of donors and of acceptors; None without any."""
        return [kind.average_precision(half, which) for kind in self.kinds]

    def macro_ap(self, half: int | None = None, which: str | int = COUNTED) -> float:
        """Mean of donor and acceptor AP; a kind without a site is left out."""
        found = [ap for ap in self.aps(half, which) if ap is not None]
        return float(np.mean(found)) if found else float("nan")

    def aim(self, aims: tuple, half: int | None = None) -> float:
        """Mean macro AP over the strata that a recipe aims at; those without a site are left out."""
        found = [ap for ap in (self.macro_ap(half, which) for which in aims) if np.isfinite(ap)]
        return float(np.mean(found)) if found else float("nan")

    def tiers(self, fewest: int = 1) -> list[int]:
        """Tiers of the annotation with at least so many sites of each kind."""
        tiers = [np.concatenate([np.zeros(0, np.uint8), *(s[3] for s in kind.sites)]) for kind in self.kinds]
        return [t for t in range(NOVEL) if min(int((found == t).sum()) for found in tiers) >= fewest]

    def draws(self, times: np.ndarray, which: str | int = COUNTED) -> np.ndarray:
        """macro_ap of each bootstrap draw, moved by what coarse bins do to the point estimate."""
        found = np.array([kind.draws(times, which) for kind in self.kinds])
        known = np.isfinite(found)
        total = np.where(known, found, 0).sum(axis=0)
        mean = np.divide(total, known.sum(axis=0), out=np.full(len(total), np.nan), where=known.any(axis=0))
        return bootstrap.shifted(mean, self.macro_ap(which=which))


def tiles(regions: list[ShardRegion], piece: int = PIECE) -> list[tuple[ShardRegion, int, int]]:
    """(region, start, end) of pieces of all regions, flanks included: they have no weight."""
    return [(r, low, min(low + piece, r.length)) for r in regions for low in range(0, r.length, piece)]


@dataclass
class ScoredTile:
    """Positions of a tile that are judged: label, weight and tier (n,), p (n, 3), base probabilities (K, 2, n)."""

    number: int
    label: np.ndarray
    weight: np.ndarray
    tier: np.ndarray
    p: np.ndarray
    base: np.ndarray


def scored_tiles(
    shards: Shards, regions: list[ShardRegion], score: Callable, context: int, rank: int = 0, ranks: int = 1
) -> Iterator[ScoredTile]:
    """Every position of the regions with a base score and a weight, and annotated sites without one.

    score: function of a Shards.read of [low - context, high + context) -> probabilities float32 (high - low, 3), or of_base()
    with context 0. Tiles are dealt out over ranks.
    """
    for i, (region, low, high) in enumerate(tiles(regions)):
        if i % ranks != rank:
            continue
        part = shards.read(region, low - context, high + context)
        inner = slice(context, context + high - low)
        # a weight says how to train, not how often a position is there
        label, weight = part["label"][inner], (part["weight"][inner] > 0).astype(np.float32)
        tier, base = part["tier"][inner], part["base"][..., inner]
        beside = (label != NEITHER) & (tier < NOVEL)
        seen = ((weight > 0) | beside) & np.isfinite(base[0]).all(axis=0)
        if seen.any():
            yield ScoredTile(i, label[seen], weight[seen], tier[seen], score(part)[seen], base[..., seen])


def judge(
    shards: Shards, regions: list[ShardRegion], score: Callable, context: int, rank: int = 0, ranks: int = 1
) -> Judged:
    """What scored_tiles() scores, to be merged over ranks."""
    found = Judged()
    for tile in scored_tiles(shards, regions, score, context, rank, ranks):
        found.add(tile.number, tile.label, tile.weight, tile.p, tile.tier)
    return found


def of_base(which: int) -> Callable:
    """A score for judge(): base model number `which`, and the primary where that one has none."""

    return lambda part: filled(part["base"])[which].T


def filled(base: np.ndarray) -> np.ndarray:
    """Base probabilities (K, 2, n) in which the primary speaks for a model that has no score."""
    return np.where(np.isfinite(base).all(axis=1, keepdims=True), base, base[:1])


def merged(mine: list[Judged], workers) -> list[Judged]:
    """What all processes (libmeta.workers) have judged, each list in the same order."""
    found, *rest = workers.gather(mine)
    for others in rest:
        for one, other in zip(found, others, strict=True):
            one.merge(other)
    return found


def chance_of_gain(model: Judged, base: Judged, units: int, seed: int, aims: tuple = (COUNTED,)) -> float:
    """Share of paired bootstrap draws of tiles (genes, or parts of long ones) in which the model's aim is above the base's;
    NaN where there are too few tiles to draw from.
    """
    if units < bootstrap.MINIMUM_GENES:
        return float("nan")
    times = bootstrap.draw_genes(units, DRAWS, seed)
    gain = [model.draws(times, which) - base.draws(times, which) for which in aims]
    return float(np.mean(np.nansum(gain, axis=0) > 0))
