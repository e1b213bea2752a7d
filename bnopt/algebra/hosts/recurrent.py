"""LSTM, GRU and RNN take an affine from ahead: their first step is linear in the input.

Every gate computes `X W^T + Wb + H R^T + Rb`, so an affine on the features of X (its last axis)
goes into W and Wb as into those of a Gemm, before any activation:

    W'[d, g, i] = W[d, g, i] * scale[i]
    Wb'[d, g]   = Wb[d, g] + sum over i of W[d, g, i] * shift[i]

W has shape [directions, gates * hidden, inputs] and B, [directions, 2 * gates * hidden], holds Wb
and then Rb. Conditions: W and B are constants (B may be missing); X is the data.

Source: ONNX operator specification, LSTM, GRU and RNN-1 to -22.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Absorption, Host, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.hosts.features import ahead
from bnopt.algebra.scaling import contract, rounded, scaled_weight
from bnopt.graph.constants import Constant


def absorb(request: Request) -> Absorption | Refusal:
    """Fold an affine ahead of a recurrent layer into its input weights and bias."""
    if request.after is not None or request.before is None:
        return Refusal("not-linear", f"{request.what} ends in an activation")
    weight = request.context.constant(request.node, 1, "weight", "dynamic-weight")
    if not isinstance(weight, Constant):
        return weight or Refusal("shape-mismatch", f"{request.what} has no weight")
    if len(weight.shape) != 3:
        return Refusal("shape-mismatch", f"the weight of {request.what} has shape {weight.shape}")
    before = ahead(request, 3, 2, weight.shape[2])
    if isinstance(before, Refusal):
        return before
    scaled = scaled_weight(
        weight,
        weight.shape,
        before.scale.reshape(1, 1, -1),
        fan_in=weight.shape[2],
        index=1,
        what=request.what,
    )
    if isinstance(scaled, Refusal):
        return scaled
    if before.shift.is_zero():
        return Absorption((scaled,), ("weight",), overridable=weight.overridable)
    return _with_bias(request, weight, Absorption((scaled,), ("weight", "bias")), before.shift)


def _with_bias(
    request: Request, weight: Constant, answer: Absorption, shift: DoubleDouble
) -> Absorption | Refusal:
    directions, rows, _ = weight.shape
    old = request.context.constant(request.node, 3, "bias", "dynamic-weight")
    if isinstance(old, Refusal):
        return old
    sums = contract(weight.array(), shift.reshape(1, 1, -1), (2,)).reshape(directions, rows)
    values = sums.joined(DoubleDouble.of(np.zeros((directions, rows))), 1)
    names = weight.overridable
    if old is not None:
        if old.shape != values.shape or old.dtype != weight.dtype:
            return Refusal("shape-mismatch", f"the bias of {request.what} has shape {old.shape}")
        values = values + DoubleDouble.of(old.array().astype(np.float64))
        names = tuple(dict.fromkeys((*names, *old.overridable)))
    base = f"{request.node.name or request.node.outputs[0].name}.bias"
    bias = rounded(values, weight.tensor.dtype, index=3, base=base, what=request.what)
    if isinstance(bias, Refusal):
        return bias
    return Absorption((*answer.operands, bias), answer.parts, overridable=names)


LSTM = Host("LSTM", (1, 7, 14, 22), absorb)
GRU = Host("GRU", (1, 3, 7, 14, 22), absorb)
RNN = Host("RNN", (1, 7, 14, 22), absorb)
