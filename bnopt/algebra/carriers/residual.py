"""A sum or difference of computed values: every term takes the scale, one of them the shift.

    s * (a + b) + t = (s * a + t) + (s * b)

Conditions: all terms can take the scale, and one of them, which must not be subtracted, the shift;
along an axis on which scale or shift varies a term that gets it has the full length, that is, it is
not broadcast there. Forward there is nothing to be done: the other terms would have to be divided
by the scale.

Source: ONNX operator specification, Add and Sub-1 to -14, Sum-1 to -13.
"""

from __future__ import annotations

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.graph.operators import get_int, operand


def _backward(crossing: Crossing) -> Carried | Refusal:
    node, affine = crossing.node, crossing.affine
    if get_int(node, "broadcast", 0):
        return Refusal("residual", f"{crossing.what} broadcasts by its attribute")
    scales: dict[int, Affine] = {}
    shifts: dict[int, Affine] = {}
    for index in range(len(node.inputs)):
        value = operand(node, index)
        dims = crossing.context.dims.of(value)
        if (
            value is None  # not a condition: what is missing has no dimensions
            or dims is None
        ):
            return Refusal("unknown-rank", f"the rank of a term of {crossing.what} is not known")
        scale = _onto(affine.without_shift(), dims)
        if scale is None:
            return Refusal("residual", f"{crossing.what} broadcasts '{value.name}'")
        scales[index] = scale
        shift = _onto(Affine.from_shift(affine.shift), dims)
        if shift is not None and (index == 0 or node.op_type != "Sub"):
            shifts[index] = shift
    if affine.shift.is_zero():
        return Carried(scales)
    if not shifts:
        return Refusal("residual", f"{crossing.what} broadcasts all its terms")
    return Carried(scales, one_of=shifts)


def _onto(affine: Affine, dims: tuple[int | None, ...]) -> Affine | None:
    """The affine on a term of shape `dims`; None if the sum broadcasts the term where it varies."""
    lead = affine.rank - len(dims)
    plain = affine.uniform_along(
        axis
        for axis in range(affine.rank)
        if axis < lead or dims[axis - lead] is None or dims[axis - lead] != affine.length(axis)
    )
    return None if plain is None else plain.map(lambda array: array.reshape(array.shape[lead:]))


def _forward(crossing: Crossing) -> Carried | Refusal:
    return Refusal("residual", f"{crossing.what} adds another computed value")


ADD = Carrier("Add", (1, 6, 7, 13, 14), _backward, _forward)
SUB = Carrier("Sub", (1, 6, 7, 13, 14), _backward, _forward)
SUM = Carrier("Sum", (1, 6, 8, 13), _backward, _forward)
