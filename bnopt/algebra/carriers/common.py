"""What carriers have in common: integer operands, and affines cut along an axis."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Carried, Context, Crossing, Refusal
from bnopt.algebra.double_double import DoubleDouble, Float64Array
from bnopt.graph.constants import Constant
from bnopt.graph.operators import operand


def integers(crossing: Crossing, name: str, index: int) -> tuple[int, ...] | Refusal | None:
    """Integers that are the attribute `name` in old opsets and operand `index` in new ones.

    Returns:
        None if neither is there.
    """
    attribute = crossing.node.attributes.get(name)
    if attribute is not None:
        if attribute.type == ir.AttributeType.INT:
            return (attribute.as_int(),)
        return tuple(attribute.as_ints())
    found = crossing.context.constant(crossing.node, index, name, "not-carried")
    if not isinstance(found, Constant):
        return found
    return tuple(int(n) for n in found.array().reshape(-1))


def dims_of(
    context: Context, value: ir.Value | None, what: str
) -> tuple[int | None, ...] | Refusal:
    """The dimensions of a value, whose rank at least must be known."""
    dims = context.dims.of(value)
    if dims is None:
        return Refusal("unknown-rank", f"the rank of the data of {what} is not known")
    return dims


def both_dims(
    crossing: Crossing,
) -> tuple[tuple[int | None, ...], tuple[int | None, ...]] | Refusal:
    """The dimensions of the data before and after the carrier, both of known rank."""
    before = dims_of(crossing.context, crossing.data, crossing.what)
    if isinstance(before, Refusal):
        return before
    after = dims_of(crossing.context, crossing.node.outputs[0], crossing.what)
    return after if isinstance(after, Refusal) else (before, after)


def lengths_of(
    crossing: Crossing, values: Sequence[ir.Value | None], axis: int
) -> list[int] | Refusal:
    """The lengths along `axis` of the values that the carrier joins or cuts the data into."""
    lengths: list[int] = []
    for value in values:
        dims = crossing.context.dims.of(value)
        if dims is None or axis >= len(dims) or (length := dims[axis]) is None:
            return Refusal(
                "not-carried", f"the lengths of the parts of {crossing.what} are not known"
            )
        lengths.append(length)
    return lengths


def into_parts(crossing: Crossing, axis: int, lengths: Sequence[int]) -> Carried | Refusal:
    """The affine cut along `axis` into parts of `lengths`, one for each value."""
    affine, total = crossing.affine, sum(lengths)
    if affine.length(axis) not in (1, total):
        return Refusal("shape-mismatch", f"the parts of {crossing.what} have {total} channels")
    ends = pairwise(np.cumsum([0, *lengths]).tolist())
    return Carried({index: cut(affine, axis, *part) for index, part in enumerate(ends)})


def as_part(crossing: Crossing, axis: int, lengths: Sequence[int]) -> Carried:
    """The affine at the place of the crossed value, the identity at those of the others."""
    start = sum(lengths[: crossing.index])
    positions = np.arange(start, start + lengths[crossing.index])
    return Carried({0: placed(crossing.affine, axis, positions, sum(lengths))})


def normalised(axes: Sequence[int], rank: int) -> tuple[int, ...]:
    """Axes counted from the front."""
    return tuple(axis + rank if axis < 0 else axis for axis in axes)


def cut(affine: Affine, axis: int, start: int, stop: int) -> Affine:
    """The part of `affine` from `start` to `stop` along `axis`."""

    def take(array: Float64Array) -> Float64Array:
        return array if array.shape[axis] == 1 else np.take(array, range(start, stop), axis)

    return affine.map(take)


def placed(affine: Affine, axis: int, positions: np.ndarray, length: int) -> Affine:
    """The identity along `axis`, but `affine` at `positions`."""
    parts: list[DoubleDouble] = []
    for part, neutral in ((affine.scale, 1.0), (affine.shift, 0.0)):
        shape = list(part.shape)
        shape[axis] = length
        high, low = np.full(shape, neutral), np.zeros(shape)
        where = tuple(positions if i == axis else slice(None) for i in range(len(shape)))
        high[where], low[where] = part.hi, part.lo
        parts.append(DoubleDouble(high, low))
    return Affine(*parts)


def mixed(crossing: Crossing, axes: Sequence[int]) -> Affine | Refusal:
    """The affine with length 1 along `axes`, which the carrier mixes or changes."""
    plain = crossing.affine.uniform_along(axes)
    if plain is None:
        return Refusal(
            "not-carried",
            f"{crossing.what} works along an axis along which the affine varies",
        )
    return plain


def no_shift(crossing: Crossing) -> Refusal | None:
    """Refuse an affine with a shift: the carrier keeps zero, and nothing else, in place."""
    if crossing.affine.shift.is_zero():
        return None
    return Refusal("not-linear", f"{crossing.what} does not commute with a shift")


def no_negative(crossing: Crossing) -> Refusal | None:
    """Refuse a negative scale: the carrier treats the two signs differently."""
    if (crossing.affine.scale.hi >= 0).all():
        return None
    return Refusal("sign", f"{crossing.what} does not commute with a negative scale")


def is_read(node: ir.Node, output: int) -> bool:
    """Whether anybody reads an output."""
    if output >= len(node.outputs):
        return False
    value = node.outputs[output]
    return bool(value.uses()) or value.is_graph_output()


def has_operand(node: ir.Node, index: int) -> bool:
    """Whether an input is given."""
    return operand(node, index) is not None
