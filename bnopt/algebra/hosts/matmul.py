"""MatMul takes an affine from behind, on an axis of its constant operand, and one from ahead.

For a product of rank R, axis `a` of the output comes from axis `a - (R - r)` of an operand of rank
r. That axis is free unless it is the contracted one (the last of the left operand, the last but
one of the right). If the constant operand has it, and its length there is C, then

    out[.., c, ..] = sum_k left * right   and   scale[c] * out = sum_k (scaled operand) * other

term by term, so the scale goes in exactly. For batch norm (a = 1) this means: a right operand
[K, N] takes it only at R = 2; at R = 3 axis 1 holds the rows, which only a constant left operand
owns, even if both axes have the same length.

From ahead, the affine of the other operand must act on the contracted axis, of length K:

    sum_k (scale[k] * x[k] + shift[k]) * w[k] = sum_k x[k] * (scale[k] * w[k]) + sum_k shift[k] w[k]

There is no bias: what is to be added becomes an Add behind it. Conditions: one operand is constant
and of rank 2 or more; the rank of the other is known, and 2 or more.

Source: ONNX operator specification, MatMul-1, -9, -13 (numpy.matmul).
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Absorption, Host, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.hosts.features import added_after, vector
from bnopt.algebra.hosts.weights import Weight, find_weight
from bnopt.algebra.scaling import contract
from bnopt.graph.operators import operand


def absorb(request: Request) -> Absorption | Refusal:
    """Fold affines behind and ahead of a MatMul into its constant operand and an Add."""
    weight = _constant_operand(request)
    if isinstance(weight, Refusal):
        return weight
    data = operand(request.node, 1 - weight.index)
    dims = request.context.dims.of(data)
    if (
        data is None  # not a condition: what is missing has no dimensions
        or dims is None
    ):
        return Refusal("unknown-rank", f"the rank of the data of {request.what} is not known")
    if len(dims) < 2 or len(weight.shape) < 2:
        return Refusal("channel-axis", f"{request.what} multiplies by a vector")
    rank = max(len(dims), len(weight.shape))
    contracted = len(weight.shape) - (1 if weight.index == 0 else 2)
    behind = _free_scale(request, weight, rank, contracted)
    if isinstance(behind, Refusal):
        return behind
    ahead = _contracted(request, weight, len(dims), contracted)
    if isinstance(ahead, Refusal):
        return ahead
    scaled = weight.scaled(weight.shape, behind * ahead.scale, None, weight.shape[contracted])
    if isinstance(scaled, Refusal):
        return scaled
    answer = Absorption(
        scaled.operands,
        ("weight",),
        set_attributes=scaled.set_attributes,
        overridable=weight.overridable,
    )
    shift = _shift(request, weight, rank, contracted, ahead.shift)
    if shift.is_zero():
        return answer
    add = added_after(shift, weight.dtype, request)
    if isinstance(add, Refusal):
        return add
    return Absorption(
        answer.operands,
        ("weight", "Add"),
        set_attributes=answer.set_attributes,
        add_after=add,
        rest=shift,
        overridable=answer.overridable,
    )


def _free_scale(
    request: Request, weight: Weight, rank: int, contracted: int
) -> DoubleDouble | Refusal:
    """The scale behind, with the rank of the constant operand."""
    ones = [1] * len(weight.shape)
    after = request.after
    if after is None:
        return DoubleDouble.of(np.ones(ones))
    if after.rank != rank:
        return Refusal("shape-mismatch", f"the output of {request.what} has rank {rank}")
    varying = after.without_shift().varying()
    if len(varying) > 1:
        return Refusal("channel-axis", f"the scale behind {request.what} varies along {varying}")
    for output_axis in varying:
        axis = output_axis - (rank - len(weight.shape))
        if axis < 0 or axis == contracted:
            return Refusal(
                "channel-axis",
                f"the output of {request.what} has rank {rank}, and its axis {output_axis} is not "
                f"one that the constant operand of shape {weight.shape} owns",
            )
        if weight.shape[axis] != after.length(output_axis):
            return Refusal(
                "shape-mismatch",
                f"{request.what} has {weight.shape[axis]} features, the affine behind it "
                f"{after.length(output_axis)}",
            )
        ones[axis] = -1
    axis = varying[0] if varying else 0
    values = vector(after.scale, axis)
    assert values is not None
    return values.reshape(*ones)


def _contracted(request: Request, weight: Weight, rank: int, contracted: int) -> Affine | Refusal:
    """The affine ahead, with the rank of the constant operand, along the contracted axis."""
    ones = [1] * len(weight.shape)
    identity = Affine.from_scale(DoubleDouble.of(np.ones(ones)))
    before = request.before
    if before is None:
        return identity
    axis = rank - (1 if weight.index == 1 else 2)
    scale, shift = vector(before.scale, axis), vector(before.shift, axis)
    if request.data_index == weight.index or before.rank != rank or scale is None or shift is None:
        return Refusal(
            "channel-axis",
            f"{request.what} sums over axis {axis}, the affine ahead of it varies along others",
        )
    shapes = [
        [n if i == contracted else 1 for i in range(len(ones))]
        for n in (scale.shape[0], shift.shape[0])
    ]
    if any(shape[contracted] not in (1, weight.shape[contracted]) for shape in shapes):
        return Refusal(
            "shape-mismatch", f"{request.what} sums over {weight.shape[contracted]} features"
        )
    return Affine(scale.reshape(*shapes[0]), shift.reshape(*shapes[1]))


def _shift(
    request: Request, weight: Weight, rank: int, contracted: int, ahead: DoubleDouble
) -> DoubleDouble:
    """What is to be added behind, with the rank of the output."""
    total = DoubleDouble.of(np.zeros([1] * rank))
    if not ahead.is_zero():
        sums = contract(weight.array(), ahead, (contracted,))
        total = sums.reshape(*[1] * (rank - len(weight.shape)), *sums.shape)
    return total if request.after is None else request.after.apply(total)


def _constant_operand(request: Request) -> Weight | Refusal:
    right = find_weight(request, 1, "right operand")
    if isinstance(right, Weight):
        return right
    left = find_weight(request, 0, "left operand")
    if isinstance(left, Weight):
        return left
    if isinstance(right, Refusal):
        return right
    return Refusal("shape-mismatch", f"{request.what} has no right operand")


HOST = Host("MatMul", (1, 9, 13), absorb, data=(0, 1))
