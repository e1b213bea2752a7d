"""New weights and biases: a constant times a factor per channel, rounded once.

Every host makes its new constants here, so the conditions that are common to all of them stand in
one place: the numbers are finite, they fit the data type, and rounding does not eat them.

Exact up to one rounding: a product of a weight of at most 24 bits and a factor rounded to 53 bits
is off by at most 2**-52 of itself before it is rounded to the weight's type, so the result is
within 0.5 ulp (plus 2**-28) of the exact one. For double weights the product is formed in
double-double arithmetic. Vectors (biases) are double-double throughout.

Below the smallest normal number a product is rounded to a multiple of the smallest subnormal q, so
a channel whose folded weights are all that small carries an error of up to `fan_in * q / 2` per
unit of input. It is refused unless that is below half a unit in the last place of the channel's
own shift, or below NEGLIGIBLE.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from bnopt.algebra.base import NewOperand, Refusal
from bnopt.algebra.double_double import DoubleDouble, Float64Array, two_product
from bnopt.algebra.rounding import (
    FOLDABLE_DTYPES,
    largest,
    round_array,
    round_pair,
    smallest_normal,
    smallest_subnormal,
    spacing,
)
from bnopt.graph.constants import Constant
from bnopt.graph.tensors import BlockwiseTensor, blocks

# Above this size a new weight is computed while it is written, never held in memory.
LAZY_BYTES = 32 << 20

# Absolute error per unit of input that nobody can see. float32, bfloat16 and double stay below it
# when a whole channel underflows (pruned channels with gamma 1e-40 exist); float16 does not.
NEGLIGIBLE = 2.0**-100


def scaled_weight(
    weight: Constant,
    view: tuple[int, ...],
    factor: DoubleDouble,
    *,
    shift: DoubleDouble | None = None,
    fan_in: int,
    index: int,
    what: str,
) -> NewOperand | Refusal:
    """A weight with each channel multiplied by its factor.

    Args:
        weight: The old weight.
        view: A shape of the same size in which the channels stand on axes of their own.
        factor: Of the rank of `view`; 1 or the length of the view along each axis.
        shift: What is added to the products' sums, of the same rank, broadcast like `factor`.
        fan_in: How many weights one output element sums over, at most.
        index: Which operand of the host it is.
        what: The host, for messages.
    """
    dtype = weight.dtype
    if dtype not in FOLDABLE_DTYPES:
        return Refusal("data-type", f"the weight of {what} is of type {weight.tensor.dtype.name}")
    peaks = channel_peaks(weight.array().reshape(view), factor.shape)
    refusal = check_range(peaks, factor, dtype, shift, fan_in, what)
    if refusal is not None:
        return refusal
    function = _multiplier(factor, dtype)

    def build() -> ir.TensorProtocol:
        lazy = BlockwiseTensor(weight.tensor, view, function)
        if isinstance(weight.tensor, ir.ExternalTensor) or lazy.nbytes > LAZY_BYTES:
            return lazy
        return ir.Tensor(lazy.numpy(), dtype=weight.tensor.dtype)

    return NewOperand(index, build, math.ceil(weight.tensor.nbytes), "weight")


def check_range(
    peaks: Float64Array,
    factor: DoubleDouble,
    dtype: np.dtype[Any],
    shift: DoubleDouble | None,
    fan_in: int,
    what: str,
) -> Refusal | None:
    """Refuse products that are not finite, or that rounding to `dtype` would eat.

    Args:
        peaks: The largest magnitude of each channel, of the shape of `factor`.
        factor: What the channels are multiplied by.
        dtype: What the products are rounded to.
        shift: As for `scaled_weight`.
        fan_in: As for `scaled_weight`.
        what: The host, for messages.
    """
    if not np.isfinite(peaks).all():
        return Refusal("non-finite", f"the weight of {what} holds NaN or infinity")
    name = np.dtype(dtype).name
    with np.errstate(over="ignore", under="ignore"):
        folded = peaks * np.abs(factor.hi)
    if not np.isfinite(round_array(folded, dtype)).all():
        worst = int(np.argmax(folded))
        return Refusal(
            "overflow",
            f"channel {worst} of the folded weight of {what} would reach {folded.flat[worst]:.3g}; "
            f"{name} ends at {largest(dtype):.5g}",
        )
    allowed = np.asarray(NEGLIGIBLE)
    if shift is not None and all(
        s == 1 or f > 1 for s, f in zip(shift.shape, factor.shape, strict=True)
    ):
        allowed = np.maximum(spacing(shift.hi, dtype), NEGLIGIBLE)
    lost = (peaks > 0) & (factor.hi != 0) & (folded < smallest_normal(dtype))
    lost &= fan_in * smallest_subnormal(dtype) > allowed
    if lost.any():
        worst = int(np.argmax(lost))
        return Refusal(
            "underflow",
            f"channel {worst} of the folded weight of {what} would be at most "
            f"{folded.flat[worst]:.3g}; {name} is exact above {smallest_normal(dtype):.3g}",
        )
    return None


def rounded(
    values: DoubleDouble, dtype: ir.DataType, *, index: int, base: str, what: str
) -> NewOperand | Refusal:
    """A new bias: `values`, of any shape, rounded once to `dtype`."""
    if dtype.numpy() not in FOLDABLE_DTYPES:
        return Refusal("data-type", f"the bias of {what} is of type {dtype.name}")
    array = round_pair(values, dtype.numpy())
    if not np.isfinite(array).all():
        peak = float(np.max(np.abs(values.hi)))
        if not math.isfinite(peak):
            return Refusal("non-finite", f"the folded bias of {what} holds NaN or infinity")
        return Refusal(
            "overflow",
            f"the folded bias of {what} would reach {peak:.3g}; {dtype.name} ends at "
            f"{largest(dtype.numpy()):.5g}",
        )
    return NewOperand(index, lambda: ir.Tensor(array, dtype=dtype), array.nbytes, base)


def contract(weight: npt.NDArray[Any], factor: DoubleDouble, axes: tuple[int, ...]) -> DoubleDouble:
    """`sum(weight * factor)` over `axes`, which keep length 1; what a shift becomes in a bias.

    Args:
        weight: Of any float type, read in blocks.
        factor: Of the same rank, broadcast to it.
        axes: What is summed over.
    """
    shape = [1 if axis in axes else n for axis, n in enumerate(weight.shape)]
    total = DoubleDouble.of(np.zeros(shape))
    for block, index in blocks(weight):
        dropped = sum(isinstance(part, int) for part in index)
        where = _positions(index, factor.shape)
        wide = DoubleDouble.of(block.astype(np.float64))
        part = wide * factor.map(lambda array, where=where: array[where])
        for axis in axes:
            if axis >= dropped:
                part = part.sum(axis - dropped)
        target = _positions(index, tuple(shape))
        added = total.map(lambda array, target=target: array[target]) + part
        total.hi[target], total.lo[target] = added.hi, added.lo
    return total


def channel_peaks(array: npt.NDArray[Any], shape: tuple[int, ...]) -> Float64Array:
    """The largest magnitude along every axis that has length 1 in `shape`; NaN wins."""
    peaks = np.zeros([n if wanted > 1 else 1 for n, wanted in zip(array.shape, shape, strict=True)])
    if array.size == 0:
        return peaks
    for block, index in blocks(array):
        # An integer index has dropped its axis from the block, and drops it from `target` too.
        where = _positions(index, peaks.shape)
        dropped = sum(isinstance(part, int) for part in index)
        others = tuple(
            axis - dropped for axis in range(dropped, array.ndim) if peaks.shape[axis] == 1
        )
        high = np.max(block, axis=others, keepdims=True).astype(np.float64)
        low = np.min(block, axis=others, keepdims=True).astype(np.float64)
        peaks[where] = np.maximum(peaks[where], np.maximum(high, -low))
    return peaks


def _positions(index: tuple[slice | int, ...], shape: tuple[int, ...]) -> tuple[slice | int, ...]:
    """Where the block at `index` finds its numbers in an array that is broadcast to the whole."""
    return tuple(
        part if shape[axis] > 1 else (slice(None) if isinstance(part, slice) else 0)
        for axis, part in enumerate(index)
    )


def _multiplier(
    factor: DoubleDouble, dtype: np.dtype[Any]
) -> Callable[[npt.NDArray[Any], tuple[slice | int, ...]], npt.NDArray[Any]]:
    def multiply(block: npt.NDArray[Any], index: tuple[slice | int, ...]) -> npt.NDArray[Any]:
        where = _positions(index, factor.shape)
        high, low = factor.hi[where], factor.lo[where]
        wide = block.astype(np.float64)
        with np.errstate(over="ignore", under="ignore"):
            if dtype != np.float64:
                return round_array(wide * high, dtype)
            product, error = two_product(wide, high)
            return product + (error + wide * low)

    return multiply
