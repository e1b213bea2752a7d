"""Reshape, Flatten, Squeeze and Unsqueeze keep the numbers and their order; only axes change.

The affine goes along where the axes it varies along correspond: they survive whole, or are merged
with others of known length (`[N, C, H, W] -> [N, C*H*W]`: each number is repeated H*W times), or
come out of such a merge without varying along the others. Conditions: both ranks are known, and
the lengths where axes are merged or split.

Source: ONNX operator specification, Reshape-1 to -25, Flatten-1 to -25, Squeeze and Unsqueeze-1 to
-25.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import both_dims, dims_of, integers, mixed, normalised
from bnopt.algebra.reshaping import reshape_affine


def _reshape(crossing: Crossing, *, back: bool) -> Carried | Refusal:
    dims = both_dims(crossing)
    if isinstance(dims, Refusal):
        return dims
    before, after = dims
    source, target = (after, before) if back else (before, after)
    moved = reshape_affine(crossing.affine, source, target)
    if moved is None:
        return Refusal(
            "not-carried",
            f"{crossing.what} from {before} to {after} mixes axes along which the affine varies",
        )
    return Carried({0: moved})


def _backward(crossing: Crossing) -> Carried | Refusal:
    return _reshape(crossing, back=True)


def _forward(crossing: Crossing) -> Carried | Refusal:
    return _reshape(crossing, back=False)


def _squeezed(crossing: Crossing) -> tuple[int, ...] | Refusal:
    """The axes that go, counted in the larger shape."""
    node = crossing.node
    larger = crossing.data if node.op_type == "Squeeze" else node.outputs[0]
    dims = dims_of(crossing.context, larger, crossing.what)
    if isinstance(dims, Refusal):
        return dims
    axes = integers(crossing, "axes", 1)
    if isinstance(axes, Refusal):
        return axes
    if axes is not None:
        return normalised(axes, len(dims))
    if any(n is None for n in dims):
        return Refusal("not-carried", f"{crossing.what} drops axes that are not known")
    return tuple(axis for axis, n in enumerate(dims) if n == 1)


def _insert(crossing: Crossing) -> Carried | Refusal:
    axes = _squeezed(crossing)
    if isinstance(axes, Refusal):
        return axes
    return Carried({0: crossing.affine.map(lambda a: np.expand_dims(a, axes))})


def _remove(crossing: Crossing) -> Carried | Refusal:
    axes = _squeezed(crossing)
    if isinstance(axes, Refusal):
        return axes
    plain = mixed(crossing, axes)
    if isinstance(plain, Refusal):
        return plain
    return Carried({0: plain.map(lambda a: np.squeeze(a, axes))})


RESHAPE = Carrier("Reshape", (1, 5, 13, 14, 19, 21, 23, 24, 25), _backward, _forward)
FLATTEN = Carrier("Flatten", (1, 9, 11, 13, 21, 23, 24, 25), _backward, _forward)
SQUEEZE = Carrier("Squeeze", (1, 11, 13, 21, 23, 24, 25), _insert, _remove)
UNSQUEEZE = Carrier("Unsqueeze", (1, 11, 13, 21, 23, 24, 25), _remove, _insert)
