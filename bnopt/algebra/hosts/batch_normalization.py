"""BatchNormalization takes the affine behind it: `gamma' = s * gamma`, `beta' = s * beta + t`.

Two affines in a row become one. With `xhat = (x - mean) / sqrt(var + epsilon)`, which stays,
`s * (gamma * xhat + beta) + t = (s * gamma) * xhat + (s * beta + t)`, exactly.

Conditions: the node is in inference mode and its parameters are constants, as for any batch norm
that bnopt recognizes; scale and bias have the same length C as the affine.

Source: ONNX operator specification, BatchNormalization-1 to -15.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Absorption, Host, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.recognizers import batch_normalization
from bnopt.algebra.scaling import rounded, scaled_weight


def absorb(request: Request) -> Absorption | Refusal:
    """Merge an affine behind a batch norm into its scale and bias."""
    node, context, affine = request.node, request.context, request.affine
    inner = batch_normalization.recognize(node, request.scope, context)
    if isinstance(inner, Refusal):
        return inner
    if inner.axis != request.axis:
        return Refusal("channel-axis", f"the channels of {request.what} are on axis {inner.axis}")
    if inner.affine.channels != affine.channels:
        return Refusal("shape-mismatch", f"{request.what} has {inner.affine.channels} channels")
    gamma = context.constant(node, 1, "scale", "dynamic-statistics")
    beta = context.constant(node, 2, "bias", "dynamic-statistics")
    if gamma is None or beta is None or isinstance(gamma, Refusal) or isinstance(beta, Refusal):
        return Refusal("dynamic-statistics", f"{request.what} has no constant scale and bias")
    scale = scaled_weight(gamma, gamma.shape, (0,), affine, index=1, what=request.what)
    if isinstance(scale, Refusal):
        return scale
    values = affine.apply(DoubleDouble.of(beta.array().astype(np.float64)))
    bias = rounded(values, beta.tensor.dtype, index=2, base="bias", what=request.what)
    if isinstance(bias, Refusal):
        return bias
    return Absorption((scale, bias), ("scale", "bias"), overridable=inner.overridable)


HOST = Host("BatchNormalization", batch_normalization.VERSIONS, absorb)
