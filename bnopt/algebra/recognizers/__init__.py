"""Nodes that are affines, each with the condition under which they are."""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra.base import Context, Recognized, Refusal
from bnopt.algebra.recognizers import arithmetic, batch_normalization, global_normalization
from bnopt.graph.scopes import Scope


def recognize(node: ir.Node, scope: Scope, context: Context) -> Recognized | Refusal | None:
    """The affine of a node, why it is none although it looks like one, or None."""
    if batch_normalization.matches(node):
        return batch_normalization.recognize(node, scope, context)
    if node.op_type == global_normalization.OPERATOR:
        return global_normalization.recognize(node, context)
    if node.op_type not in arithmetic.OPERATORS:
        return None
    if id(node) not in context.recognized:
        context.recognized[id(node)] = arithmetic.recognize(node, scope, context)
    return context.recognized[id(node)]
