"""Merging any partition, in any order, gives the moments of the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnopt.calibration.moments import Moments


def merged(parts: list[np.ndarray]) -> Moments:
    whole = Moments.of(parts[0])
    for part in parts[1:]:
        whole = whole.merge(Moments.of(part))
    return whole


@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=8),
    offset=st.sampled_from([0.0, 1.0, -1e4, 1e8]),
    scale=st.sampled_from([1e-4, 1.0, 1e5]),
    drift=st.sampled_from([0.0, 3.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_partition_in_any_order_is_the_whole(sizes, offset, scale, drift, seed) -> None:
    rng = np.random.default_rng(seed)
    parts = [
        offset + scale * (rng.normal(size=(size, 3, 2)) + drift * number)
        for number, size in enumerate(sizes)
    ]
    whole = np.concatenate(parts)
    count = whole.shape[0] * 2
    order = rng.permutation(len(parts))
    for found in (merged(parts), merged([parts[i] for i in order])):
        assert found.count == count
        if count == 0:
            assert np.isnan(found.variance).all()
            continue
        exact = whole.astype(np.longdouble)
        # What rounding each number, or a mean, to float64 may do to a variance.
        floor = np.finfo(np.float64).eps * np.abs(whole).max()
        np.testing.assert_allclose(found.mean, exact.mean((0, 2)), rtol=0, atol=4 * floor)
        variance = exact.var((0, 2)).astype(np.float64)
        np.testing.assert_allclose(
            found.variance,
            variance,
            rtol=1e-12,
            atol=16 * floor * (np.sqrt(variance).max() + floor),
        )


def test_the_variance_between_batch_means_counts() -> None:
    found = merged([np.zeros((4, 1)), np.ones((4, 1))])
    assert found.variance.tolist() == [0.25]


def test_a_rounded_shift_does_no_harm() -> None:
    values = 1e6 + np.random.default_rng(0).normal(size=(1000, 1))
    deviations = values - 1e6 - 0.5
    found = Moments.about(
        np.array([1e6 + 0.5]), 1000, deviations.sum(axis=0), (deviations**2).sum(axis=0)
    )
    assert found.mean[0] == pytest.approx(values.mean(), rel=1e-14)
    assert found.variance[0] == pytest.approx(values.var(), rel=1e-9)


def test_a_constant_channel_has_no_negative_variance() -> None:
    found = Moments.about(np.zeros(1), 3, np.full(1, 0.3), np.full(1, 0.03 * (1 - 1e-9)))
    assert found.m2.tolist() == [0.0]


def test_channels_last() -> None:
    values = np.random.default_rng(0).normal(size=(4, 5, 3)).astype(np.float32)
    found = Moments.of(values, axis=2)
    np.testing.assert_allclose(found.variance, values.astype(float).var((0, 1)))
    assert found.count == 20
