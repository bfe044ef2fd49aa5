"""Training windows: where they are drawn, and what the drawing does to the class frequencies."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libmeta.windows import WindowSampler, sampling_ratio


def sampler(rng, width=21, site_share=0.5, regions=3, sites=4):
    low = rng.integers(0, 8, regions)
    spans = np.column_stack([low, low + rng.integers(1, 90, regions)])
    region = np.sort(rng.integers(0, regions, sites))
    at = np.array([rng.integers(*spans[r]) for r in region], np.int64)
    return WindowSampler(spans, region, at, width, site_share, seed=3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1, 2, 21, 60]), st.sampled_from([0.0, 0.5, 1.0]))
def test_coverage_is_what_the_draws_do(seed, width, site_share):
    """The expected number of windows over a position is the share of all possible windows that hold it."""
    s = sampler(np.random.default_rng(seed), width, site_share)
    n = 40_000
    draws = s.draw(0, n)
    for region, (low, high) in enumerate(s.spans):
        starts = draws.start[draws.region == region]
        position = np.arange(low, high)
        seen = (np.searchsorted(np.sort(starts), position, side="right")
                - np.searchsorted(np.sort(starts), position - width, side="right")) / n  # fmt: skip
        expected = s.coverage(region)
        assert np.all(np.abs(seen - expected) < 6 * np.sqrt(expected / n) + 1e-4)


def test_every_window_touches_its_core():
    s = sampler(np.random.default_rng(1), width=41)
    draws = s.draw(2, 5000)
    low, high = s.spans[draws.region].T
    assert np.all((draws.start < high) & (draws.start + 41 > low))


def test_draws_depend_on_seed_and_epoch_alone():
    s = sampler(np.random.default_rng(5))
    first, again, later = s.draw(4, 50), s.draw(4, 50), s.draw(5, 50)
    assert np.array_equal(first.start, again.start)
    assert np.array_equal(first.region, again.region)
    assert not np.array_equal(first.start, later.start)


def test_site_share_without_sites_is_uniform():
    s = WindowSampler(np.array([[0, 100]]), np.zeros(0, int), np.zeros(0, int), 11, 0.5, 1)
    assert np.allclose(s.coverage(0)[11:-11], 11 / 100)


def test_sampling_ratio_is_the_enrichment_of_each_class():
    """Counted over many drawn windows, by weight; masked positions count nowhere."""
    rng = np.random.default_rng(2)
    s = sampler(rng, width=31, regions=4, sites=9)
    labels = []
    for region, (low, high) in enumerate(s.spans):
        label = np.full(high - low, 2, np.uint8)
        label[s.site_at[s.site_region == region] - low] = rng.integers(0, 2, (s.site_region == region).sum())
        labels.append((label, rng.choice([0.0, 1.0, 0.5], high - low).astype(np.float32)))
    ratio, share = sampling_ratio(s, lambda i: labels[i])
    draws = s.draw(0, 60_000)
    met, there = np.zeros(3), np.zeros(3)
    for region, (low, high) in enumerate(s.spans):
        label, weight = labels[region]
        there += np.bincount(label, weight, 3)
        for start in draws.start[draws.region == region]:
            a, b = max(start, low) - low, min(start + 31, high) - low
            met += np.bincount(label[a:b], weight[a:b], 3)
    assert share == pytest.approx(there / there.sum())
    known = there > 0
    assert ratio[known] == pytest.approx((met / met.sum() / (there / there.sum()))[known], rel=0.05)


def test_a_class_that_is_absent_is_left_alone():
    s = WindowSampler(np.array([[0, 50]]), np.zeros(0, int), np.zeros(0, int), 11, 0.5, 1)
    ratio, share = sampling_ratio(s, lambda i: (np.full(50, 2, np.uint8), np.ones(50, np.float32)))
    assert list(ratio) == [1, 1, 1]
    assert list(share) == [0, 0, 1]
