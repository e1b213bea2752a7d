"""Split and Slice cut the affine as they cut the data.

Backward, what stands behind one output (or a slice) stands at its place in the input, and the
identity elsewhere: the other outputs stay as they are, and what a Slice leaves out nobody reads.
Conditions: along an axis on which the affine varies, the lengths (Split) or the start, end and step
(Slice) and the length of the input are known.

Source: ONNX operator specification, Split-1 to -18, Slice-1 to -13.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import cut, dims_of, integers, normalised, placed
from bnopt.graph.operators import get_int


def _lengths(crossing: Crossing, axis: int) -> list[int] | Refusal:
    lengths: list[int] = []
    for value in crossing.node.outputs:
        dims = crossing.context.dims.of(value)
        if dims is None or axis >= len(dims) or (length := dims[axis]) is None:
            return Refusal("not-carried", f"the lengths that {crossing.what} cuts are not known")
        lengths.append(length)
    return lengths


def _split_axis(crossing: Crossing) -> int:
    return normalised([get_int(crossing.node, "axis", 0)], crossing.affine.rank)[0]


def _split_backward(crossing: Crossing) -> Carried | Refusal:
    axis = _split_axis(crossing)
    lengths = _lengths(crossing, axis)
    if isinstance(lengths, Refusal):
        return lengths
    start = sum(lengths[: crossing.index])
    positions = np.arange(start, start + lengths[crossing.index])
    return Carried({0: placed(crossing.affine, axis, positions, sum(lengths))})


def _split_forward(crossing: Crossing) -> Carried | Refusal:
    axis = _split_axis(crossing)
    lengths = _lengths(crossing, axis)
    if isinstance(lengths, Refusal):
        return lengths
    ends = np.cumsum([0, *lengths])
    if crossing.affine.length(axis) not in (1, ends[-1]):
        return Refusal("shape-mismatch", f"{crossing.what} cuts {ends[-1]} channels")
    return Carried(
        {
            index: cut(crossing.affine, axis, int(start), int(stop))
            for index, (start, stop) in enumerate(pairwise(ends))
        }
    )


def _ranges(crossing: Crossing) -> dict[int, slice] | Refusal:
    starts, ends = integers(crossing, "starts", 1), integers(crossing, "ends", 2)
    axes, steps = integers(crossing, "axes", 3), integers(crossing, "steps", 4)
    for found in (starts, ends, axes, steps):
        if isinstance(found, Refusal):
            return found
    if not isinstance(starts, tuple) or not isinstance(ends, tuple):
        return Refusal("shape-mismatch", f"{crossing.what} has no starts or no ends")
    where = axes if isinstance(axes, tuple) else tuple(range(len(starts)))
    paces = steps if isinstance(steps, tuple) else (1,) * len(starts)
    found_ranges: dict[int, slice] = {}
    for axis, start, end, step in zip(where, starts, ends, paces, strict=True):
        # Going backwards, an end before the first element means "all", which Python writes None.
        stop = None if step < 0 and end < -_FAR else end
        found_ranges[normalised([axis], crossing.affine.rank)[0]] = slice(start, stop, step)
    return found_ranges


# Exporters write "to the end" as the largest or smallest integer of 32 or 64 bits.
_FAR = 1 << 30


def _slice_backward(crossing: Crossing) -> Carried | Refusal:
    ranges = _ranges(crossing)
    if isinstance(ranges, Refusal):
        return ranges
    dims = dims_of(crossing.context, crossing.data, crossing.what)
    if isinstance(dims, Refusal):
        return dims
    affine = crossing.affine
    for axis, part in ranges.items():
        plain = affine.uniform_along([axis])
        if plain is not None:
            affine = plain
            continue
        length = dims[axis]
        if length is None:
            return Refusal("not-carried", f"the length that {crossing.what} cuts is not known")
        positions = np.arange(length)[part]
        if positions.size != affine.length(axis):
            return Refusal("shape-mismatch", f"{crossing.what} yields {positions.size} channels")
        affine = placed(affine, axis, positions, length)
    return Carried({0: affine})


def _slice_forward(crossing: Crossing) -> Carried | Refusal:
    ranges = _ranges(crossing)
    if isinstance(ranges, Refusal):
        return ranges
    dims = dims_of(crossing.context, crossing.data, crossing.what)
    if isinstance(dims, Refusal):
        return dims
    affine = crossing.affine
    for axis, part in ranges.items():
        if affine.length(axis) > 1:
            affine = _sliced(affine, axis, part)
    return Carried({0: affine})


def _sliced(affine: Affine, axis: int, part: slice) -> Affine:
    where = tuple(part if i == axis else slice(None) for i in range(affine.rank))
    return affine.map(lambda array: array if array.shape[axis] == 1 else array[where])


SPLIT = Carrier("Split", (1, 2, 11, 13, 18), _split_backward, _split_forward)
SLICE = Carrier("Slice", (1, 10, 11, 13), _slice_backward, _slice_forward)
