"""How many true sites an annotation lacks, for positive-unlabelled learning.

Sites are taken to be annotated at random: each true site of a kind with the same chance c. What the base model calls tells
c: where its score is at least 0.5, the scores add up to the number of true sites to be expected, and the labels count the
annotated ones. That is the estimate of Elkan & Noto 2008 (e1), with the base model in place of a classifier of our own.
"""

from dataclasses import dataclass

import numpy as np

from libmeta.errors import MetaError
from libmeta.introns import SITE_NAMES
from libmeta.shards import Shards
from libmeta.windows import WindowSampler

CALLED = 0.5  # base score from which on c is looked at
FEWEST = 20  # annotated sites that make an estimate


@dataclass(frozen=True)
class Gaps:
    """Of donor and acceptor, float64 (2,): annotated (share of the positions), found (chance c that a true site is
    annotated), prior (share of true sites among the positions, annotated / found)."""

    annotated: np.ndarray
    found: np.ndarray

    @property
    def prior(self) -> np.ndarray:
        return self.annotated / self.found


def estimate(shards: Shards) -> Gaps:
    """From the validation regions, which no weight is trained on, and the primary base model.

    Raises MetaError where the base model calls too few annotated sites there.
    """
    expected, called, sites, total = np.zeros(2), np.zeros(2), np.zeros(2), 0
    for region in shards.regions("valid"):
        part = shards.read(region, 0, region.length)
        base, label = part["base"][0], part["label"]
        counted = (part["weight"] > 0) & np.isfinite(base).all(axis=0)
        total += int(counted.sum())
        for k in (0, 1):
            above = counted & (np.nan_to_num(base[k]) >= CALLED)
            expected[k] += float(base[k][above].sum())
            called[k] += int((label[above] == k).sum())
            sites[k] += int((label[counted] == k).sum())
    for k, name in enumerate(SITE_NAMES[:2]):
        if called[k] < FEWEST:
            raise MetaError(
                f"the base model calls {int(called[k])} annotated {name}s of the validation regions, {shards.folder}: too few "
                f"to estimate how many sites the annotation lacks; give ms-shard more --valid"
            )
    return Gaps(sites / total, np.minimum(called / expected, 1))


def as_sampled(gaps: Gaps, sampler: WindowSampler, labels, ratio: np.ndarray, true: np.ndarray) -> tuple[tuple, tuple]:
    """(prior, hidden) of the nnpu loss: share of true sites among the positions of the windows, and among the unlabelled
    ones of them, of donor and acceptor.

    labels, and ratio and true that come from it: of windows.sampling_ratio. Windows are drawn at annotated sites; one that
    is not annotated is met as often as an annotated one is by windows that were drawn elsewhere.
    """
    prior = gaps.prior * ratio[:2]
    met, sites, covered, positions = np.zeros(2), np.zeros(2), 0.0, 0.0
    own = sampler.site_share / max(len(sampler.site_at), 1)
    for region in range(len(sampler.spans)):
        label, weight = labels(region)
        times = sampler.coverage(region)
        covered, positions = covered + float((times * weight).sum()), positions + float(weight.sum())
        for k in (0, 1):
            mine = (label == k) & (weight > 0)
            met[k] += float((times[mine] - own).sum())
            sites[k] += int(mine.sum())
    elsewhere = met / np.maximum(sites, 1) / (covered / positions)
    hidden = (gaps.prior - gaps.annotated) * elsewhere / (ratio[2] * true[2])
    return tuple(prior.tolist()), tuple(hidden.tolist())
