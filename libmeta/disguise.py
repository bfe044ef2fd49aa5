"""The label in disguise: a feature or channel that alone tells the sites of the validation part apart (science.md section 1)."""

import logging

import numpy as np

from libmeta.introns import NEITHER
from libmeta.metrics import average_precision, make_curve
from libmeta.sequence_validation import tiles
from libmeta.spool import Spool

log = logging.getLogger("libmeta")
SUSPICIOUS_AP = 0.99
KINDS = {"donors": (0,), "acceptors": (1,), "sites": (0, 1)}  # tracks as a rule do not tell donors from acceptors
PSI_SITE = 0.05  # with PSI as the target, what counts as a site


def warn_of_features(spool: Spool, names: list[str]) -> list[str]:
    """Features outside the base scores that alone reach AP > 0.99 on validation rows; each is told."""
    target, weight = spool.targets()
    if target.shape[1] == 1:
        positive = {kind: np.isin(target[:, 0], classes) for kind, classes in KINDS.items()}
    else:
        positive = {kind: (target[:, classes] >= PSI_SITE).any(axis=1) for kind, classes in KINDS.items()}
    found = {}
    for i, name in enumerate(names):
        if not name.startswith("base_scores."):
            value = np.nan_to_num(spool.column(i), nan=-np.inf)
            rank = np.unique(value, return_inverse=True)[1]
            found[name] = {k: _both_ways(rank, weight * is_site, weight * ~is_site) for k, is_site in positive.items()}
    return _tell("feature", found)


def warn_of_channels(shards) -> list[str]:
    """Channels that alone reach AP > 0.99 for donors, acceptors or both at all validation positions; each is told.

    shards: Shards, narrowed to the channels that the model takes. Exact, ties included; memory grows with the sites.
    """
    counts = {c["name"]: _Counts() for c in shards.channels}
    for places in (_site_places, _all_places):  # the values at sites first: they are the only thresholds that matter
        for region, low, high in tiles(shards.regions("valid")) if counts else ():
            label, weight = shards.labels(region, low, high)
            at = places(label, weight)
            if not len(at):
                continue
            channels = shards.read(region, low, high)["channels"]
            for values, count in zip(channels, counts.values(), strict=True):
                count.add(values[at], label[at], weight[at])
        for count in counts.values():
            count.close()
    return _tell("channel", {name: count.aps() for name, count in counts.items()})


def _site_places(label: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.flatnonzero((label != NEITHER) & (weight > 0))


def _all_places(label: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return np.flatnonzero(weight > 0)


class _Counts:
    """Weight of each class at, and between, the values that a channel has at sites: first those, then everything."""

    def __init__(self):
        self._seen: list[np.ndarray] = []
        self._edges: np.ndarray | None = None

    def add(self, values: np.ndarray, label: np.ndarray, weight: np.ndarray) -> None:
        values = np.nan_to_num(values, nan=-np.inf)  # missing ranks below everything
        if self._edges is None:
            self._seen.append(np.unique(values))
            return
        # 2 i + 1 at edge i, 2 i below it
        place = sum(np.searchsorted(self._edges, values, side).astype(np.int64) for side in ("left", "right"))
        cells = self._weights.shape[1]
        for k in range(NEITHER + 1):
            mine = label == k
            self._weights[k] += np.bincount(place[mine], weight[mine], cells)

    def close(self) -> None:
        if self._edges is None:
            self._edges = np.unique(np.concatenate([np.zeros(0, np.float32), *self._seen]))
            self._weights = np.zeros((NEITHER + 1, 2 * len(self._edges) + 1))

    def aps(self) -> dict[str, float]:
        places, total = np.arange(self._weights.shape[1]), self._weights.sum(axis=0)
        sites = {kind: self._weights[list(classes)].sum(axis=0) for kind, classes in KINDS.items()}
        return {kind: _both_ways(places, positive, total - positive) for kind, positive in sites.items()}


def _both_ways(rank: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """AP of the rank or of its reverse, whichever is higher; 0 without positives."""
    found = (average_precision(make_curve(r, positive, negative)) for r in (rank, -rank))
    return max((ap for ap in found if ap is not None), default=0.0)


def _tell(what: str, found: dict[str, dict[str, float]]) -> list[str]:
    suspicious = []
    for name, aps in found.items():
        kind = max(aps, key=aps.get)
        if aps[kind] > SUSPICIOUS_AP:
            log.warning("%s %s alone reaches AP %.4f for %s: is it the label in disguise?", what, name, aps[kind], kind)
            suspicious.append(name)
    return suspicious
