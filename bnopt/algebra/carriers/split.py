"""Split and Slice cut the affine as they cut the data.

Backward, what stands behind one output (or a slice) stands at its place in the input, and the
identity elsewhere: the other outputs stay as they are, and what a Slice leaves out nobody reads.
Conditions: the axis is known; along one on which the affine varies, the lengths (Split) or the
start, end and step (Slice) and the length of the input are, too.

Source: ONNX operator specification, Split-1 to -18, Slice-1 to -13.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import (
    as_part,
    dims_of,
    integers,
    into_parts,
    lengths_of,
    normalised,
    placed,
)
from bnopt.graph.operators import get_int


def _split_axis(crossing: Crossing) -> int:
    return normalised([get_int(crossing.node, "axis", 0)], crossing.affine.rank)[0]


def _split_backward(crossing: Crossing) -> Carried | Refusal:
    axis = _split_axis(crossing)
    lengths = lengths_of(crossing, crossing.node.outputs, axis)
    return lengths if isinstance(lengths, Refusal) else as_part(crossing, axis, lengths)


def _split_forward(crossing: Crossing) -> Carried | Refusal:
    axis = _split_axis(crossing)
    lengths = lengths_of(crossing, crossing.node.outputs, axis)
    return lengths if isinstance(lengths, Refusal) else into_parts(crossing, axis, lengths)


def _axes(crossing: Crossing) -> tuple[int, ...] | Refusal:
    """The axes that are cut, as they are listed."""
    axes = integers(crossing, "axes", 3)
    if axes is not None:
        return axes if isinstance(axes, Refusal) else normalised(axes, crossing.affine.rank)
    starts = integers(crossing, "starts", 1)
    if isinstance(starts, tuple):
        return tuple(range(len(starts)))
    # However many there are, they are among all of them.
    return tuple(range(crossing.affine.rank))


def _range(crossing: Crossing, position: int) -> slice | Refusal:
    """What is cut along the axis at `position` of the list."""
    numbers: list[int | None] = []
    for name, index in (("starts", 1), ("ends", 2), ("steps", 4)):
        found = integers(crossing, name, index)
        if isinstance(found, Refusal):
            return found
        if found is not None and position < len(found):
            numbers.append(found[position])
        elif name == "steps" and found is None:
            numbers.append(1)
        else:
            return Refusal("shape-mismatch", f"{crossing.what} has too few {name}")
    start, end, step = numbers
    # Going backwards, an end before the first element means "all", which Python writes None.
    backwards_to_the_end = step is not None and step < 0 and end is not None and end < -_FAR
    return slice(start, None if backwards_to_the_end else end, step)


# Exporters write "to the end" as the largest or smallest integer of 32 or 64 bits.
_FAR = 1 << 30


def _slice_backward(crossing: Crossing) -> Carried | Refusal:
    axes = _axes(crossing)
    if isinstance(axes, Refusal):
        return axes
    dims = dims_of(crossing.context, crossing.data, crossing.what)
    if isinstance(dims, Refusal):
        return dims
    affine = narrow = crossing.affine
    known = True
    for position, axis in enumerate(axes):
        cut_out = _uncut(crossing, narrow, position, axis, dims[axis])
        plain = affine.uniform_along([axis])
        if isinstance(cut_out, Refusal) and plain is None:
            return cut_out
        if isinstance(cut_out, Refusal):
            known = False
        else:
            narrow = cut_out
        affine = plain or narrow
    return Carried({0: affine}, narrow={0: narrow} if known else {})


def _uncut(
    crossing: Crossing, affine: Affine, position: int, axis: int, length: int | None
) -> Affine | Refusal:
    """The affine where the Slice reads along one axis, and the identity elsewhere."""
    part = _range(crossing, position)
    if isinstance(part, Refusal):
        return part
    if length is None:
        return Refusal("not-carried", f"the length that {crossing.what} cuts is not known")
    positions = np.arange(length)[part]
    if affine.length(axis) not in (1, positions.size):
        return Refusal("shape-mismatch", f"{crossing.what} yields {positions.size} channels")
    return placed(affine, axis, positions, length)


def _slice_forward(crossing: Crossing) -> Carried | Refusal:
    axes = _axes(crossing)
    if isinstance(axes, Refusal):
        return axes
    affine = crossing.affine
    for position, axis in enumerate(axes):
        if affine.length(axis) > 1:
            part = _range(crossing, position)
            if isinstance(part, Refusal):
                return part
            affine = _sliced(affine, axis, part)
    return Carried({0: affine})


def _sliced(affine: Affine, axis: int, part: slice) -> Affine:
    where = tuple(part if i == axis else slice(None) for i in range(affine.rank))
    return affine.map(lambda array: array if array.shape[axis] == 1 else array[where])


SPLIT = Carrier("Split", (1, 2, 11, 13, 18), _split_backward, _split_forward)
SLICE = Carrier("Slice", (1, 10, 11, 13), _slice_backward, _slice_forward)
