"""BatchNormalization of opset 1 to 24, in inference mode, is a channel affine along axis 1.

What "inference mode" means changed with the operator's version:

| version | inference mode is |
|---|---|
| 1, 6 | `is_test=1` (the default is 0) and one output |
| 7, 9 | one output |
| 14, 15 | `training_mode=0` (the default) and one output |

An output with an empty name does not exist, but a node that lists several outputs before opset 14
says "training" by their number, so even empty ones refuse. Conditions: the four parameters are
constants of one shape, finite, and variance + epsilon > 0; no attribute is unknown; the rank of the
data is known. Their shape is [C], C being the data's length along axis 1 where that is known.
Before opset 9, with `spatial=0`, there is one number for each activation: their shape is that of
the data without its first axis, and the affine varies along all those axes.

Source: ONNX operator specification, BatchNormalization-1, -6, -7, -9, -14, -15.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Context, Recognized, Refusal, check_operator
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.graph.operators import get_float, get_int, operand, since_version
from bnopt.graph.scopes import Scope
from bnopt.graph.uses import describe

VERSIONS = (1, 6, 7, 9, 14, 15)
PARAMETERS = ("scale", "bias", "mean", "variance")
# A node with more is not one of the operator's; tf2onnx writes six where TensorFlow has six.
_MOST_OUTPUTS = 5


def matches(node: ir.Node) -> bool:
    """Whether a node is a batch norm by its name, in whatever mode."""
    return node.op_type == "BatchNormalization" and node.domain in ("", "ai.onnx")


def recognize(node: ir.Node, scope: Scope, context: Context) -> Recognized | Refusal:
    """The affine of a BatchNormalization node, or why it is none."""
    found = context.recognized.get(id(node))
    if found is None:
        found = context.recognized[id(node)] = _recognize(node, scope, context)
    return found


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
        arrays.append(constant.array().astype(np.float64))
        overridable.update(dict.fromkeys(constant.overridable))
    affine = _affine(node, arrays)
    if isinstance(affine, Refusal):
        return affine
    dims = context.dims.of(data)
    if dims is None:
        return Refusal("unknown-rank", f"the rank of the data of {describe(node)} is not known")
    wanted = dims[1:2] if get_int(node, "spatial", 1) else dims[1:]
    shape = arrays[0].shape
    if len(shape) != len(wanted) or any(
        m not in (None, n) for n, m in zip(shape, wanted, strict=True)
    ):
        return Refusal(
            "shape-mismatch",
            f"the parameters of {describe(node)} have shape {shape}, its data {dims}",
        )
    full = (1, *shape, *[1] * (len(dims) - 1 - len(shape)))
    return Recognized(node, data, affine.map(lambda a: a.reshape(full)), tuple(overridable))


def _mode(node: ir.Node, scope: Scope, context: Context) -> Refusal | None:
    version = since_version(node.op_type, scope.opset) or 0
    outputs = [output for output in node.outputs if output.name]
    if version < 7 and get_int(node, "is_test", 0) != 1:
        return Refusal("training-mode", f"{describe(node)} has is_test=0")
    if version >= 14 and get_int(node, "training_mode", 0) != 0:
        return Refusal("training-mode", f"{describe(node)} has training_mode=1")
    if version < 14 and len(node.outputs) > _MOST_OUTPUTS:
        return Refusal("extra-outputs", f"{describe(node)} lists {len(node.outputs)} outputs")
    if version < 14 and len(node.outputs) > 1:
        return Refusal(
            "training-mode",
            f"{describe(node)} lists {len(node.outputs)} outputs, which means training in opset "
            f"{scope.opset}",
        )
    if len(outputs) != 1:
        return Refusal("extra-outputs", f"{describe(node)} has {len(outputs)} outputs")
    return None


def _affine(node: ir.Node, arrays: list[npt.NDArray[Any]]) -> Affine | Refusal:
    gamma, beta, mean, variance = arrays
    if len({array.shape for array in arrays}) != 1:
        shapes = ", ".join(str(array.shape) for array in arrays)
        return Refusal("shape-mismatch", f"the parameters of {describe(node)} have shapes {shapes}")
    epsilon = get_float(node, "epsilon", 1e-5)
    for name, array in zip(PARAMETERS, arrays, strict=True):
        bad = np.flatnonzero(~np.isfinite(array))
        if bad.size:
            return Refusal(
                "non-finite",
                f"the {name} of {describe(node)} is {array.flat[bad[0]]} in channel {bad[0]}"
                + (f" and {bad.size - 1} more" if bad.size > 1 else ""),
            )
    bad = np.flatnonzero(~(variance + epsilon > 0)) if np.isfinite(epsilon) else np.arange(1)
    if bad.size:
        return Refusal(
            "negative-variance",
            f"variance + epsilon of {describe(node)} is {variance.flat[bad[0]] + epsilon:.3g} "
            f"in channel {bad[0]}" + (f" and {bad.size - 1} more" if bad.size > 1 else ""),
        )
    return Affine.from_statistics(gamma, beta, mean, variance, epsilon)


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
