"""Tile and Expand repeat the data: an affine passes that does not vary along a repeated axis.

Forward along a tiled axis the affine is tiled too. Expand may add leading axes. Conditions: where
the affine varies, the lengths before and behind are known; backward they are equal.

Source: ONNX operator specification, Tile-1 to -13, Expand-8, -13.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import both_dims, mixed


def _backward(crossing: Crossing) -> Carried | Refusal:
    dims = both_dims(crossing)
    if isinstance(dims, Refusal):
        return dims
    before, after = dims
    lead = crossing.affine.rank - len(before)
    if lead < 0:
        return Refusal("shape-mismatch", f"{crossing.what} loses axes")
    changed = [
        axis
        for axis in range(crossing.affine.rank)
        if axis < lead or before[axis - lead] is None or before[axis - lead] != after[axis]
    ]
    plain = mixed(crossing, changed)
    if isinstance(plain, Refusal):
        return plain
    return Carried({0: plain.map(lambda array: array.reshape(array.shape[lead:]))})


def _forward(crossing: Crossing) -> Carried | Refusal:
    dims = both_dims(crossing)
    if isinstance(dims, Refusal):
        return dims
    before, after = dims
    lead = len(after) - len(before)
    if lead < 0:
        return Refusal("shape-mismatch", f"{crossing.what} loses axes")
    repeats = [1] * len(before)
    for axis, length in enumerate(before):
        if crossing.affine.length(axis) == 1:
            continue
        whole = after[axis + lead]
        if length is None or whole is None or whole % length:
            return Refusal("not-carried", f"the lengths of {crossing.what} are not known")
        repeats[axis] = whole // length

    def spell(array: np.ndarray) -> np.ndarray:
        tiled = np.tile(
            array, [r if n > 1 else 1 for r, n in zip(repeats, array.shape, strict=True)]
        )
        return tiled.reshape([1] * lead + list(tiled.shape))

    return Carried({0: crossing.affine.map(spell)})


TILE = Carrier("Tile", (6, 13), _backward, _forward)
EXPAND = Carrier("Expand", (8, 13), _backward, _forward)
