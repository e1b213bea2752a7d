from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest

from bnopt.judge.compare import difference, figures, per_channel, spread, unit, views
from bnopt.judge.plan import MANY, data_runs, generated_runs, noisy
from bnopt.judge.tolerance import (
    K_WITHOUT_TRUTH,
    K,
    Yardstick,
    allowed,
    disagrees,
    own_error,
    shares,
)
from bnopt.judge.verdict import Fixed, judge

INF, NAN = np.inf, np.nan
RNG = np.random.default_rng(0)


def test_nan_equals_nothing_and_infinities_equal_their_like():
    a = np.array([1.0, NAN, INF, -INF, INF, 1.0])
    b = np.array([1.5, NAN, INF, -INF, -INF, INF])
    assert difference(a, b).tolist() == [0.5, INF, 0.0, 0.0, INF, INF]


@pytest.mark.parametrize(
    ("dtype", "u"),
    [("float64", 2**-53), ("float32", 2**-24), ("float16", 2**-11), ("bfloat16", 2**-8)],
)
def test_unit_roundoff(dtype, u):
    assert unit(dtype) == u


def test_figures_of_a_known_error():
    oracle = np.array([[1.0, -4.0]])
    shown = figures(np.array([[0.5, 0.0]]), oracle, "float32", (0, 0))
    assert (shown.max_abs, shown.max_rel) == (0.5, 0.125)
    assert shown.ulp == 0.5 / (2**-23 * 4)
    assert shown.snr_db == pytest.approx(10 * math.log10(17 / 0.25))
    exact = figures(np.zeros((1, 2)), oracle, "float32", (0, 0))
    assert (exact.ulp, exact.snr_db) == (0.0, math.inf)
    lost = figures(np.array([[INF, 0.0]]), oracle, "float32", (0, 0))
    assert (lost.max_rel, lost.snr_db) == (math.inf, -math.inf)


def test_channels_are_axis_1_and_the_last():
    assert views(0) == views(1) == (None,)
    assert (views(2), views(4)) == ((1,), (1, -1))
    values = np.arange(24.0).reshape(2, 3, 4)
    assert per_channel(values, 1).tolist() == [15, 19, 23]
    assert spread(per_channel(values, -1), -1, 3).shape == (1, 1, 4)
    assert per_channel(np.zeros((0, 3)), 1).tolist() == [0, 0, 0]


def case(scale=1.0, channels=8, size=64, error=1e-7, dtype="float32", steps=False):
    """A truth, and an original that is off by `error` of each channel's scale."""
    scales = np.broadcast_to(scale, (channels,)).astype(float)[None, :, None]
    truth = RNG.normal(size=(1, channels, size)) * scales
    original = truth + RNG.normal(size=truth.shape) * error * scales
    stick = Yardstick(original.astype(dtype), truth, (), dtype, steps=steps)
    return stick, shares([stick.original])


def verdict(candidate, stick, share, fixed=None):
    return judge("y", candidate.astype(stick.dtype), stick, share, "run", fixed)


def test_as_wrong_as_the_original_is_right():
    stick, share = case(error=1e-5)
    other = stick.truth + RNG.normal(size=stick.truth.shape) * 1e-5
    judged = verdict(other, stick, share)
    assert judged.comparison.equivalent
    assert judged.comparison.message == ""
    assert judged.comparison.original_error == pytest.approx(4e-5, rel=0.5)


def test_far_more_wrong_than_the_original_is_wrong():
    stick, share = case(error=1e-7)
    judged = verdict(stick.truth + RNG.normal(size=stick.truth.shape) * 1e-4, stick, share)
    assert not judged.comparison.equivalent
    assert judged.comparison.max_abs > judged.comparison.tolerance
    assert "channel" in judged.comparison.message


def test_better_than_a_bad_original_is_right():
    stick, share = case(error=1e-2)
    assert verdict(stick.truth, stick, share).comparison.equivalent


@pytest.mark.parametrize("plant", ["scale", "shift", "swap"])
def test_a_small_channel_is_judged_on_its_own(plant):
    scale = np.ones(8)
    scale[0] = 1e3
    stick, share = case(scale=scale)
    wrong = stick.original.astype(np.float64)
    if plant == "scale":
        wrong[:, 3] *= 1.01
    elif plant == "shift":
        wrong[:, 3] += 0.01
    else:
        wrong[:, [3, 4]] = wrong[:, [4, 3]]
    judged = verdict(wrong, stick, share)
    assert not judged.comparison.equivalent
    assert judged.comparison.worst.channel in (3, 4)


def test_the_channel_may_stand_last():
    scale = np.ones(8)
    scale[0] = 1e3
    stick, _ = case(scale=scale)
    swap = lambda a: np.ascontiguousarray(np.swapaxes(a, 1, 2))  # noqa: E731
    stick = Yardstick(swap(stick.original), swap(stick.truth), (), "float32")
    wrong = stick.original.astype(np.float64)
    wrong[..., 3] *= 1.0003
    assert not verdict(wrong, stick, shares([stick.original])).comparison.equivalent


def test_single_elements_lend_each_other_their_error():
    rejected = 0
    for _ in range(50):
        stick, share = case(channels=1000, size=1)
        other = stick.truth + RNG.normal(size=stick.truth.shape) * 1e-7
        rejected += not verdict(other, stick, share).comparison.equivalent
    assert rejected == 0


