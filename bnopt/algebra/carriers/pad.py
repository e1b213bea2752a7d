"""Pad: reflected and repeated values carry the affine along; a constant must be one for all.

    affine(pad(x, p)) = pad(affine(x), affine(p))

so for a constant p the affine must take it to one and the same number everywhere, which becomes the
new value of the operator; with a zero shift, zero stays zero. Forward the affine must leave p as it
is. Conditions: the amounts are known, and the affine does not vary along a padded axis; in reflect,
edge and wrap mode nothing else.

Source: ONNX operator specification, Pad-1 to -25.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Carried, Carrier, Crossing, NewOperand, Refusal
from bnopt.algebra.carriers.common import integers, mixed
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.scaling import rounded
from bnopt.graph.constants import Constant
from bnopt.graph.operators import get_float, operand

_COPYING = ("reflect", "edge", "wrap")


def _backward(crossing: Crossing) -> Carried | Refusal:
    affine = _along_kept_axes(crossing)
    if isinstance(affine, Refusal):
        return affine
    value = _value(crossing)
    if value is None:
        return Carried({0: affine})
    if isinstance(value, Refusal):
        return value
    wanted = affine.apply(DoubleDouble.of(value.array().astype(np.float64).reshape(())))
    for axis in range(affine.rank):
        uniform = wanted.uniform_along(axis)
        if uniform is None:
            return Refusal(
                "padding", f"{crossing.what} pads with one number, the affine makes it several"
            )
        wanted = uniform
    if wanted.hi.flat[0] == float(value.array().reshape(-1)[0]) and not wanted.lo.any():
        return Carried({0: affine})
    if crossing.scope.opset < 11:
        return Refusal("padding", f"{crossing.what} would pad with another value")
    new = rounded(wanted.reshape(), value.tensor.dtype, index=2, base="value", what=crossing.what)
    if isinstance(new, Refusal):
        return new
    return Carried({0: affine}, (NewOperand(2, new.build, new.nbytes, "pad_value"),))


def _forward(crossing: Crossing) -> Carried | Refusal:
    affine = _along_kept_axes(crossing)
    if isinstance(affine, Refusal):
        return affine
    value = _value(crossing)
    if value is None:
        return Carried({0: affine})
    if isinstance(value, Refusal):
        return value
    constant = DoubleDouble.of(value.array().astype(np.float64).reshape(()))
    if not (affine.apply(constant) - constant).is_zero():
        return Refusal("padding", f"{crossing.what} pads behind a shift")
    return Carried({0: affine})


def _along_kept_axes(crossing: Crossing) -> Affine | Refusal:
    """The affine, if it does not vary along an axis that is padded or cropped."""
    node, rank = crossing.node, crossing.affine.rank
    name = "paddings" if crossing.scope.opset < 2 else "pads"
    pads = integers(crossing, name, 1)
    if isinstance(pads, Refusal):
        return pads
    if pads is None:
        return Refusal("shape-mismatch", f"{crossing.what} has no pads")
    axes = tuple(range(rank))
    if operand(node, 3) is not None:
        given = integers(crossing, "axes", 3)
        if isinstance(given, Refusal):
            return given
        axes = tuple(a + rank if a < 0 else a for a in given or ())
    if len(pads) != 2 * len(axes):
        return Refusal("shape-mismatch", f"{crossing.what} has {len(pads)} amounts")
    half = len(axes)
    touched = [axis for i, axis in enumerate(axes) if pads[i] or pads[i + half]]
    return mixed(crossing, touched)


def _value(crossing: Crossing) -> Constant | Refusal | None:
    """The number that it pads with; None if it pads with the data's own."""
    node, context = crossing.node, crossing.context
    mode = node.attributes.get("mode")
    if mode is not None and mode.as_string() in _COPYING:
        return None
    found = context.constant(node, 2, "value", "not-carried")
    if found is not None:
        return found
    dtype = context.types.of(crossing.data).dtype
    if dtype is None:
        return Refusal("data-type", f"the type of what {crossing.what} pads is not known")
    number = np.asarray(get_float(node, "value", 0.0)).astype(dtype.numpy())
    return Constant(ir.Tensor(number, dtype=dtype))


CARRIER = Carrier("Pad", (1, 2, 11, 13, 18, 19, 21, 23, 24, 25), _backward, _forward)
