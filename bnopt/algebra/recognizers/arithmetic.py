"""Add, Sub, Mul, Div and Neg with a constant are affines of their data.

    x + c, c + x, x - c     scale 1, shift +-c          x * c, c * x    scale c, shift 0
    c - x, -x               scale -1, shift c or 0      x / c           scale 1 / c, shift 0

This is how frameworks write a batch norm out, and how a bias stands behind an operator that has
none: `Conv -> Mul -> Add`, `Sub -> Div -> Mul -> Add`, `MatMul -> Add`.

Conditions: the other operand is a constant of a float type, finite, and not zero if it divides. The
constant does not broadcast the data: aligned with it from the right (numpy broadcasting, or `axis`
of the `broadcast` attribute before opset 7), it has length 1 or that of the data along every axis;
where it is longer than 1, the length of the data must be known.

Source: ONNX operator specification, Add, Sub, Mul, Div -1, -6, -7, -13, -14; Neg-1, -6, -13.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Context, Recognized, Refusal, check_operator
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.graph.constants import Constant
from bnopt.graph.operators import get_int, operand
from bnopt.graph.scopes import Scope
from bnopt.graph.uses import describe

VERSIONS = (1, 6, 7, 13, 14)
OPERATORS = frozenset(("Add", "Sub", "Mul", "Div", "Neg"))


def recognize(node: ir.Node, scope: Scope, context: Context) -> Recognized | Refusal | None:
    """The affine of a node; None if it combines two computed values or two constants."""
    refusal = check_operator(node, VERSIONS, scope, context)
    if refusal is not None:
        return refusal
    if node.op_type == "Neg":
        return _negation(node, context)
    found = _operands(node, context)
    if found is None or isinstance(found, Refusal):
        return found
    data, constant, is_left = found
    dims = context.dims.of(data)
    if dims is None:
        return Refusal("unknown-rank", f"the rank of the data of {describe(node)} is not known")
    if constant.dtype not in FOLDABLE_DTYPES:
        return Refusal("data-type", f"the constant of {describe(node)} is not a float type")
    shape = _aligned(node, scope, constant.shape, len(dims))
    if shape is None or any(c not in (1, n) for c, n in zip(shape, dims, strict=True)):
        return Refusal(
            "bias-shape",
            f"the constant of {describe(node)} has shape {constant.shape}, and its data {dims}: "
            "it may broadcast the data",
        )
    values = constant.array().astype(np.float64).reshape(shape)
    if not np.isfinite(values).all():
        return Refusal("non-finite", f"the constant of {describe(node)} holds NaN or infinity")
    affine = _affine(node, DoubleDouble.of(values), is_left)
    if isinstance(affine, Affine):
        return Recognized(node, data, affine, constant.overridable)
    return affine


def _affine(node: ir.Node, values: DoubleDouble, is_left: bool) -> Affine | Refusal | None:
    if node.op_type == "Add":
        return Affine.from_shift(values)
    if node.op_type == "Sub":
        return Affine.from_shift(values, -1.0) if is_left else Affine.from_shift(-values)
    if node.op_type == "Mul":
        return Affine.from_scale(values)
    if is_left:
        return None
    if not values.hi.all():
        return Refusal("non-finite", f"{describe(node)} divides by zero")
    return Affine.from_scale(DoubleDouble.of(np.ones(values.shape)) / values)


def _negation(node: ir.Node, context: Context) -> Recognized | Refusal | None:
    data = operand(node, 0)
    dims = context.dims.of(data)
    if data is None or context.is_constant(data):
        return None
    if dims is None:
        return Refusal("unknown-rank", f"the rank of the data of {describe(node)} is not known")
    if context.types.of(data).dtype in _INTEGERS:
        return None
    return Recognized(
        node, data, Affine.from_scale(DoubleDouble.of(np.full([1] * len(dims), -1.0)))
    )


def _operands(node: ir.Node, context: Context) -> tuple[ir.Value, Constant, bool] | Refusal | None:
    left, right = operand(node, 0), operand(node, 1)
    if left is None or right is None or len(node.inputs) > 2:
        return None
    known = [context.is_constant(left), context.is_constant(right)]
    # Before opset 7 only the right operand is broadcast, so only it can be the smaller one.
    if all(known) or not any(known) or (known[0] and get_int(node, "broadcast", 0)):
        return None
    index = 0 if known[0] else 1
    constant = context.constant(node, index, "operand", "residual")
    if (
        constant is None  # not a condition: the operand is known to be a constant
        or isinstance(constant, Refusal)
    ):
        return constant
    return (left if index else right), constant, index == 0


def _aligned(
    node: ir.Node, scope: Scope, shape: tuple[int, ...], rank: int
) -> tuple[int, ...] | None:
    """The constant's shape with the data's rank, or None if it cannot be had."""
    if len(shape) > rank:
        return None
    start = rank - len(shape)
    if scope.opset < 7:
        if not get_int(node, "broadcast", 0):
            return shape if len(shape) == rank else None
        if shape:
            axis = get_int(node, "axis", start)
            start = axis + rank if axis < 0 else axis
    if start + len(shape) > rank:
        return None
    return (1,) * start + shape + (1,) * (rank - start - len(shape))


_INTEGERS = frozenset(
    (
        ir.DataType.INT8,
        ir.DataType.INT16,
        ir.DataType.INT32,
        ir.DataType.INT64,
    )
)
