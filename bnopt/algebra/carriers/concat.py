"""Concat: along its own axis the affine is cut into parts, along any other each input gets it all.

Forward, the affine of one input stands at that input's place, and the identity elsewhere. Where the
affine varies along the axis (and always forward), the lengths of the inputs must be known.

Source: ONNX operator specification, Concat-1, -4, -11, -13.
"""

from __future__ import annotations

from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import as_part, into_parts, lengths_of, normalised
from bnopt.graph.operators import get_int


def _axis(crossing: Crossing) -> int:
    default = 1 if crossing.scope.opset < 4 else 0
    return normalised([get_int(crossing.node, "axis", default)], crossing.affine.rank)[0]


def _backward(crossing: Crossing) -> Carried | Refusal:
    axis = _axis(crossing)
    plain = crossing.affine.uniform_along([axis])
    if plain is not None:
        return Carried(dict.fromkeys(range(len(crossing.node.inputs)), plain))
    lengths = lengths_of(crossing, crossing.node.inputs, axis)
    return lengths if isinstance(lengths, Refusal) else into_parts(crossing, axis, lengths)


def _forward(crossing: Crossing) -> Carried | Refusal:
    axis = _axis(crossing)
    lengths = lengths_of(crossing, crossing.node.inputs, axis)
    return lengths if isinstance(lengths, Refusal) else as_part(crossing, axis, lengths)


CARRIER = Carrier("Concat", (1, 4, 11, 13), _backward, _forward)
