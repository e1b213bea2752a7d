"""Rounding once, to nearest even, from (double-double) float64 to a weight's data type.

`ndarray.astype` rounds float64 to float16 and float32 correctly, but ml_dtypes converts float64 to
bfloat16 by way of float32, which rounds twice: 1 + 2**-8 + 2**-30 becomes 1, not 1 + 2**-7. The
detour is harmless when the first step rounds to odd (Boldo & Melquiond 2008, "Emulation of FMA and
correctly rounded sums: proved algorithms using rounding to odd").
"""

from __future__ import annotations

from typing import Any, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt

from bnopt.algebra.double_double import DoubleDouble, Float64Array

BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

FOLDABLE_DTYPES: frozenset[np.dtype[Any]] = frozenset(
    {np.dtype(np.float16), BFLOAT16, np.dtype(np.float32), np.dtype(np.float64)}
)


def round_array(values: Float64Array, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Round float64 `values` (any shape) once to `dtype`, to nearest even."""
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        if dtype == BFLOAT16:
            return _to_float32_odd(values).astype(BFLOAT16)
        return values.astype(dtype)


def round_pair(values: DoubleDouble, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Round a double-double array once to `dtype`, to nearest even."""
    if dtype == np.float64:
        return values.hi
    return round_array(_sticky(values), dtype)


def largest(dtype: np.dtype[Any]) -> float:
    """The largest finite number of `dtype`."""
    return _limit(dtype, "max")


def smallest_normal(dtype: np.dtype[Any]) -> float:
    """The smallest positive normal number of `dtype`."""
    return _limit(dtype, "smallest_normal")


def smallest_subnormal(dtype: np.dtype[Any]) -> float:
    """The smallest positive number of `dtype`."""
    return _limit(dtype, "smallest_subnormal")


def spacing(values: Float64Array, dtype: np.dtype[Any]) -> Float64Array:
    """A lower bound of the unit in the last place of `dtype` at `values`, within a factor of 2."""
    return np.abs(values) * _limit(dtype, "eps") / 2


def _limit(dtype: np.dtype[Any], name: str) -> float:
    info = cast("Any", ml_dtypes).finfo(dtype)
    return float(getattr(info, name))


def _sticky(values: DoubleDouble) -> Float64Array:
    """Round hi + lo to odd: a tail that is not zero shows in the last bit of float64."""
    hi = np.ascontiguousarray(values.hi)
    even = (hi.view(np.int64) & 1) == 0
    towards = np.where(values.lo > 0, np.inf, -np.inf)
    moved = np.nextafter(hi, towards)
    return np.where((values.lo != 0) & even & np.isfinite(hi), moved, hi)


def _to_float32_odd(values: Float64Array) -> npt.NDArray[np.float32]:
    nearest = np.ascontiguousarray(values.astype(np.float32))
    back = nearest.astype(np.float64)
    truncated = np.where(
        np.abs(back) > np.abs(values), np.nextafter(nearest, np.float32(0)), nearest
    ).astype(np.float32)
    inexact = np.isfinite(values) & (back != values)
    bits = truncated.view(np.int32) | inexact.astype(np.int32)
    return np.ascontiguousarray(bits).view(np.float32)
