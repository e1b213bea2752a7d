"""Add or Sub of a per-channel constant is a channel affine: `x + c`, `x - c` or `c - x`.

This is how a bias stands behind an operator that has none, or that an exporter wrote apart:
`MatMul -> Add`, `ConvTranspose -> Add`, `Conv -> Sub`.

Conditions: one operand is constant; aligned with the data from the right (numpy broadcasting, or
`axis` of the `broadcast` attribute before opset 7), it varies along the channel axis only; its rank
is not larger than that of the data, so that the data keeps its rank. That the data has C channels
already, and is not itself broadcast, is for the host to check.

Source: ONNX operator specification, Add and Sub -1, -6, -7, -13, -14.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bnopt.algebra.affine import ChannelAffine
from bnopt.algebra.base import Context, Recognized, Refusal, check_operator
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.graph.constants import Constant
from bnopt.graph.operators import get_int, operand
from bnopt.graph.scopes import Scope
from bnopt.graph.uses import describe

VERSIONS = (1, 6, 7, 13, 14)


def recognize(
    node: ir.Node, scope: Scope, context: Context, axis: int, channels: int
) -> Recognized | Refusal:
    """The affine of an Add or Sub along `axis`, or why it is none.

    Args:
        node: An Add or Sub.
        scope: Where it stands.
        context: What may be looked at.
        axis: The channel axis of its output.
        channels: C.
    """
    refusal = check_operator(node, VERSIONS, scope, context)
    if refusal is not None:
        return refusal
    found = _operands(node, context)
    if isinstance(found, Refusal):
        return found
    data, constant, is_left = found
    rank = _rank(data, context)
    if rank is None:
        return Refusal("unknown-rank", f"the rank of the data of {describe(node)} is not known")
    if constant.dtype not in FOLDABLE_DTYPES:
        return Refusal("data-type", f"the constant of {describe(node)} is not a float type")
    shape = _aligned(node, scope, constant.shape, rank)
    if shape is None or any(n != 1 for i, n in enumerate(shape) if i != axis):
        return Refusal(
            "bias-shape",
            f"the constant of {describe(node)} has shape {constant.shape}, which is not per "
            f"channel of axis {axis}",
        )
    if shape[axis] not in (1, channels):
        return Refusal("bias-shape", f"the constant of {describe(node)} has {shape[axis]} channels")
    offset = np.broadcast_to(constant.array().astype(np.float64).reshape(-1), (channels,))
    if not np.isfinite(offset).all():
        return Refusal("non-finite", f"the constant of {describe(node)} holds NaN or infinity")
    if node.op_type == "Add":
        affine = ChannelAffine.from_offset(offset)
    elif is_left:
        affine = ChannelAffine.from_offset(offset, sign=-1.0)
    else:
        affine = ChannelAffine.from_offset(-offset)
    return Recognized(node, data, axis, affine, constant.overridable)


def _operands(node: ir.Node, context: Context) -> tuple[ir.Value, Constant, bool] | Refusal:
    left, right = operand(node, 0), operand(node, 1)
    if left is None or right is None:
        return Refusal("shape-mismatch", f"{describe(node)} lacks an operand")
    # Before opset 7 only the right operand is broadcast, so only it can be the per-channel one.
    candidates = (1,) if get_int(node, "broadcast", 0) else (1, 0)
    for index in candidates:
        constant = context.constant(node, index, "operand", "residual")
        if isinstance(constant, Constant):
            return (left if index else right), constant, index == 0
        if isinstance(constant, Refusal) and constant.reason == "overridable":
            return constant
    return Refusal("residual", f"{describe(node)} combines two computed values")


def _rank(data: ir.Value, context: Context) -> int | None:
    """The rank of the data; that of a convolution shows in its weight, without shape inference."""
    producer = data.producer()
    if producer is not None and producer.op_type in ("Conv", "ConvTranspose"):
        weight = context.constants.resolve(operand(producer, 1))
        return None if weight is None else len(weight.shape)
    if producer is not None and producer.op_type == "Gemm":
        return 2
    return context.types.of(data).rank


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
