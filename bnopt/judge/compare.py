"""How far two outputs are apart: element by element, per channel, and as single figures."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bnopt.judge.precision import machine_epsilon

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Doubles: TypeAlias = NDArray[np.float64]


def is_float(array: NDArray[Any]) -> bool:
    """Whether outputs of this dtype are judged by tolerance; others are judged exactly."""
    return array.dtype.kind in "fc" or str(array.dtype).startswith(("bfloat", "float8"))


def unit(dtype: str) -> float:
    """Unit roundoff u of a floating-point dtype: half its machine epsilon (2^-24 for float32)."""
    return machine_epsilon(dtype) / 2.0


def difference(value: NDArray[Any], oracle: NDArray[Any]) -> Doubles:
    """`|value - oracle|` per element, in float64.

    Equal infinities differ by 0. NaN differs from everything, NaN included, by infinity.
    """
    if value.dtype.kind == "c" or oracle.dtype.kind == "c":
        error = np.abs(value.astype(np.complex128) - oracle.astype(np.complex128))
        return np.where(np.isnan(error), np.inf, error)
    a, b = value.astype(np.float64), oracle.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(a - b)
    return np.where(a == b, 0.0, np.where(np.isnan(error), np.inf, error))


def exact_mismatch(value: NDArray[Any], oracle: NDArray[Any]) -> NDArray[np.bool_]:
    """Where integers, booleans or strings are not the same."""
    return np.asarray(value != oracle)


def views(rank: int) -> tuple[int | None, ...]:
    """Axes along which an output is judged channel by channel; None takes it as one channel.

    Axis 1 is ONNX's channel axis; the last one is where models from TensorFlow keep theirs.
    """
    if rank < 2:
        return (None,)
    return (1,) if rank == 2 else (1, -1)


def channel_rows(values: Doubles, axis: int | None) -> Doubles:
    """The values of each channel as a row: `(C, elements per channel)`."""
    if axis is None:
        return values.reshape(1, -1)
    rows = np.moveaxis(values, axis, 0)
    return rows.reshape(rows.shape[0], -1) if values.size else np.zeros((rows.shape[0], 0))


def per_channel(values: Doubles, axis: int | None) -> Doubles:
    """Maximum per channel, `(C,)`; 0 for a channel without elements."""
    return channel_rows(values, axis).max(axis=1, initial=0.0)


def spread(channels: Doubles, axis: int | None, rank: int) -> Doubles:
    """Values per channel, shaped to broadcast against an output of that rank."""
    if axis is None:
        return channels.reshape([1] * rank)
    return channels.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def magnitude(values: NDArray[Any]) -> Doubles:
    """`|values|` in float64, with non-finite elements as 0."""
    size = np.abs(values.astype(np.complex128 if values.dtype.kind == "c" else np.float64))
    return np.where(np.isfinite(size), size, 0.0)


@dataclass(frozen=True, slots=True)
class Figures:
    """Figures of one output in one run.

    Attributes:
        index: The element they are taken at.
        max_abs: `|candidate - oracle|` there.
        max_rel: `max_abs` over the largest finite `|oracle|`.
        ulp: `max_abs` in units in the last place, of the output's dtype, at that largest value.
        snr_db: `10 log10(sum oracle^2 / sum error^2)` over the whole output; inf if no error.
    """

    index: tuple[int, ...]
    max_abs: float
    max_rel: float
    ulp: float
    snr_db: float


def figures(error: Doubles, oracle: NDArray[Any], dtype: str, index: tuple[int, ...]) -> Figures:
    """Take the figures of an error array.

    Args:
        error: Output of `difference`.
        oracle: What it was taken against, of the same shape.
        dtype: The output's own dtype in the model.
        index: The element that decides.
    """
    size = magnitude(oracle)
    peak = float(size.max(initial=0.0))
    worst = float(error[index]) if error.size else 0.0
    snr = _decibels(float((size**2).sum()), float((error**2).sum()))
    relative = worst / peak if peak > 0.0 else (0.0 if worst == 0.0 else math.inf)
    return Figures(index, worst, relative, _ulps(worst, peak, dtype), snr)


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return math.inf
    if signal == 0.0 or math.isinf(noise):
        return -math.inf
    return 10.0 * (math.log10(signal) - math.log10(noise))


def _ulps(error: float, peak: float, dtype: str) -> float:
    if error == 0.0 or not math.isfinite(error):
        return error
    if peak == 0.0:
        return math.inf
    # An ulp of the binade that `peak` lies in: 2u * 2^floor(log2 peak).
    return error / (2.0 * unit(dtype) * 2.0 ** math.floor(math.log2(peak)))
