"""New weights and biases: a constant times a per-channel factor, rounded once.

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

from bnopt.algebra.affine import ChannelAffine
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
    axes: tuple[int, ...],
    affine: ChannelAffine,
    *,
    index: int,
    what: str,
) -> NewOperand | Refusal:
    """A weight with each channel multiplied by its factor.

    Args:
        weight: The old weight.
        view: A shape of the same size in which the channels stand on axes of their own.
        axes: Those axes of `view`, in order; their lengths multiply to C.
        affine: Its scale is the factor; C channels, C-ordered over `axes`.
        index: Which operand of the host it is.
        what: The host, for messages.
    """
    dtype, factor, shift = weight.dtype, affine.scale, affine.shift
    if dtype not in FOLDABLE_DTYPES:
        return Refusal("data-type", f"the weight of {what} is of type {weight.tensor.dtype.name}")
    peaks = _channel_peaks(weight.array().reshape(view), axes)
    if not np.isfinite(peaks).all():
        return Refusal("non-finite", f"the weight of {what} holds NaN or infinity")
    folded = peaks * np.abs(factor.hi)
    if not np.isfinite(round_array(folded, dtype)).all():
        worst = int(np.argmax(folded))
        return Refusal(
            "overflow",
            f"channel {worst} of the folded weight of {what} would reach {folded[worst]:.3g}; "
            f"{weight.tensor.dtype.name} ends at {largest(dtype):.5g}",
        )
    lost = (peaks > 0) & (factor.hi != 0) & (folded < smallest_normal(dtype))
    fan_in = math.prod(view) // max(peaks.size, 1)
    lost &= fan_in * smallest_subnormal(dtype) > np.maximum(spacing(shift.hi, dtype), NEGLIGIBLE)
    if lost.any():
        worst = int(np.argmax(lost))
        return Refusal(
            "underflow",
            f"channel {worst} of the folded weight of {what} would be at most {folded[worst]:.3g}; "
            f"{weight.tensor.dtype.name} is exact above {smallest_normal(dtype):.3g}",
        )
    shape = tuple(n if axis in axes else 1 for axis, n in enumerate(view))
    function = _multiplier(factor.reshape(*shape), dtype)

    def build() -> ir.TensorProtocol:
        lazy = BlockwiseTensor(weight.tensor, view, function)
        if isinstance(weight.tensor, ir.ExternalTensor) or lazy.nbytes > LAZY_BYTES:
            return lazy
        return ir.Tensor(lazy.numpy(), dtype=weight.tensor.dtype)

    return NewOperand(index, build, math.ceil(weight.tensor.nbytes), "weight")


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


def _channel_peaks(array: npt.NDArray[Any], axes: tuple[int, ...]) -> Float64Array:
    """The largest magnitude of each channel, C-ordered over `axes`; NaN wins. Shape [C]."""
    lengths = tuple(array.shape[axis] for axis in axes)
    peaks = np.zeros([n if axis in axes else 1 for axis, n in enumerate(array.shape)])
    if array.size == 0:
        return peaks.reshape(math.prod(lengths))
    for block, index in blocks(array):
        # An integer index has dropped its axis from the block, and drops it from `target` too.
        where = tuple(
            part if axis in axes else (slice(None) if isinstance(part, slice) else 0)
            for axis, part in enumerate(index)
        )
        target = peaks[where]
        dropped = sum(isinstance(part, int) for part in index)
        others = tuple(axis - dropped for axis in range(dropped, array.ndim) if axis not in axes)
        high = np.max(block, axis=others, keepdims=True).astype(np.float64)
        low = np.min(block, axis=others, keepdims=True).astype(np.float64)
        peaks[where] = np.maximum(target, np.maximum(high, -low))
    return peaks.reshape(math.prod(lengths))


def _multiplier(
    factor: DoubleDouble, dtype: np.dtype[Any]
) -> Callable[[npt.NDArray[Any], tuple[slice | int, ...]], npt.NDArray[Any]]:
    def multiply(block: npt.NDArray[Any], index: tuple[slice | int, ...]) -> npt.NDArray[Any]:
        where = tuple(
            part if factor.shape[axis] > 1 else (slice(None) if isinstance(part, slice) else 0)
            for axis, part in enumerate(index)
        )
        high, low = factor.hi[where], factor.lo[where]
        wide = block.astype(np.float64)
        with np.errstate(over="ignore", under="ignore"):
            if dtype != np.float64:
                return round_array(wide * high, dtype)
            product, error = two_product(wide, high)
            return product + (error + wide * low)

    return multiply
