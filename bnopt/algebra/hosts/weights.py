"""The weight of a host: a constant, or integers that a DequantizeLinear turns into numbers.

A plain constant is multiplied by the factor. Behind a DequantizeLinear, `w = (q - z) * s`, the
factor f goes into the scale: `(q - z) * (s * f) = w * f`, and the integers stay. Conditions: s and
z are constants, nobody else reads w, and f varies along one axis at most, that of s if s is a
vector (a scalar s becomes one, from opset 13 on); no blocks.

Runtimes that fuse such weights expect positive scales, so where f is negative the integers are
mirrored instead: `q' = 2 z - q` with the factor |f|. Condition: every q' fits its type.

Source: ONNX operator specification, DequantizeLinear-10 to -24.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from bnopt.algebra.base import (
    Context,
    NewAttribute,
    NewOperand,
    Refusal,
    Request,
    check_operator,
)
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.reshaping import reshape_array
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.algebra.scaling import channel_peaks, check_range, rounded, scaled_weight
from bnopt.graph.constants import Constant
from bnopt.graph.operators import get_int, operand
from bnopt.graph.uses import describe, other_readers

DEQUANTIZE = (10, 13, 19, 21, 23, 24, 25)
_PER_AXIS = 13


@dataclass(frozen=True, slots=True)
class Scaled:
    """A scaled weight: the new operands, and the attributes that they need."""

    operands: tuple[NewOperand, ...]
    set_attributes: tuple[NewAttribute, ...] = ()


@dataclass(frozen=True, slots=True)
class Weight:
    """The weight of a host.

    Attributes:
        index: Which operand of the host.
        constant: Its numbers: the weight itself, or the integers of a quantized one.
        quantized: How the integers become numbers; None for a plain constant.
        what: The host, for messages.
    """

    index: int
    constant: Constant
    quantized: Quantized | None
    what: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Its shape."""
        return self.constant.shape

    @property
    def dtype(self) -> ir.DataType:
        """The type of its numbers, after dequantization."""
        source = self.constant if self.quantized is None else self.quantized.scale
        return source.tensor.dtype

    @property
    def overridable(self) -> tuple[str, ...]:
        """Graph inputs whose default values are in it."""
        parts = [self.constant]
        if self.quantized is not None:
            parts += [c for c in (self.quantized.scale, self.quantized.zero) if c is not None]
        return tuple(dict.fromkeys(name for part in parts for name in part.overridable))

    def array(self) -> npt.NDArray[Any]:
        """Its numbers."""
        return self.constant.array() if self.quantized is None else self.quantized.array()

    def scaled(
        self,
        view: tuple[int, ...],
        factor: DoubleDouble,
        shift: DoubleDouble | None,
        fan_in: int,
    ) -> Scaled | Refusal:
        """The weight times `factor`; the arguments are those of `scaling.scaled_weight`."""
        if self.quantized is not None:
            return self.quantized.scaled(self, view, factor)
        new = scaled_weight(
            self.constant,
            view,
            factor,
            shift=shift,
            fan_in=fan_in,
            index=self.index,
            what=self.what,
        )
        return new if isinstance(new, Refusal) else Scaled((new,))


