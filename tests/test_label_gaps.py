"""What the annotation lacks: estimated from base scores, and carried over to windows that are drawn at annotated sites."""

import numpy as np
import pytest
from toy_shards import planted

from libmeta import label_gaps
from libmeta.errors import MetaError
from libmeta.windows import WindowSampler, sampling_ratio


def hidden(share, seed=1, **more):
    """Shards of a planted genome whose base model is right, with a share of the sites of each part hidden."""
    shards = planted(seed, tracks=0.0, letter=0.0, **more)
    rng = np.random.default_rng(seed)
    for regions in shards.parts.values():
        for region in regions:
            region["true"] = region["label"].copy()
            region["label"][(region["label"] < 2) & (rng.random(len(region["label"])) < share)] = 2
    return shards


def true_share(shards, part):
    counted = [r["true"][r["weight"] > 0] for r in shards.parts[part]]
    return np.array([np.mean(np.concatenate(counted) == k) for k in (0, 1)])


@pytest.mark.parametrize("share", [0.0, 0.5, 0.8])
def test_share_of_the_sites_that_are_annotated(share):
    shards = hidden(share, sizes=(("valid", 40),), length=30_000)
    gaps = label_gaps.estimate(shards)
    assert gaps.found == pytest.approx([1 - share] * 2, abs=0.07)
    assert gaps.prior == pytest.approx(true_share(shards, "valid"), rel=0.15)


def test_too_few_called_sites_are_refused():
    with pytest.raises(
        MetaError, match=r"the base model calls .* annotated donors of the validation regions, toy: too few"
    ):
        label_gaps.estimate(hidden(0.9, sizes=(("valid", 1),), length=3000))


def test_shares_among_the_positions_of_windows():
    """Against windows that are drawn: how often a true site, and how often a hidden one, is met in them."""
    shards = hidden(0.5, sizes=(("train", 6), ("valid", 60)))
    regions = shards.regions("train")
    spans = np.array([[400, r.length - 400] for r in regions])
    region, at, _ = shards.sites("train")
    sampler = WindowSampler(spans, region, at, 101, 0.5, 3)

    def labels(i):
        return shards.labels(regions[i], *sampler.spans[i])

    ratio, true = sampling_ratio(sampler, labels)
    share = true_share(shards, "train")
    gaps = label_gaps.Gaps(true[:2], true[:2] / share)
    prior, unseen = label_gaps.as_sampled(gaps, sampler, labels, ratio, true)
    draws = sampler.draw(0, 150_000)
    met, free = np.zeros(2), 0.0
    for i, arrays in enumerate(shards.parts["train"]):
        n = len(arrays["label"])
        edges = np.zeros(n + 1)
        starts = draws.start[draws.region == i]
        np.add.at(edges, np.clip(starts, 0, n), 1)
        np.add.at(edges, np.clip(starts + 101, 0, n), -1)
        times = np.cumsum(edges[:-1]) * arrays["weight"]
        unlabelled = arrays["label"] == 2
        free += times[unlabelled].sum()
        met += [times[unlabelled & (arrays["true"] == k)].sum() for k in (0, 1)]
    assert unseen == pytest.approx(met / free, rel=0.15)
    assert np.divide(prior, share) == pytest.approx(
        ratio[:2]
    )  # every true site is taken to be met as an annotated one is
