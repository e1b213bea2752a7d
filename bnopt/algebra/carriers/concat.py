"""Concat: along its own axis the affine is cut into parts, along any other each input gets it all.

Forward, the affine of one input stands at that input's place, and the identity elsewhere. Where the
affine varies along the axis (and always forward), the lengths of the inputs must be known.

Source: ONNX operator specification, Concat-1, -4, -11, -13.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import cut, normalised, placed
from bnopt.graph.operators import get_int


def _axis(crossing: Crossing) -> int:
    default = 1 if crossing.scope.opset < 4 else 0
    return normalised([get_int(crossing.node, "axis", default)], crossing.affine.rank)[0]


def _lengths(crossing: Crossing, axis: int) -> list[int] | Refusal:
    lengths: list[int] = []
    for value in crossing.node.inputs:
        dims = crossing.context.dims.of(value)
        if dims is None or axis >= len(dims) or (length := dims[axis]) is None:
            return Refusal(
                "not-carried", f"the lengths of what {crossing.what} joins are not known"
            )
        lengths.append(length)
    return lengths


def _backward(crossing: Crossing) -> Carried | Refusal:
    axis = _axis(crossing)
    plain = crossing.affine.uniform_along([axis])
    if plain is not None:
        return Carried(dict.fromkeys(range(len(crossing.node.inputs)), plain))
    lengths = _lengths(crossing, axis)
    if isinstance(lengths, Refusal):
        return lengths
    if sum(lengths) != crossing.affine.length(axis):
        return Refusal("shape-mismatch", f"{crossing.what} joins {sum(lengths)} channels")
    ends = np.cumsum([0, *lengths])
    return Carried(
        {
            index: cut(crossing.affine, axis, int(start), int(stop))
            for index, (start, stop) in enumerate(pairwise(ends))
        }
    )


def _forward(crossing: Crossing) -> Carried | Refusal:
    axis = _axis(crossing)
    lengths = _lengths(crossing, axis)
    if isinstance(lengths, Refusal):
        return lengths
    start = sum(lengths[: crossing.index])
    positions = np.arange(start, start + lengths[crossing.index])
    return Carried({0: placed(crossing.affine, axis, positions, sum(lengths))})


CARRIER = Carrier("Concat", (1, 4, 11, 13), _backward, _forward)
