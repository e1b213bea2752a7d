"""DepthToSpace and SpaceToDepth move channels into blocks of pixels, and back.

With block b the depth C * b * b is, in order, [b, b, C] in mode DCR and in SpaceToDepth, and
[C, b, b] in mode CRD. From the shallow side every channel's numbers are repeated b * b times. From
the deep side the channels of one block must share theirs. Conditions: the affine varies along the
channel axis only, and its length divides.

Source: ONNX operator specification, DepthToSpace-1 to -13, SpaceToDepth-1, -13.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import mixed
from bnopt.algebra.double_double import DoubleDouble
from bnopt.graph.operators import get_int


def _block(crossing: Crossing) -> tuple[int, bool]:
    """B * b, and whether the blocks stand behind the channel in the depth."""
    mode = crossing.node.attributes.get("mode")
    size = get_int(crossing.node, "blocksize", 1)
    return size * size, mode is not None and mode.as_string() == "CRD"


def _deepen(crossing: Crossing) -> Carried | Refusal:
    plain = mixed(crossing, (0, 2, 3))
    if isinstance(plain, Refusal):
        return plain
    count, inner = _block(crossing)

    def spell(array: np.ndarray) -> np.ndarray:
        if array.shape[1] == 1:
            return array
        return np.repeat(array, count, 1) if inner else np.tile(array, (1, count, 1, 1))

    return Carried({0: plain.map(spell)})


def _flatten(crossing: Crossing) -> Carried | Refusal:
    plain = mixed(crossing, (0, 2, 3))
    if isinstance(plain, Refusal):
        return plain
    count, inner = _block(crossing)
    parts: list[DoubleDouble] = []
    for part in (plain.scale, plain.shift):
        depth = part.shape[1]
        if depth == 1:
            parts.append(part)
            continue
        if depth % count:
            return Refusal("shape-mismatch", f"{crossing.what} has no depth of {depth}")
        shape = (depth // count, count) if inner else (count, depth // count)
        shared = part.reshape(*shape).uniform_along(1 if inner else 0)
        if shared is None:
            return Refusal("not-carried", f"the channels of a block of {crossing.what} differ")
        parts.append(shared.reshape(1, -1, 1, 1))
    return Carried({0: Affine(*parts)})


DEPTH_TO_SPACE = Carrier("DepthToSpace", (1, 11, 13), _deepen, _flatten)
SPACE_TO_DEPTH = Carrier("SpaceToDepth", (1, 13), _flatten, _deepen)
