"""A toy genome in which one letter beside a site decides in which tissues it is used."""

import numpy as np
from toy_shards import SCALING, ToyShards, planted_region

from libmeta.site_tissues import ACTIVE, INACTIVE, UNKNOWN

NAMES = ["Liver", "Brain - Cortex", "Testis", "Whole Blood"]
# of the letter 2 bases into the exon: A is for the first two tissues, C for the others, G and T for all
LAW = {1: (1, 1, 0, 0), 2: (0, 0, 1, 1), 3: (1, 1, 1, 1), 4: (1, 1, 1, 1)}
FAR = 2


class ToyTissues:
    """What libmeta.shard_tissues.ShardTissues offers, of {(part, region): (position, site, state)}."""

    def __init__(self, rows: dict, names=NAMES):
        self.rows, self.names = rows, list(names)

    def read(self, region, low, high):
        at, site, state = self.rows[region.file, region.offset]
        mine = (at >= max(low, 0)) & (at < min(high, region.length))
        return at[mine] - low, site[mine], state[mine]


def states(region: dict, rng: np.random.Generator, unknown: float = 0.1) -> tuple[np.ndarray, ...]:
    """(position, site, state (n, 4)) of the sites of a region, by LAW; some are not known."""
    label = region["label"]
    at = np.flatnonzero((label != 2) & (region["weight"] > 0))
    letter = region["sequence"][np.where(label[at] == 0, at - FAR, at + FAR)]
    state = np.array([LAW[int(x)] for x in letter], np.int8).reshape(-1, 4)
    state = np.where(state == 1, ACTIVE, INACTIVE)
    state[rng.random(state.shape) < unknown] = UNKNOWN
    return at, label[at], state.astype(np.int8)


def planted_tissues(seed: int, sizes=(("train", 10), ("valid", 4), ("test", 4)), length: int = 12_000, shuffled=False):
    """ToyShards with .tissues. shuffled: the states of each site in any order of tissues."""
    rng = np.random.default_rng(seed)
    parts = {part: [planted_region(rng, length, 400) for _ in range(count)] for part, count in sizes}
    rows = {(part, i): states(r, rng) for part, regions in parts.items() for i, r in enumerate(regions)}
    if shuffled:
        rows = {k: (at, site, rng.permuted(state, axis=1)) for k, (at, site, state) in rows.items()}
    shards = ToyShards(parts, SCALING)
    shards.tissues, shards.manifest["recipe"] = ToyTissues(rows), "m2e"
    shards.manifest["tissues"] = {"sha256": "toy"}
    return shards
