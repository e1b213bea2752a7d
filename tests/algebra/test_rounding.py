"""Rounding once: never more than half a unit in the last place, ties to even."""

from __future__ import annotations

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.rounding import BFLOAT16, round_array, round_pair

DTYPES = [np.dtype(np.float16), BFLOAT16, np.dtype(np.float32), np.dtype(np.float64)]
FLOATS = st.floats(allow_nan=False, allow_infinity=False)


def neighbours(value: float, dtype: np.dtype) -> list[Fraction]:
    """The finite numbers of `dtype` around `value`, by counting in its bit patterns."""
    unsigned = np.dtype(f"u{dtype.itemsize}")
    with np.errstate(over="ignore"):
        near = np.array([abs(value)]).astype(np.float32).astype(dtype)
        if dtype.itemsize > 2:
            near = np.array([abs(value)]).astype(dtype)
    bits = int(near.view(unsigned)[0])
    patterns = np.array([max(bits + step, 0) for step in range(-2, 3)], unsigned)
    numbers = [float(x) for x in patterns.view(dtype)]
    return [Fraction(x) for x in numbers if math.isfinite(x)]


def assert_nearest(exact: Fraction, rounded: float, dtype: np.dtype) -> None:
    size = abs(exact)
    largest = Fraction(float(ml_dtypes.finfo(dtype).max))
    if not math.isfinite(rounded):
        assert size > largest
        return
    assert math.copysign(1, rounded) == math.copysign(1, exact) or exact == 0 or rounded == 0
    error = abs(Fraction(abs(rounded)) - size)
    assert error <= min(abs(n - size) for n in neighbours(float(size), dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(value=FLOATS)
def test_round_array_is_nearest(dtype: np.dtype, value: float) -> None:
    rounded = float(round_array(np.array([value]), dtype)[0])
    assert_nearest(Fraction(value), rounded, dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@given(value=st.floats(-1e4, 1e4), tail=st.floats(-0.5, 0.5))
def test_round_pair_sees_the_tail(dtype: np.dtype, value: float, tail: float) -> None:
    # Start on a tie of the target type, where only the tail decides.
    half = float(ml_dtypes.finfo(dtype).eps) / 2
    middle = float(round_array(np.array([value]), dtype)[0]) * (1 + half)
    hi = np.array([middle])
    lo = tail * np.spacing(hi)
    exact = Fraction(float(hi[0])) + Fraction(float(lo[0]))
    pair = DoubleDouble.of(hi) + DoubleDouble.of(lo)
    assert_nearest(exact, float(round_pair(pair, dtype)[0]), dtype)


def test_bfloat16_is_not_rounded_twice() -> None:
    # Halfway between 1 and 1 + 2**-7, and a bit: the detour by float32 alone gives 1.
    value = np.array([1 + 2.0**-8 + 2.0**-30])
    assert float(value.astype(BFLOAT16)[0]) == 1.0
    assert float(round_array(value, BFLOAT16)[0]) == 1 + 2.0**-7


def test_specials() -> None:
    values = np.array([np.nan, np.inf, -np.inf, 1e39, -1e39, 0.0, -0.0])
    rounded = round_array(values, BFLOAT16).astype(np.float64)
    np.testing.assert_array_equal(rounded, [np.nan, np.inf, -np.inf, np.inf, -np.inf, 0.0, -0.0])
    assert np.signbit(rounded[-1])
