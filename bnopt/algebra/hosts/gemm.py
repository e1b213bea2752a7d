"""Gemm, `Y = alpha * A' B' + beta * C`: scale the columns of B'; scale and shift beta * C.

The affine acts on axis 1, the columns of Y, which are the columns of B' ([K, N]; stored [N, K]
with transB). alpha stays, beta goes into C and its attribute is dropped. C may be missing, or
broadcast from scalar, [1], [N], [1, N], [M, 1] or [M, N]; the new one has shape [N], or the shape
that C had once its columns are spelled out ([M, 1] grows to [M, N]).

Conditions: B and C are constants; B' has C columns. With a constant A and a computed B the
constant owns the rows of Y, so it cannot take the affine.

Source: ONNX operator specification, Gemm-1 to Gemm-13. Before opset 7, C broadcasts only if the
attribute `broadcast` is set; then it stays set, and if it is not, C has shape [M, N] and keeps it.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Absorption, Host, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.scaling import rounded, scaled_weight
from bnopt.graph.operators import get_float, get_int


def absorb(request: Request) -> Absorption | Refusal:
    """Fold an affine behind a Gemm into its operands B and C."""
    node, affine, context = request.node, request.affine, request.context
    weight = context.constant(node, 1, "operand B", "dynamic-weight")
    if isinstance(weight, Refusal):
        return weight
    if weight is None or len(weight.shape) != 2:
        return Refusal("shape-mismatch", f"operand B of {request.what} is not of rank 2")
    if request.axis != 1:
        return Refusal("channel-axis", f"the features of {request.what} are on axis 1")
    column_axis = 0 if get_int(node, "transB", 0) else 1
    if weight.shape[column_axis] != affine.channels:
        return Refusal(
            "shape-mismatch",
            f"{request.what} has {weight.shape[column_axis]} columns, the batch norm "
            f"{affine.channels}",
        )
    scaled = scaled_weight(weight, weight.shape, (column_axis,), affine, index=1, what=request.what)
    if isinstance(scaled, Refusal):
        return scaled
    old = context.constant(node, 2, "operand C", "dynamic-weight")
    if isinstance(old, Refusal):
        return old
    if old is None and affine.shift.is_zero():
        return Absorption((scaled,), ("weight",), overridable=weight.overridable)
    values = affine.shift
    names = weight.overridable
    if old is not None:
        if old.dtype != weight.dtype:
            return Refusal("data-type", f"operands B and C of {request.what} differ in type")
        if len(old.shape) > 2 or (old.shape and old.shape[-1] not in (1, affine.channels)):
            return Refusal("shape-mismatch", f"operand C of {request.what} has shape {old.shape}")
        beta = DoubleDouble.of(np.float64(get_float(node, "beta", 1.0)))
        values = affine.apply(beta * DoubleDouble.of(old.array().astype(np.float64)))
        names = tuple(dict.fromkeys((*names, *old.overridable)))
    base = f"{node.name or node.outputs[0].name}.bias"
    bias = rounded(values, weight.tensor.dtype, index=2, base=base, what=request.what)
    if isinstance(bias, Refusal):
        return bias
    return Absorption(
        (scaled, bias),
        ("weight", "bias"),
        drop_attributes=("beta",),
        overridable=names,
    )


HOST = Host("Gemm", (1, 6, 7, 9, 11, 13), absorb)
