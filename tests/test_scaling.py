"""What channels are centred and scaled by: quantiles of all values, or of a sample that does not depend on its pieces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libmeta.scaling import Sample


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3000), st.integers(20, 400), st.integers(50, 4000), st.integers(0, 9))
def test_sample_is_exact_or_a_fixed_choice(n, step, most, seed):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((2, n)) < 0.3, np.nan, rng.normal(size=(2, n))).astype(np.float32)
    whole, parts = Sample(2, most), Sample(2, most)
    whole.add(values, 3, np.arange(n), True)
    for low in reversed(range(0, n, step)):
        parts.add(values[:, low : low + step], 3, np.arange(n)[low : low + step], True)
    assert np.array(whole.scales()) == pytest.approx(np.array(parts.scales()))
    for row, (centre, scale, known) in zip(values, whole.scales(), strict=True):
        row = row[~np.isnan(row)].astype(float)
        assert known <= most
        if len(row) == 0:
            assert (centre, scale, known) == (0, 1, 0)
        elif len(row) <= most:
            low, middle, high = np.quantile(row, (0.25, 0.5, 0.75))
            assert (centre, known) == (pytest.approx(middle), len(row))
            assert scale == pytest.approx((high - low) or 1)


def test_sample_of_many_is_fair():
    values = np.random.default_rng(1).normal(3, 2, (1, 300_000)).astype(np.float32)
    sample = Sample(1, 20_000)
    sample.add(values, 0, np.arange(300_000), False)
    centre, scale, known = sample.scales()[0]
    assert 8_000 < known <= 20_000
    assert centre == pytest.approx(3, abs=0.08)
    assert scale == pytest.approx(2 * 1.349, abs=0.1)
