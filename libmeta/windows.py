"""Windows of the training regions: where they are drawn, and what the drawing does to the class frequencies.

Half of them (site_share) lie around a site, jittered by up to a quarter of their length; the others start anywhere. A
window may stick out of its region's core, where its positions have no weight.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Draws:
    """Windows by region number and start within the region (which may be negative), each int64 (n,)."""

    region: np.ndarray
    start: np.ndarray


class WindowSampler:
    """Draws windows of `width` scored bases from regions.

    spans: int64 (n, 2), first and one past the last position of each region's core, counted from the start of the
    region. site_region, site_at: sites that windows may be drawn at. The draws of an epoch depend on seed and epoch
    only, not on who reads the windows.
    """

    def __init__(
        self,
        spans: np.ndarray,
        site_region: np.ndarray,
        site_at: np.ndarray,
        width: int,
        site_share: float,
        seed: int,
    ):
        self.spans, self.width, self.seed = spans, width, seed
        self.site_region, self.site_at = site_region, site_at
        self.site_share = site_share if len(site_at) else 0.0
        self.reach = width // 4
        # A window may start up to half its length before the core, and in its last half.
        self.first = spans[:, 0] - width // 2
        self.room = spans[:, 1] - spans[:, 0]
        self.ends = np.cumsum(self.room)

    def draw(self, epoch: int, count: int) -> Draws:
        """The windows of an epoch, in the order of their use."""
        rng = np.random.default_rng((self.seed, epoch))
        at_site = rng.random(count) < self.site_share
        pick = rng.integers(0, max(self.ends[-1], 1), count)
        region = np.searchsorted(self.ends, pick, side="right")
        start = self.first[region] + pick - (self.ends[region] - self.room[region])
        jitter = rng.integers(-self.reach, self.reach + 1, count)
        if self.site_share:
            site = rng.integers(0, len(self.site_at), count)
            region = np.where(at_site, self.site_region[site], region)
            start = np.where(at_site, self.site_at[site] + jitter - self.width // 2, start)
        return Draws(region, start)

    def coverage(self, region: int) -> np.ndarray:
        """Expected number of windows per window drawn that hold each position of the region's core, float64 (core,)."""
        low, high = self.spans[region]
        n = int(high - low)
        # Steps of the expected number of windows that start at or before a position, from first - width on.
        starts = np.zeros(n + 2 * self.width + 2)
        origin = int(low) - self.width  # position of starts[0]
        uniform = (1 - self.site_share) / self.ends[-1]
        at = int(self.first[region]) - origin
        starts[at : at + n] += uniform
        if self.site_share:
            each = self.site_share / len(self.site_at) / (2 * self.reach + 1)
            edges = np.zeros(len(starts) + 1)
            here = self.site_at[self.site_region == region] - self.width // 2 - origin
            np.add.at(edges, np.clip(here - self.reach, 0, len(starts)), each)
            np.add.at(edges, np.clip(here + self.reach + 1, 0, len(starts)), -each)
            starts += np.cumsum(edges[:-1])
        before = np.concatenate([[0.0], np.cumsum(starts)])
        position = np.arange(int(low), int(high)) - origin
        return before[position + 1] - before[position + 1 - self.width]


def sampling_ratio(sampler: WindowSampler, labels, kinds: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """(how much more often each class is met in the windows than in the regions, its true share), float64 (kinds,).

    labels: function region -> (label uint8, weight float32) of its core; all counts are by weight. The logarithm of the
    ratio is the prior that training takes out of the logits. A class that is not there has ratio 1.
    """
    met, there = np.zeros(kinds), np.zeros(kinds)
    for region in range(len(sampler.spans)):
        label, weight = labels(region)
        times = sampler.coverage(region) * weight
        met += np.bincount(label, times, kinds)[:kinds]
        there += np.bincount(label, weight, kinds)[:kinds]
    share, true = met / met.sum(), there / there.sum()
    return np.divide(share, true, out=np.ones(kinds), where=(true > 0) & (share > 0)), true
