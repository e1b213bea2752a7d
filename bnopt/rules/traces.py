"""Batch norms that an exporter has folded away before bnopt could see them.

| who | trace |
|---|---|
| tf2onnx's optimizer | weight `*_weights_fused_bn`, bias `*_bias_fused_bn` |
| TensorFlow's grappler | weight `*/merged_input`, bias `*batchnorm*/sub` or none |

Of their statistics only the shift may be left: `beta - mean * scale` as the bias, without a trace
of the convolution's own where grappler merged it.

Source: tf2onnx, optimizer/const_fold_optimizer.py and back_to_back_optimizer.py (names seen in
exports of tf2onnx 1.17); TensorFlow, core/grappler/optimizers/constant_folding.cc (`merged_input`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.graph.operators import operand
from bnopt.graph.scopes import Scope, label, scopes
from bnopt.graph.uses import readers

_HOSTS = frozenset(("Conv", "ConvTranspose", "MatMul", "Gemm"))
_MOVES = frozenset(("Transpose", "Squeeze", "Unsqueeze", "Reshape", "Identity"))


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """One of them.

    Attributes:
        site: The id it is reported by: that of the host.
        name: The host's name.
        node: The host.
        scope: Where it stands.
        output: The value that holds what the batch norm gave.
        evidence: The name that gives it away.
        by: `tf2onnx` or `grappler`.
        axis: The channel axis of `output`, counted from the front.
        shift: What is added to each channel, [C] float64; zero where nothing is; None if unknown.
    """

    site: str
    name: str
    node: ir.Node
    scope: Scope
    output: ir.Value
    evidence: str
    by: str
    axis: int
    shift: np.ndarray | None


def find_traces(model: ir.Model, context: Context) -> tuple[Trace, ...]:
    """Every trace, in graph order."""
    found: list[Trace] = []
    for scope in scopes(model):
        for node in scope.graph:
            if node.op_type not in _HOSTS:
                continue
            weight = operand(node, 1)
            name = "" if weight is None else weight.name or ""
            if "_weights_fused_bn" in name:
                found.append(_trace(node, scope, name, "tf2onnx", context))
            elif "/merged_input" in name and _reads_batchnorm(node, context):
                found.append(_trace(node, scope, name, "grappler", context))
    return tuple(found)


def _reads_batchnorm(node: ir.Node, context: Context) -> bool:
    """Whether what grappler merged into the weight was a batch norm, by the names around it."""
    bias = operand(node, 2)
    after = _add_behind(node, context)
    names = [label(node), *(output.name or "" for output in node.outputs)]
    names += [bias.name or ""] if bias is not None else []
    names += [label(after)] if after is not None else []
    return any(part in name for name in names for part in ("batchnorm", "batch_norm", "bn"))


def _trace(node: ir.Node, scope: Scope, evidence: str, by: str, context: Context) -> Trace:
    bias = operand(node, 2)
    output = node.outputs[0]
    rank = context.types.of(output).rank or 2
    axis = 1 if node.op_type.startswith("Conv") else rank - 1
    shift: np.ndarray | None = np.zeros(1)
    if bias is not None:
        shift = _numbers(bias, context)
    elif (add := _add_behind(node, context)) is not None:
        behind_moves = output not in add.inputs
        output = add.outputs[0]
        # Moved to channels last, as TensorFlow has it.
        axis = rank - 1 if behind_moves else axis
        shift = next(
            (n for v in add.inputs if v is not None and (n := _numbers(v, context)) is not None),
            None,
        )
    return Trace(scope.site_id(node), label(node), node, scope, output, evidence, by, axis, shift)


def _numbers(value: ir.Value, context: Context) -> np.ndarray | None:
    constant = context.constants.resolve(value)
    return None if constant is None else constant.array().astype(np.float64).reshape(-1)


def _add_behind(node: ir.Node, context: Context) -> ir.Node | None:
    """The Add of a constant that follows, past a Transpose or the like."""
    value = node.outputs[0]
    for _ in range(4):
        users = readers(value, context.model)
        if len(users) != 1:
            return None
        reader = users[0][0]
        if reader.op_type == "Add" and any(context.is_constant(v) for v in reader.inputs):
            return reader
        if reader.op_type not in _MOVES:
            return None
        value = reader.outputs[0]
    return None