@dataclass(frozen=True, slots=True)
class Quantized:
    """A DequantizeLinear with constant operands."""

    node: ir.Node
    integers: Constant
    scale: Constant
    zero: Constant | None
    axis: int | None
    per_axis: bool

    def _spread(self, constant: Constant | None) -> npt.NDArray[np.int64 | np.float64]:
        """Scale or zero point, with the rank of the integers."""
        if constant is None:
            return np.zeros([1] * len(self.integers.shape), np.int64)
        wide = np.int64 if constant is self.zero else np.float64
        shape = [-1 if i == self.axis else 1 for i in range(len(self.integers.shape))]
        return constant.array().astype(wide).reshape(shape)

    def array(self) -> npt.NDArray[np.float64]:
        """The dequantized numbers, exactly."""
        offset = self.integers.array().astype(np.int64) - self._spread(self.zero)
        return np.asarray(offset * self._spread(self.scale), np.float64)

    def scaled(
        self, weight: Weight, view: tuple[int, ...], factor: DoubleDouble
    ) -> Scaled | Refusal:
        """The same integers with scales multiplied by `factor`."""
        refuse = f"the quantized weight of {weight.what}"
        spread = reshape_array(factor, view, weight.shape)
        if spread is None:
            return Refusal("quantized-weight", f"{refuse} has one scale per channel, not per pair")
        varying = [axis for axis, n in enumerate(spread.shape) if n > 1]
        axis = varying[0] if varying else self.axis
        if len(varying) > 1 or (self.axis is not None and axis != self.axis):
            return Refusal(
                "quantized-weight", f"{refuse} has its scales along axis {self.axis}, not {varying}"
            )
        if axis is not None and not self.per_axis:
            return Refusal("quantized-weight", f"{refuse} can have a scale per channel in opset 13")
        old = DoubleDouble.of(self._spread(self.scale).astype(np.float64))
        size = _magnitude(spread)
        new = rounded(
            (old * size).reshape(*([-1] if axis is not None else [])),
            self.scale.tensor.dtype,
            index=1,
            base="scale",
            what=weight.what,
        )
        if isinstance(new, Refusal):
            return new
        peaks = channel_peaks(self.array(), spread.shape)
        count = int(np.prod(weight.shape))
        refusal = check_range(peaks, spread, self.scale.dtype, None, count, weight.what)
        if refusal is not None:
            return refusal
        operands = [_at(new, self.node, 1)]
        attributes: tuple[NewAttribute, ...] = ()
        if axis is not None and self.axis is None:
            attributes = (NewAttribute("axis", axis, self.node),)
            if self.zero is not None:
                zeros = np.broadcast_to(self.zero.array().reshape(-1), (weight.shape[axis],))
                operands.append(integer_constant(zeros, self.zero.tensor.dtype, self.node, 2))
        if (spread.hi < 0).any():
            mirrored = self._mirrored(spread.hi < 0)
            if mirrored is None:
                return Refusal(
                    "quantized-weight",
                    f"{refuse} would have to change its sign, and an integer has no mirror image",
                )
            operands.append(integer_constant(mirrored, self.integers.tensor.dtype, self.node, 0))
        return Scaled(tuple(operands), attributes)

    def _mirrored(self, negative: npt.NDArray[np.bool_]) -> npt.NDArray[Any] | None:
        info = np.iinfo(self.integers.dtype)
        old = self.integers.array().astype(np.int64)
        new = np.where(negative, 2 * self._spread(self.zero) - old, old)
        if new.min(initial=0) < info.min or new.max(initial=0) > info.max:
            return None
        return new.astype(self.integers.dtype)


def find_weight(request: Request, index: int, what: str) -> Weight | Refusal | None:
    """The weight that is operand `index` of the host; None if it is left out."""
    node, context = request.node, request.context
    value = operand(node, index)
    producer = None if value is None else value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        found = _dequantized(producer, request)
        if isinstance(found, Refusal):
            return found
        taken = other_readers(producer.outputs[0], node, context.model)
        if taken is not None:
            return Refusal(
                "quantized-weight", f"the {what} of {request.what} is shared: {taken[1]}"
            )
        return Weight(index, found.integers, found, request.what)
    constant = context.constant(node, index, what, "dynamic-weight")
    if constant is None or isinstance(constant, Refusal):
        return constant
    return Weight(index, constant, None, request.what)


