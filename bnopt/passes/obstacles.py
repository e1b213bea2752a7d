"""Naming what stands between a batch norm and any host: the reason slug and the node."""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra import recognizers
from bnopt.algebra.base import Context, Refusal
from bnopt.algebra.recognizers import batch_normalization
from bnopt.graph.operators import is_standard, since_version
from bnopt.graph.scopes import Scope
from bnopt.graph.uses import describe


def is_known(node: ir.Node, scope: Scope, context: Context) -> bool:
    """Whether a node is an operator of ONNX in the opset that holds."""
    known = is_standard(node, context.model)
    return known and since_version(node.op_type, scope.opset) is not None


def name_obstacle(value: ir.Value, reader: ir.Node, scope: Scope, context: Context) -> Refusal:
    """Why an affine that `reader` applies to `value` goes no further upstream."""
    producer = value.producer()
    if context.is_constant(value):
        return Refusal("constant-input", f"{describe(reader)} reads the constant '{value.name}'")
    if producer is None and value.graph is reader.graph:
        return Refusal("graph-input", f"{describe(reader)} reads the input '{value.name}'")
    if producer is None or producer.graph is not reader.graph:
        return Refusal(
            "other-scope", f"{describe(reader)} reads '{value.name}' from an outer scope"
        )
    if not is_known(producer, scope, context):
        return Refusal("unknown-operator", f"{describe(producer)} is not an ONNX operator")
    if not batch_normalization.matches(producer):
        found = recognizers.recognize(producer, scope, context)
        if isinstance(found, Refusal):
            return found
    return Refusal("not-linear", f"{describe(producer)} stands in front")
