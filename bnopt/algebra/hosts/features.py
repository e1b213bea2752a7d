"""What a host with one feature axis can take of an affine: a vector along that axis.

The scale must be such a vector. What of a shift is none stays as an Add behind the host.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Absorption, NewOperand, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.scaling import rounded

# The first operator set in which arithmetic broadcasts by itself.
_BROADCASTS = 7


@dataclass(frozen=True, slots=True)
class Features:
    """An affine along a feature axis of length n.

    Attributes:
        scale: Shape [n], or [1] if it is the same everywhere.
        shift: Likewise.
        rest: What remains to be added behind the host, broadcast to its output; None for nothing.
    """

    scale: DoubleDouble
    shift: DoubleDouble
    rest: DoubleDouble | None = None

    def apply(self, values: DoubleDouble) -> DoubleDouble:
        """`scale * values + shift`; `values` has shape [n] or [1]."""
        return self.scale * values + self.shift


IDENTITY = Features(DoubleDouble.of(np.ones(1)), DoubleDouble.of(np.zeros(1)))


def behind(request: Request, rank: int | None, axis: int, count: int) -> Features | Refusal:
    """What is asked for behind the host, as features along `axis` of its output.

    Args:
        request: The request.
        rank: The rank of the host's output; None if it follows from the affine only.
        axis: The feature axis, not negative.
        count: Its length.
    """
    affine = request.after
    if affine is None:
        return IDENTITY
    if rank is not None and affine.rank != rank:
        return Refusal("shape-mismatch", f"the output of {request.what} has rank {rank}")
    scale = vector(affine.scale, axis)
    if scale is None:
        return Refusal(
            "channel-axis",
            f"the features of {request.what} are on axis {axis}, the scale behind it varies along "
            f"axis {_other(affine.without_shift(), axis)}",
        )
    if scale.shape[0] not in (1, count):
        return Refusal(
            "shape-mismatch",
            f"{request.what} has {count} output channels, the affine behind it {scale.shape[0]}",
        )
    shift = vector(affine.shift, axis)
    if shift is None:
        return Features(scale, IDENTITY.shift, affine.shift)
    if shift.shape[0] not in (1, count):
        return Refusal(
            "shape-mismatch",
            f"{request.what} has {count} output channels, the affine behind it {shift.shape[0]}",
        )
    return Features(scale, shift)


def ahead(request: Request, rank: int, axis: int, count: int) -> Features | Refusal:
    """What is asked for ahead of the host, as features along `axis` of its input."""
    affine = request.before
    if affine is None:
        return IDENTITY
    scale, shift = (
        (vector(affine.scale, axis), vector(affine.shift, axis))
        if affine.rank == rank
        else (None, None)
    )
    if scale is None or shift is None:
        return Refusal(
            "channel-axis",
            f"{request.what} sums over axis {axis}, the affine ahead of it varies along others",
        )
    if scale.shape[0] not in (1, count) or shift.shape[0] not in (1, count):
        return Refusal("shape-mismatch", f"{request.what} reads {count} channels")
    return Features(scale, shift)


def vector(array: DoubleDouble, axis: int) -> DoubleDouble | None:
    """`array` as a vector along `axis`, or None if it varies along another axis."""
    result: DoubleDouble | None = array
    for other in range(len(array.shape)):
        if other != axis and result is not None:
            result = result.uniform_along(other)
    return None if result is None else result.reshape(-1)


def with_rest(
    answer: Absorption, features: Features, dtype: ir.DataType, request: Request
) -> Absorption | Refusal:
    """`answer`, plus an Add behind the host for what is left of the shift."""
    if features.rest is None:
        return answer
    add = added_after(features.rest, dtype, request)
    if isinstance(add, Refusal):
        return add
    return replace(answer, add_after=add, rest=features.rest, parts=(*answer.parts, "Add"))


def added_after(shift: DoubleDouble, dtype: ir.DataType, request: Request) -> NewOperand | Refusal:
    """The constant of an Add behind the host; `shift` has the rank of its output.

    Condition: operator set 7 or later. Before, an Add broadcasts only if an attribute says so.
    """
    if request.scope.opset < _BROADCASTS:
        return Refusal("unknown-opset", f"before opset 7 no Add can follow {request.what}")
    base = request.node.name or request.node.outputs[0].name or request.node.op_type
    return rounded(_trimmed(shift), dtype, index=1, base=base, what=request.what)


def _trimmed(array: DoubleDouble) -> DoubleDouble:
    """Without leading axes of length 1, which broadcasting supplies."""
    shape = list(array.shape)
    while len(shape) > 1 and shape[0] == 1:
        shape.pop(0)
    return array.reshape(*shape)


def _other(affine: Affine, axis: int) -> int:
    return next((a for a in affine.varying() if a != axis), axis)
