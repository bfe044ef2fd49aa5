"""What a training of one tissue at a time adds to a training: targets by tissue, and validation by tissue.

The label of a tissue is never an input: the states of shard_tissues become targets here and go nowhere else, and channels
of junctions, which hold the reads of the predicted tissue, are refused (sequence_training.choose).
"""

from dataclasses import dataclass, field

import numpy as np
import torch

from libmeta import shard_tissues, tissue_profiles, tissue_ranking
from libmeta.errors import MetaError
from libmeta.introns import NEITHER
from libmeta.sequence_validation import Judged, tiles
from libmeta.shards import ShardRegion, Shards
from libmeta.site_tissues import ACTIVE, UNKNOWN

EMBEDDING, ONE_HOT, PROFILE = "embedding", "one-hot", "profile"
JUDGED = (
    6  # tissues whose AP is judged after each epoch: every further one costs as much as the histograms of all bases
)
KINDS = (0, 1)


def settings(shards: Shards, form: str, profiles: tissue_profiles.Profiles | None) -> dict:
    """What a model keeps of its tissues (see schemas/sequence_model.toml). MetaError where the shards have none."""
    if shards.tissues is None:
        raise MetaError(f"no sites by tissue, {shards.folder}; pack sites of ms-labels --recipe m2e with ms-shard")
    names = shards.tissues.names
    known = {} if profiles is None else tissue_profiles.standardised(profiles, names)
    return {"names": names, "form": PROFILE if profiles else form, **known}


def network(tissues: dict) -> dict:
    """Settings of the network for them."""
    if tissues["form"] == PROFILE:
        return {"tissue_features": len(tissues["genes"])}
    return {"tissues": len(tissues["names"]), "tissue_one_hot": tissues["form"] == ONE_HOT}


def inputs(tissues: dict) -> np.ndarray:
    """What the network is given for each tissue: int64 (T,), or profiles float32 (T, F)."""
    if tissues["form"] == PROFILE:
        return np.array(tissues["profiles"], np.float32)
    return np.arange(len(tissues["names"]))


