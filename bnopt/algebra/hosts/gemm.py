"""Gemm, `Y = alpha * A' B' + beta * C`, takes an affine from behind and one from ahead of A.

    B''[k, n] = before.scale[k] * B'[k, n] * after.scale[n]
    C''[n]    = after.scale[n] * (beta * C + alpha * sum over k of before.shift[k] * B'[k, n])
                + after.shift[n]

The affine behind acts on axis 1 of Y, the columns of B' ([K, N]; stored [N, K] with transB). The
one ahead acts on the axis of A that is summed over: axis 1, or axis 0 with transA. alpha stays,
beta goes into C and its attribute is dropped. C may be missing, or broadcast from scalar, [1], [N],
[1, N], [M, 1] or [M, N]; the new one has shape [N], or the shape that C had once its columns are
spelled out ([M, 1] grows to [M, N]).

Conditions: B and C are constants; the lengths fit. With a constant A and a computed B the constant
owns the rows of Y, so it cannot take the affine.

Source: ONNX operator specification, Gemm-1 to Gemm-13. Before opset 7, C broadcasts only if the
attribute `broadcast` is set; then it stays set, and if it is not, C has shape [M, N] and keeps it.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Absorption, Host, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.hosts.bias import find_bias
from bnopt.algebra.hosts.conv import spread
from bnopt.algebra.hosts.features import Features, ahead, behind, with_rest
from bnopt.algebra.hosts.weights import Scaled, Weight, find_weight
from bnopt.algebra.scaling import contract, rounded
from bnopt.graph.operators import get_float, get_int


def absorb(request: Request) -> Absorption | Refusal:
    """Fold affines behind and ahead of a Gemm into its operands B and C."""
    node = request.node
    weight = find_weight(request, 1, "operand B")
    if isinstance(weight, Refusal):
        return weight
    if weight is None or len(weight.shape) != 2:
        return Refusal("shape-mismatch", f"operand B of {request.what} is not of rank 2")
    column, row = (0, 1) if get_int(node, "transB", 0) else (1, 0)
    columns, rows = weight.shape[column], weight.shape[row]
    after = behind(request, 2, 1, columns)
    if isinstance(after, Refusal):
        return after
    before = ahead(request, 2, 0 if get_int(node, "transA", 0) else 1, rows)
    if isinstance(before, Refusal):
        return before
    output, inner = ((columns, 1), (1, rows)) if column == 0 else ((1, columns), (rows, 1))
    factor = spread(after.scale, output) * spread(before.scale, inner)
    scaled = weight.scaled(weight.shape, factor, spread(after.shift, output), rows)
    if isinstance(scaled, Refusal):
        return scaled
    added = DoubleDouble.of(np.zeros(1))
    if not before.shift.is_zero():
        sums = contract(weight.array(), spread(before.shift, inner), (row,)).reshape(columns)
        added = sums * DoubleDouble.of(np.float64(get_float(node, "alpha", 1.0)))
    return _with_bias(request, weight, scaled, after, added, columns)


def _with_bias(
    request: Request,
    weight: Weight,
    scaled: Scaled,
    after: Features,
    added: DoubleDouble,
    columns: int,
) -> Absorption | Refusal:
    node = request.node
    old = find_bias(request)
    if isinstance(old, Refusal):
        return old
    names = weight.overridable
    if old is not None:
        if old.tensor.dtype != weight.dtype:
            return Refusal("data-type", f"operands B and C of {request.what} differ in type")
        if len(old.shape) > 2 or (old.shape and old.shape[-1] not in (1, columns)):
            return Refusal("shape-mismatch", f"operand C of {request.what} has shape {old.shape}")
        beta = DoubleDouble.of(np.float64(get_float(node, "beta", 1.0)))
        added = added + beta * DoubleDouble.of(old.array().astype(np.float64))
        names = tuple(dict.fromkeys((*names, *old.overridable)))
    values = after.apply(added)
    if old is None and values.is_zero():
        answer = Absorption(
            scaled.operands, ("weight",), set_attributes=scaled.set_attributes, overridable=names
        )
        return with_rest(answer, after, weight.dtype, request)
    if values.shape[-1] != columns:
        values = values + DoubleDouble.of(np.zeros(columns))
    base = f"{node.name or node.outputs[0].name}.bias"
    bias = rounded(values, weight.dtype, index=2, base=base, what=request.what)
    if isinstance(bias, Refusal):
        return bias
    answer = Absorption(
        (*scaled.operands, bias),
        ("weight", "bias"),
        drop_attributes=("beta",),
        set_attributes=scaled.set_attributes,
        overridable=names,
    )
    return with_rest(answer, after, weight.dtype, request)


HOST = Host("Gemm", (1, 6, 7, 9, 11, 13), absorb)
