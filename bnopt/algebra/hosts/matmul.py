"""MatMul: scale the axis of the constant operand that becomes the channel axis of the product.

For a product of rank R, axis `a` of the output comes from axis `a - (R - r)` of an operand of rank
r. That axis is free unless it is the contracted one (the last of the left operand, the last but
one of the right). If the constant operand has it, and its length there is C, then

    out[.., c, ..] = sum_k left * right   and   scale[c] * out = sum_k (scaled operand) * other

term by term, so the scale goes in exactly. There is no bias: the shift becomes an Add behind it.

For batch norm (a = 1) this means: a right operand [K, N] takes it only at R = 2; at R = 3 axis 1
holds the rows, which only a constant left operand owns, even if both axes have the same length.
Conditions: one operand is constant and has the axis with length C; the rank of the other is known.

Source: ONNX operator specification, MatMul-1, -9, -13 (numpy.matmul).
"""

from __future__ import annotations

from bnopt.algebra.base import Absorption, Host, NewOperand, Refusal, Request
from bnopt.algebra.scaling import rounded, scaled_weight
from bnopt.graph.constants import Constant
from bnopt.graph.operators import operand


def absorb(request: Request) -> Absorption | Refusal:
    """Fold an affine behind a MatMul into its constant operand and an Add."""
    found = _constant_operand(request)
    if isinstance(found, Refusal):
        return found
    index, weight = found
    other = operand(request.node, 1 - index)
    rank = None if other is None else request.context.types.of(other).rank
    if other is None or rank is None:
        return Refusal("unknown-rank", f"the rank of the data of {request.what} is not known")
    if rank < 2 or len(weight.shape) < 2:
        return Refusal("channel-axis", f"{request.what} multiplies by a vector")
    out_rank = max(rank, len(weight.shape))
    axis = request.axis - (out_rank - len(weight.shape))
    contracted = len(weight.shape) - (1 if index == 0 else 2)
    if axis < 0 or axis == contracted:
        return Refusal(
            "channel-axis",
            f"the output of {request.what} has rank {out_rank}, and its axis {request.axis} is not "
            f"one that the constant operand of shape {weight.shape} owns",
        )
    if weight.shape[axis] != request.affine.channels:
        return Refusal(
            "shape-mismatch",
            f"{request.what} has {weight.shape[axis]} features, the batch norm "
            f"{request.affine.channels}",
        )
    scaled = scaled_weight(
        weight, weight.shape, (axis,), request.affine, index=index, what=request.what
    )
    if isinstance(scaled, Refusal):
        return scaled
    return _with_add(request, scaled, weight, out_rank)


def _with_add(
    request: Request, scaled: NewOperand, weight: Constant, out_rank: int
) -> Absorption | Refusal:
    shift = request.affine.shift
    if shift.is_zero():
        return Absorption((scaled,), ("weight",), overridable=weight.overridable)
    base = request.node.name or request.node.outputs[0].name or "matmul"
    bias = rounded(
        shift.reshape(-1, *[1] * (out_rank - 1 - request.axis)),
        weight.tensor.dtype,
        index=1,
        base=base,
        what=request.what,
    )
    if isinstance(bias, Refusal):
        return bias
    return Absorption((scaled,), ("weight", "Add"), add_after=bias, overridable=weight.overridable)


def _constant_operand(request: Request) -> tuple[int, Constant] | Refusal:
    right = request.context.constant(request.node, 1, "right operand", "dynamic-weight")
    if isinstance(right, Constant):
        return 1, right
    left = request.context.constant(request.node, 0, "left operand", "dynamic-weight")
    if isinstance(left, Constant):
        return 0, left
    if isinstance(right, Refusal):
        return right
    return Refusal("shape-mismatch", f"{request.what} has no right operand")


HOST = Host("MatMul", (1, 9, 13), absorb)