@dataclass
class TissueTask:
    """Targets of shards by tissue. tissues: of settings(). per_window: tissues drawn for each window; by_head: the network
    takes several at once (else one is drawn). activity (T,): the prior of each tissue, from the training sites.
    """

    shards: Shards
    tissues: dict
    per_window: int
    by_head: bool
    activity: np.ndarray = field(init=False)

    def __post_init__(self):
        self.names, self.inputs = self.tissues["names"], inputs(self.tissues)
        states = [self._core(region)[2] for region in self.shards.regions("train")]
        self.activity = tissue_ranking.activity(np.concatenate(states) if states else np.zeros((0, len(self.names))))

    def _core(self, region: ShardRegion) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(position, site, state) of the sites that a region's labels show."""
        at, site, state = self.shards.tissues.read(region, 0, region.length)
        shown = self.shards.labels(region, 0, region.length)[0][at] == site
        return at[shown], site[shown], state[shown]

    def sites(self, part: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As Shards.sites: those that are known in some tissue, active or not."""
        found = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.uint8))]
        for i, region in enumerate(self.shards.regions(part)):
            at, site, _ = self._core(region)
            found.append((np.full(len(at), i), at, site))
        return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))

    def labels(self, region: ShardRegion, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """(label, weight) of the mean over tissues: a site counts as far as it is active."""
        label, weight = self.shards.labels(region, low, high)
        weight = np.where(label == NEITHER, weight, 0).astype(np.float32)
        at, site, state = self.shards.tissues.read(region, low, high)
        shown = label[at] == site
        weight[at[shown]] = (state[shown] == ACTIVE).mean(axis=1)
        return label, weight

    def draw(self, seed: int, epoch: int, windows: int) -> np.ndarray:
        """Tissues of each window of an epoch, int64 (windows, K), each once in a window."""
        count = min(self.per_window, len(self.names)) if self.by_head else 1
        rng = np.random.default_rng((seed, epoch, 2))
        return rng.permuted(np.tile(np.arange(len(self.names)), (windows, 1)), axis=1)[:, :count]

    def of_tissues(self, made: tuple, windows: list[tuple[int, int]], width: int, drawn: np.ndarray) -> tuple:
        """What tensors() made of windows, turned to the tissues drawn (n, K): the inputs and what stands for the tissues,
        label int64 and weight float32 (n, K, width), or (n, width) where the network takes one tissue.
        """
        given, label, weight = made
        regions, out = self.shards.regions("train"), []
        for i, (region, start) in enumerate(windows):
            found = self.shards.tissues.read(regions[region], start, start + width)
            found = found[0], found[1], found[2][:, drawn[i]]
            out.append(shard_tissues.targets(label[i].numpy().astype(np.uint8), weight[i].numpy(), found))
        label, weight = (torch.from_numpy(np.stack(x)) for x in zip(*out, strict=True))
        tissue = torch.from_numpy(self.inputs[drawn])
        if not self.by_head:
            label, weight, tissue = label[:, 0], weight[:, 0], tissue[:, 0]
        return [*given, tissue], label.long(), weight

    def judge(self, regions: list[ShardRegion], score, context: int, rank: int = 0, ranks: int = 1) -> "JudgedTissues":
        """As sequence_validation.judge, over a fixed choice of tissues; score: of a Shards.read -> (T, n, 3)."""
        chosen = np.random.default_rng(0).permutation(len(self.names))[:JUDGED]
        found = JudgedTissues()
        for i, (region, low, high) in enumerate(tiles(regions)):
            if i % ranks != rank:
                continue
            part = self.shards.read(region, low - context, high + context)
            inner = slice(context, context + high - low)
            base = part["base"][0][:, inner].T
            at_sites = self.shards.tissues.read(region, low, high)
            label, weight = shard_tissues.targets(part["label"][inner], part["weight"][inner], at_sites)
            weight *= np.isfinite(base).all(axis=1)
            if weight.any():
                found.take(i, label, weight, score(part), chosen, self.activity, at_sites)
        return found


@dataclass
class JudgedTissues(Judged):
    """Judged over (tissue, site): pooled over the tissues chosen. blind: the same model, each tissue given the mean over all.

    within: of telling sites (see tissue_ranking), over all tissues: AP and AUC of the model, AP by chance, AP of the prior
    of the tissues.
    """

    blind: Judged | None = None
    within: list[np.ndarray] = field(default_factory=list)

    def take(self, tile, label, weight, p, chosen, activity, at_sites) -> None:
        """A tile: label and weight (T, n), p (n, 2) of a model without tissues or (T, n, 3)."""
        if p.ndim == 2:
            _one_score(self, tile, label[chosen], weight[chosen], p)
            return
        self.blind = self.blind or Judged()
        _one_score(self.blind, tile, label[chosen], weight[chosen], p.mean(axis=0))
        for t in chosen.tolist():
            counted = weight[t] > 0
            self.add(tile, label[t][counted], weight[t][counted], p[t][counted])
        at, site, state = at_sites
        state = np.where(weight[:, at].T > 0, state, UNKNOWN)
        telling = tissue_ranking.telling(state)
        at, site, state = at[telling], site[telling], state[telling]
        if len(at):
            score = np.stack([p[:, i, k] for i, k in zip(at.tolist(), site.tolist(), strict=True)])
            prior = np.tile(activity, (len(at), 1))
            rows = (
                tissue_ranking.average_precision(score, state),
                tissue_ranking.auc(score, state),
                tissue_ranking.chance(state),
                tissue_ranking.average_precision(prior, state),
            )
            self.within.append(np.stack(rows, axis=1))

    def merge(self, other: "JudgedTissues") -> None:
        super().merge(other)
        if other.blind is not None:
            self.blind = self.blind or Judged()
            self.blind.merge(other.blind)
        self.within += other.within

    def told(self) -> dict:
        """What the log and the model tell of it."""
        rows = np.concatenate([np.zeros((0, 4)), *self.within])
        names = ("ap", "auc", "chance_ap", "tissue_prior_ap")
        mean = dict(zip(names, rows.mean(axis=0).tolist(), strict=True)) if len(rows) else {}
        return {
            "blind_macro_ap": self.blind.macro_ap() if self.blind else None,
            "within_site": {"sites": len(rows), **mean},
        }


def _one_score(judged: Judged, tile: int, label: np.ndarray, weight: np.ndarray, p: np.ndarray) -> None:
    """Add (tissue, position) pairs in which all tissues have one score p (n, >= 2): bases that are no site stand for all."""
    site = (label != NEITHER).any(axis=0) | (weight != weight[:1]).any(axis=0)
    rest = ~site & (weight[0] > 0)
    judged.add(tile, label[0][rest], weight[0][rest] * len(label), p[rest])
    for t in range(len(label)):
        counted = site & (weight[t] > 0)
        judged.add(tile, label[t][counted], weight[t][counted], p[counted])
