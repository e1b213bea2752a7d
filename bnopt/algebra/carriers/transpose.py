"""Transpose renames the axes: the affine is permuted like the data, or back.

No condition. Output axis i is input axis perm[i]; without perm the axes are reversed.

Source: ONNX operator specification, Transpose-1 to -25.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal


def _permutation(crossing: Crossing) -> tuple[int, ...] | Refusal:
    attribute = crossing.node.attributes.get("perm")
    rank = crossing.affine.rank
    perm = tuple(range(rank))[::-1] if attribute is None else tuple(attribute.as_ints())
    if sorted(perm) != list(range(rank)):
        return Refusal("shape-mismatch", f"{crossing.what} permutes {len(perm)} of {rank} axes")
    return perm


def _backward(crossing: Crossing) -> Carried | Refusal:
    perm = _permutation(crossing)
    if isinstance(perm, Refusal):
        return perm
    back = tuple(int(i) for i in np.argsort(perm))
    return Carried({0: crossing.affine.map(lambda array: array.transpose(back))})


def _forward(crossing: Crossing) -> Carried | Refusal:
    perm = _permutation(crossing)
    if isinstance(perm, Refusal):
        return perm
    return Carried({0: crossing.affine.map(lambda array: array.transpose(perm))})


CARRIER = Carrier("Transpose", (1, 13, 21, 23, 24, 25), _backward, _forward)
