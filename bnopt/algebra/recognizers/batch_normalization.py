"""BatchNormalization of opset 1 to 24, in inference mode, is a channel affine along axis 1.

What "inference mode" means changed with the operator's version:

| version | inference mode is | refused |
|---|---|---|
| 1, 6 | `is_test=1` (the default is 0) and one output | `spatial=0` on rank > 2 or unknown |
| 7 | one output | `spatial=0` on rank > 2 or unknown |
| 9 | one output | |
| 14, 15 | `training_mode=0` (the default) and one output | |

An output with an empty name does not exist, but a node that lists several outputs before opset 14
says "training" by their number, so even empty ones refuse. Conditions: the four parameters are
constants of one length C, finite, and variance + epsilon > 0; no attribute is unknown.

Source: ONNX operator specification, BatchNormalization-1, -6, -7, -9, -14, -15.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from bnopt.algebra.affine import ChannelAffine
from bnopt.algebra.base import Context, Recognized, Refusal, check_operator
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.graph.operators import get_float, get_int, operand, since_version
from bnopt.graph.scopes import Scope
from bnopt.graph.uses import describe

VERSIONS = (1, 6, 7, 9, 14, 15)
PARAMETERS = ("scale", "bias", "mean", "variance")


def matches(node: ir.Node) -> bool:
    """Whether a node is a batch norm by its name, in whatever mode."""
    return node.op_type == "BatchNormalization" and node.domain in ("", "ai.onnx")


def recognize(node: ir.Node, scope: Scope, context: Context) -> Recognized | Refusal:
    """The affine of a BatchNormalization node, or why it is none."""
    known = context.recognized
    if id(node) not in known:
        known[id(node)] = _recognize(node, scope, context)
    return known[id(node)]


def _recognize(node: ir.Node, scope: Scope, context: Context) -> Recognized | Refusal:
    refusal = check_operator(node, VERSIONS, scope, context) or _mode(node, scope, context)
    if refusal is not None:
        return refusal
    data = operand(node, 0)
    if data is None:
        return Refusal("shape-mismatch", f"{describe(node)} has no input")
    arrays: list[npt.NDArray[Any]] = []
    overridable: dict[str, None] = {}
    for index, name in enumerate(PARAMETERS, start=1):
        constant = context.constant(node, index, name, "dynamic-statistics")
        if isinstance(constant, Refusal):
            return _batch_statistics(node, data) or constant
        if constant is None:
            return Refusal("shape-mismatch", f"{describe(node)} has no {name}")
        if constant.dtype not in FOLDABLE_DTYPES:
            return Refusal("data-type", f"the {name} of {describe(node)} is not a float type")
        if len(constant.shape) != 1:
            reason = "per-activation" if get_int(node, "spatial", 1) == 0 else "shape-mismatch"
            return Refusal(reason, f"the {name} of {describe(node)} has shape {constant.shape}")
        arrays.append(constant.array().astype(np.float64))
        overridable.update(dict.fromkeys(constant.overridable))
    affine = _affine(node, arrays)
    if isinstance(affine, Refusal):
        return affine
    return Recognized(node, data, 1, affine, tuple(overridable))


def _mode(node: ir.Node, scope: Scope, context: Context) -> Refusal | None:
    version = since_version(node.op_type, scope.opset) or 0
    outputs = [output for output in node.outputs if output.name]
    if version < 7 and get_int(node, "is_test", 0) != 1:
        return Refusal("training-mode", f"{describe(node)} has is_test=0")
    if version >= 14 and get_int(node, "training_mode", 0) != 0:
        return Refusal("training-mode", f"{describe(node)} has training_mode=1")
    if version < 14 and len(node.outputs) > 1:
        return Refusal(
            "training-mode",
            f"{describe(node)} lists {len(node.outputs)} outputs, which means training in opset "
            f"{scope.opset}",
        )
    if len(outputs) != 1:
        return Refusal("extra-outputs", f"{describe(node)} has {len(outputs)} outputs")
    if version < 9 and get_int(node, "spatial", 1) != 1:
        data = operand(node, 0)
        if data is None or context.types.of(data).rank != 2:
            return Refusal("per-activation", f"{describe(node)} has spatial=0")
    return None


def _affine(node: ir.Node, arrays: list[npt.NDArray[Any]]) -> ChannelAffine | Refusal:
    gamma, beta, mean, variance = arrays
    if len({array.shape for array in arrays}) != 1:
        lengths = ", ".join(str(array.shape[0]) for array in arrays)
        return Refusal(
            "shape-mismatch", f"the parameters of {describe(node)} have lengths {lengths}"
        )
    epsilon = get_float(node, "epsilon", 1e-5)
    for name, array in zip(PARAMETERS, arrays, strict=True):
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            return Refusal(
                "non-finite",
                f"the {name} of {describe(node)} is {array[bad[0]]} in channel {bad[0]}"
                + (f" and {bad.size - 1} more" if bad.size > 1 else ""),
            )
    bad = np.flatnonzero(~(variance + epsilon > 0)) if np.isfinite(epsilon) else np.arange(1)
    if bad.size:
        return Refusal(
            "negative-variance",
            f"variance + epsilon of {describe(node)} is {variance[bad[0]] + epsilon:.3g} "
            f"in channel {bad[0]}" + (f" and {bad.size - 1} more" if bad.size > 1 else ""),
        )
    return ChannelAffine.from_statistics(gamma, beta, mean, variance, epsilon)


def _batch_statistics(node: ir.Node, data: ir.Value) -> Refusal | None:
    """Whether mean or variance is computed from the very tensor that is normalised."""
    pending = [value for value in (operand(node, 3), operand(node, 4)) if value is not None]
    seen: set[int] = set()
    # The statistics hang close to the data; a longer walk would only cross the rest of the net.
    while pending and len(seen) < 64:
        value = pending.pop()
        if value is data:
            return Refusal(
                "batch-statistics",
                f"mean or variance of {describe(node)} is computed from '{data.name}' itself",
            )
        producer = value.producer()
        if producer is not None and id(producer) not in seen:
            seen.add(id(producer))
            pending.extend(source for source in producer.inputs if source is not None)
    return None
