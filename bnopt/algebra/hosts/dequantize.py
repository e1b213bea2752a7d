"""DequantizeLinear of computed integers takes a scale from behind: `(q - z) * (s * f)`.

The scale of a vector goes into a vector of quantization scales along the same axis; the shift
becomes an Add behind it. Conditions: scale and zero point are constants; a scalar scale can become
a vector only from opset 13 on; the factor varies along one axis at most, that of the scale if it is
a vector already. Runtimes take scales to be positive, so every factor must be.

Source: ONNX operator specification, DequantizeLinear-10 to -24.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Absorption, Host, NewAttribute, NewOperand, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.hosts.features import added_after, vector
from bnopt.algebra.hosts.weights import DEQUANTIZE, integer_constant, wrong_scale
from bnopt.algebra.scaling import check_range, rounded
from bnopt.graph.constants import Constant
from bnopt.graph.operators import get_int


def absorb(request: Request) -> Absorption | Refusal:
    """Fold an affine behind a DequantizeLinear into its scale."""
    node, after, context = request.node, request.after, request.context
    if request.before is not None or after is None:
        return Refusal("not-linear", f"{request.what} reads integers")
    scale = context.constant(node, 1, "scale", "dynamic-weight")
    zero = context.constant(node, 2, "zero point", "dynamic-weight")
    if isinstance(scale, Refusal) or isinstance(zero, Refusal):
        return scale if isinstance(scale, Refusal) else zero  # type: ignore[return-value]
    if scale is None or get_int(node, "block_size", 0):
        return Refusal("quantized-weight", f"{request.what} has no scale, or one per block")
    refusal = wrong_scale(node, scale)
    if refusal is not None:
        return refusal
    varying = after.without_shift().varying()
    if len(varying) > 1:
        return Refusal("channel-axis", f"the scale behind {request.what} varies along {varying}")
    axis = get_int(node, "axis", 1)
    axis = axis + after.rank if axis < 0 else axis
    vectors = len(scale.shape) == 1
    if varying and vectors and varying[0] != axis:
        return Refusal("channel-axis", f"{request.what} has its scales along axis {axis}")
    if varying and request.scope.opset < 13:
        return Refusal(
            "quantized-weight", f"{request.what} can have a scale per channel in opset 13"
        )
    factor = vector(after.scale, varying[0] if varying else 0)
    assert factor is not None
    if not (factor.hi > 0).all():
        return Refusal("quantized-weight", f"the scale of {request.what} would not be positive")
    if vectors and factor.shape[0] not in (1, scale.shape[0]):
        return Refusal("shape-mismatch", f"{request.what} has {scale.shape[0]} scales")
    old = DoubleDouble.of(scale.array().astype(np.float64).reshape(-1))
    values = old * factor
    refusal = check_range(np.abs(old.hi), factor, scale.dtype, None, 1, request.what)
    if refusal is not None:
        return refusal
    shape = scale.shape if not varying else (values.shape[0],)
    new = rounded(
        values.reshape(*shape), scale.tensor.dtype, index=1, base="scale", what=request.what
    )
    # not a condition: check_range has seen the same numbers
    if isinstance(new, Refusal):
        return new
    return _answer(request, scale, zero, new, varying[0] if varying else None)


def _answer(
    request: Request, scale: Constant, zero: Constant | None, new: NewOperand, axis: int | None
) -> Absorption | Refusal:
    operands = [new]
    attributes: tuple[NewAttribute, ...] = ()
    if axis is not None and not scale.shape:
        attributes = (NewAttribute("axis", axis),)
        if zero is not None:
            count = new.nbytes // scale.dtype.itemsize
            zeros = np.broadcast_to(zero.array().reshape(-1), (count,))
            operands.append(integer_constant(zeros, zero.tensor.dtype, None, 2))
    names = (*scale.overridable, *(zero.overridable if zero is not None else ()))
    assert request.after is not None
    add = None
    if not request.after.shift.is_zero():
        add = added_after(request.after.shift, scale.tensor.dtype, request)
        if isinstance(add, Refusal):
            return add
    return Absorption(
        tuple(operands),
        ("scale",) if add is None else ("scale", "Add"),
        set_attributes=attributes,
        add_after=add,
        overridable=names,
    )


HOST = Host("DequantizeLinear", DEQUANTIZE, absorb, data=())
