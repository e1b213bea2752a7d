"""The bias of Conv and ConvTranspose: `b' = scale * b + shift`, operand 2, shape [M]."""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Absorption, NewOperand, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.scaling import rounded
from bnopt.graph.constants import Constant


def folded_bias(request: Request, scaled: NewOperand, weight: Constant) -> Absorption | Refusal:
    """The absorption of `scaled` and of the bias that goes with it.

    A bias that would be zero everywhere is not added where there was none.
    """
    old = request.context.constant(request.node, 2, "bias", "dynamic-weight")
    if isinstance(old, Refusal):
        return old
    affine = request.affine
    if old is None and affine.shift.is_zero():
        return Absorption((scaled,), ("weight",), overridable=weight.overridable)
    values = affine.shift
    names = weight.overridable
    if old is not None:
        if old.shape != (affine.channels,):
            return Refusal("shape-mismatch", f"the bias of {request.what} has shape {old.shape}")
        if old.dtype != weight.dtype:
            return Refusal("data-type", f"weight and bias of {request.what} differ in type")
        values = affine.apply(DoubleDouble.of(old.array().astype(np.float64)))
        names = tuple(dict.fromkeys((*names, *old.overridable)))
    base = f"{request.node.name or request.node.outputs[0].name}.bias"
    bias = rounded(values, weight.tensor.dtype, index=2, base=base, what=request.what)
    if isinstance(bias, Refusal):
        return bias
    return Absorption((scaled, bias), ("weight", "bias"), overridable=names)
