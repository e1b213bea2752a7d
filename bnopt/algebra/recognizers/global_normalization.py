"""BatchNormWithGlobalNormalization, an operator of early TensorFlow, is an affine of the last axis.

    y = (t - m) / sqrt(v + variance_epsilon) * gamma + beta

tf2onnx writes it into the default domain as it stands, though ONNX has no such operator and no
runtime loads it: folding it makes the model one that runs. Its inputs are t, m, v, beta and gamma;
gamma counts only with `scale_after_normalization`, else it is 1. Conditions: those of a batch norm;
both attributes are given, and no local function bears the name.

Source: TensorFlow API, tf.raw_ops.BatchNormWithGlobalNormalization; t is [N, H, W, C].
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Context, Recognized, Refusal
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.graph.operators import get_float, get_int, is_standard, operand
from bnopt.graph.uses import describe

OPERATOR = "BatchNormWithGlobalNormalization"
_ATTRIBUTES = {"variance_epsilon", "scale_after_normalization"}


def recognize(node: ir.Node, context: Context) -> Recognized | Refusal:
    """The affine of the operator, or why it is none."""
    if not is_standard(node, context.model):
        return Refusal("unknown-operator", f"{describe(node)} is a local function")
    if set(node.attributes) != _ATTRIBUTES or any(
        attribute.is_ref() for attribute in node.attributes.values()
    ):
        return Refusal("unknown-attribute", f"{describe(node)} has attributes of another meaning")
    data = operand(node, 0)
    dims = context.dims.of(data)
    if (
        data is None  # not a condition: what is missing has no dimensions
        or dims is None
    ):
        return Refusal("unknown-rank", f"the rank of the data of {describe(node)} is not known")
    arrays: list[np.ndarray] = []
    overridable: dict[str, None] = {}
    for index, name in enumerate(("mean", "variance", "beta", "gamma"), start=1):
        constant = context.constant(node, index, name, "dynamic-statistics")
        if isinstance(constant, Refusal):
            return constant
        if constant is None or constant.dtype not in FOLDABLE_DTYPES:
            return Refusal("data-type", f"the {name} of {describe(node)} is no float vector")
        if constant.shape != (dims[-1],):
            return Refusal("shape-mismatch", f"the {name} of {describe(node)} does not fit {dims}")
        arrays.append(constant.array().astype(np.float64))
        overridable.update(dict.fromkeys(constant.overridable))
    mean, variance, beta, gamma = arrays
    if not get_int(node, "scale_after_normalization", 0):
        gamma = np.ones_like(gamma)
    epsilon = get_float(node, "variance_epsilon", 0.0)
    if not all(np.isfinite(array).all() for array in arrays):
        return Refusal("non-finite", f"a statistic of {describe(node)} is NaN or infinite")
    if not (variance + epsilon > 0).all():
        return Refusal("negative-variance", f"variance + epsilon of {describe(node)} is negative")
    affine = Affine.from_statistics(gamma, beta, mean, variance, epsilon)
    full = (*[1] * (len(dims) - 1), -1)
    return Recognized(node, data, affine.map(lambda a: a.reshape(full)), tuple(overridable))