def dequantized_bias(node: ir.Node, request: Request) -> Constant | Refusal:
    """The numbers of a bias behind a DequantizeLinear, rounded as the operator rounds them.

    A bias that takes a shift is no multiple of its quantization scale any more, so it becomes a
    plain constant.
    """
    found = _dequantized(node, request, (ir.DataType.INT8, ir.DataType.UINT8, ir.DataType.INT32))
    if isinstance(found, Refusal):
        return found
    numbers = ir.Tensor(found.array().astype(found.scale.dtype), dtype=found.scale.tensor.dtype)
    names = [c.overridable for c in (found.integers, found.scale, found.zero) if c is not None]
    return Constant(numbers, tuple(dict.fromkeys(name for group in names for name in group)))


def _dequantized(
    node: ir.Node,
    request: Request,
    types: tuple[ir.DataType, ...] = (
        ir.DataType.INT8,
        ir.DataType.UINT8,
        ir.DataType.INT16,
        ir.DataType.UINT16,
    ),
) -> Quantized | Refusal:
    context, scope = request.context, request.scope
    # Its version is no matter of exactness: the formula has been the same since the first.
    refusal = check_operator(node, DEQUANTIZE, scope, context)
    if refusal is not None:
        return refusal
    place = describe(node)
    if node.graph is not request.node.graph:
        return Refusal("other-scope", f"{place} stands in another scope")
    if get_int(node, "block_size", 0):
        return Refusal("quantized-weight", f"{place} has a scale per block")
    integers = context.constant(node, 0, "weight", "dynamic-weight")
    scale = context.constant(node, 1, "scale", "dynamic-weight")
    zero = context.constant(node, 2, "zero point", "dynamic-weight")
    for constant in (integers, scale, zero):
        if isinstance(constant, Refusal):
            return constant
    if not isinstance(integers, Constant) or not isinstance(scale, Constant):
        return Refusal("shape-mismatch", f"{place} lacks an operand")
    assert not isinstance(zero, Refusal)
    if integers.tensor.dtype not in types:
        return Refusal("data-type", f"the weight of {place} is {integers.tensor.dtype.name}")
    refusal = wrong_scale(node, scale)
    if refusal is not None:
        return refusal
    return _layout(node, integers, scale, zero, scope.opset, context)


def wrong_scale(node: ir.Node, scale: Constant) -> Refusal | None:
    """Refuse a scale that is no float, or not of the type that the operator yields."""
    if scale.dtype not in FOLDABLE_DTYPES:
        return Refusal("data-type", f"the scale of {describe(node)} is no float")
    if get_int(node, "output_dtype", 0) not in (0, scale.tensor.dtype):
        return Refusal("data-type", f"{describe(node)} yields another type than its scale has")
    return None


def _layout(
    node: ir.Node,
    integers: Constant,
    scale: Constant,
    zero: Constant | None,
    opset: int,
    context: Context,
) -> Quantized | Refusal:
    rank = len(integers.shape)
    per_axis = opset >= _PER_AXIS
    if len(scale.shape) == 0 or (not per_axis and scale.shape == (1,)):
        return Quantized(node, integers, scale, zero, None, per_axis)
    axis = get_int(node, "axis", 1)
    axis = axis + rank if axis < 0 else axis
    fits = 0 <= axis < rank and scale.shape == (integers.shape[axis],) and per_axis
    if not fits or (zero is not None and zero.shape != scale.shape):
        return Refusal("quantized-weight", f"the scale of {describe(node)} has shape {scale.shape}")
    return Quantized(node, integers, scale, zero, axis, per_axis)


def _magnitude(factor: DoubleDouble) -> DoubleDouble:
    sign = np.where(factor.hi < 0, -1.0, 1.0)
    return DoubleDouble(factor.hi * sign, factor.lo * sign)


def _at(new: NewOperand, node: ir.Node, index: int) -> NewOperand:
    return NewOperand(index, new.build, new.nbytes, new.base, node)


def integer_constant(
    array: npt.NDArray[Any], dtype: ir.DataType, node: ir.Node | None, index: int
) -> NewOperand:
    """Integers to become operand `index` of `node`."""
    array = np.ascontiguousarray(array)
    return NewOperand(index, lambda: ir.Tensor(array, dtype=dtype), array.nbytes, "weight", node)