def test_one_flipped_step_is_allowed_only_with_step_operators():
    for steps in (True, False):
        stick, share = case(steps=steps)
        stick.original[0, 2, 5] += 0.1
        other = stick.truth.copy()
        other[0, 6, 1] += 0.1
        assert verdict(other, stick, share).comparison.equivalent == steps


def test_without_truth_the_original_is_the_oracle():
    stick, share = case()
    noisy_original = stick.original * np.float32(1 + 2**-23)
    stick = Yardstick(stick.original, None, (noisy_original,), "float32")
    ((axis, limit), _) = allowed(stick, share)
    assert axis == 1
    noise = per_channel(difference(noisy_original, stick.original), 1)
    assert (limit >= K_WITHOUT_TRUTH * noise * 0.999).all()
    assert not verdict(stick.original + 1e-3, stick, share).comparison.equivalent
    assert K_WITHOUT_TRUTH > K


def test_an_overflow_does_not_excuse_the_rest():
    stick, share = case(dtype="float16", error=1e-4)
    stick.original[0, 0, 0] = INF
    assert np.isfinite(own_error(stick)).all()
    right = stick.original.astype(np.float64)
    assert verdict(right, stick, share).comparison.equivalent
    right[0, 0, 0] = stick.truth[0, 0, 0]
    assert verdict(right, stick, share).comparison.equivalent
    right[0, 0, 0] = -INF
    assert not verdict(right, stick, share).comparison.equivalent
    right[0, 0, 0] = INF
    right[0, 5] += 1.0
    assert not verdict(right, stick, share).comparison.equivalent


def test_a_nan_is_never_right():
    stick, share = case()
    wrong = stick.original.copy()
    wrong[0, 0, 0] = NAN
    judged = verdict(wrong, stick, share)
    assert not judged.comparison.equivalent
    assert judged.comparison.max_abs == INF


def test_a_wrong_reference_is_noticed_and_either_oracle_accepted():
    stick, share = case()
    assert not disagrees(stick, share)
    wild = Yardstick(stick.original, stick.truth * 1.5, (), "float32")
    assert disagrees(wild, share)
    for right in (stick.original, wild.truth):
        judged = verdict(right, wild, share)
        assert judged.distrusted
        assert judged.comparison.equivalent
    assert not verdict(stick.original * 1.2, wild, share).comparison.equivalent


def test_a_fixed_tolerance():
    stick, share = case()
    near = stick.original + np.float32(1e-4)
    assert verdict(near, stick, share, Fixed(0.0, 1.1e-4)).comparison.equivalent
    assert not verdict(near, stick, share, Fixed(0.0, 0.9e-4)).comparison.equivalent


def test_exact_outputs_may_flip_only_where_the_original_does():
    original = np.array([1, 2, 3])
    stick = Yardstick(original, None, (np.array([1, 2, 4]),), "int64")
    for candidate, right in [([1, 2, 3], True), ([1, 2, 9], True), ([1, 0, 3], False)]:
        judged = judge("n", np.array(candidate), stick, (), "run")
        assert judged.comparison.equivalent is right
    assert not judge("n", np.array([1.0, 2, 3]), stick, (), "r").comparison.equivalent
    strings = Yardstick(np.array(["a"], dtype=object), None, (), "str")
    assert not judge("s", np.array(["b"], dtype=object), strings, (), "r").comparison.equivalent


def test_another_shape_is_not_equivalent():
    stick, share = case()
    judged = judge("y", stick.original[:, :4], stick, share, "run")
    assert not judged.comparison.equivalent
    assert "has shape (1, 4, 64)" in judged.comparison.message
    assert not judge("y", None, stick, share, "run").comparison.equivalent


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", ml_dtypes.bfloat16])
def test_noise_is_one_unit_in_the_last_place(dtype):
    x = np.array([1.0, -2.5, 0.0, 1e-3], dtype)
    moved = noisy({"x": x, "k": np.array([3])}, 0)
    assert moved["k"].tolist() == [3]
    relative = np.abs(moved["x"].astype(float) / np.where(x == 0, 1, x).astype(float) - (x != 0))
    eps = 2 * unit(str(np.dtype(dtype)))
    assert (relative <= 2 * eps).all()
    assert (moved["x"] != x).any()
    np.testing.assert_array_equal(noisy({"x": x}, 0)["x"], moved["x"])


def test_generated_runs():
    from bnopt.runtime.feeds import Sizes
    from bnopt.runtime.interface import TensorInfo

    runs = generated_runs([TensorInfo("x", "float", ("N", 3))], Sizes(), 5)
    assert [run.batch for run in runs] == [1, 1, 1, MANY, MANY]
    assert len({run.label for run in runs}) == 5
    fixed = generated_runs([TensorInfo("x", "float", (4, 3))], Sizes(), 5)
    assert {run.batch for run in fixed} == {4}
    integers = generated_runs([TensorInfo("x", "int64", (4, 3))], Sizes(), 5)
    assert all("normal x1" in run.label for run in integers)
    assert [run.batch for run in data_runs([{"x": np.zeros((7, 2))}])] == [7]
