"""Shards in memory, and a genome whose sites follow a known law of sequence, base scores and two tracks.

The law: a donor can be where GT follows, an acceptor where AG precedes; the log-odds of such a candidate are a sum of
what the base model knows, of two tracks, and of one letter nearby. So the best possible ranking is known.
"""

from pathlib import Path

import numpy as np

from libmeta.shards import ARRAYS, NO_TIER, ShardRegion

SCALING = [
    {"name": "conservation.phylop_score", "modality": "conservation", "log1p": False, "centre": 0.0, "scale": 1.0},
    {"name": "chrom_access.atac_max", "modality": "chrom_access", "log1p": False, "centre": 0.0, "scale": 1.0},
]


class ToyShards:
    """What libmeta.shards.Shards offers, of arrays: {part: [dict of sequence, base, channels, label, weight, tier]}."""

    def __init__(self, parts: dict[str, list[dict]], channels: list[dict], base_names=("one",), flank: int = 400):
        self.parts, self.channels, self.base_names = parts, list(channels), list(base_names)
        self.flank, self.folder = flank, Path("toy")
        self.manifest = {"recipe": "m1", "files": [], "base_models": [{"name": n} for n in base_names]}

    def take(self, base_names, channel_names):
        names = [c["name"] for c in self.channels]
        rows = [names.index(n) for n in channel_names]
        models = [self.base_names.index(n) for n in base_names]
        self.channels = [self.channels[i] for i in rows]
        self.base_names = list(base_names)
        self.parts = {
            p: [{**r, "channels": r["channels"][rows], "base": r["base"][models]} for r in regions]
            for p, regions in self.parts.items()
        }

    def regions(self, part):
        return [
            ShardRegion(part, i, len(r["label"]), "c1", 0, len(r["label"]), "+") for i, r in enumerate(self.parts[part])
        ]

    def read(self, region, low, high):
        arrays = self.parts[region.file][region.offset]
        out = {}
        for name, unknown in ARRAYS.items():
            values = arrays[name]
            whole = np.full((*values.shape[:-1], high - low), unknown, values.dtype)
            a, b = max(low, 0), min(high, region.length)
            if a < b:
                whole[..., a - low : b - low] = values[..., a:b]
            out[name] = whole
        return out

    def labels(self, region, low, high):
        part = self.read(region, low, high)
        return part["label"], part["weight"]

    def sites(self, part):
        rows = [
            (i, at, r["label"][at])
            for i, r in enumerate(self.parts[part])
            for at in np.flatnonzero((r["label"] != 2) & (r["weight"] > 0))
        ]
        return tuple(np.array(rows, np.int64).reshape(-1, 3).T)


def planted_region(rng: np.random.Generator, length: int, flank: int, tracks: float = 1.5, letter: float = 1.5) -> dict:
    """Arrays of a region, and "truth", the probability (2, L) by which its labels were drawn."""
    n = length + 2 * flank
    codes = rng.integers(1, 5, n).astype(np.uint8)
    signal = rng.normal(0, 1, (2, n)).astype(np.float32)
    gt, ag = _pair(codes, 3, 4), _pair(codes, 1, 3)
    candidate = np.zeros((2, n), bool)
    candidate[0, :-2] = gt[1:]  # the two bases behind it
    candidate[1, 2:] = ag[:-1]  # the two bases before it
    known = rng.normal(-2.0, 1.5, (2, n))
    near = np.stack([np.roll(codes, -4) == 1, np.roll(codes, 4) == 2])
    odds = known + tracks * signal.sum(0) + letter * near
    truth = np.where(candidate, 1 / (1 + np.exp(-odds)), 0.0)
    base = np.where(candidate, 1 / (1 + np.exp(-known - letter / 4)), 1e-5)
    base = (base / np.maximum(base.sum(0), 1.0) * 0.999).astype(np.float32)
    drawn = rng.random((2, n)) < truth
    label = np.full(n, 2, np.uint8)
    label[drawn[1]] = 1
    label[drawn[0]] = 0
    weight = np.zeros(n, np.float32)
    weight[flank : n - flank] = 1
    weight[candidate.all(0)] = 0  # a base that could be both would break the law
    tier = np.where((label != 2) & (weight > 0), 0, NO_TIER).astype(np.uint8)
    arrays = {"sequence": codes, "base": base[None], "channels": signal, "label": label, "weight": weight, "tier": tier}
    return {**arrays, "truth": truth}


def _pair(codes: np.ndarray, first: int, second: int) -> np.ndarray:
    """bool (n - 1,): codes i and i + 1 are this pair."""
    return (codes[:-1] == first) & (codes[1:] == second)


def planted(seed: int, flank: int = 400, sizes=(("train", 6), ("valid", 2), ("test", 3)), length: int = 12_000, **law):
    """ToyShards of the planted genome."""
    rng = np.random.default_rng(seed)
    parts = {part: [planted_region(rng, length, flank, **law) for _ in range(count)] for part, count in sizes}
    return ToyShards(parts, SCALING, flank=flank)
