"""Batch norms written out whose statistics are computed when the model runs.

    x -> ReduceMean -> Sub -> Mul(d, d) -> ReduceMean -> Add(epsilon) -> Sqrt -> Reciprocal -> ...

Layer, instance and group norm have the same shape, but they reduce no batch axis (axis 0). Where
the variance comes out of an `If`, the model chooses between moving and batch statistics by an
input. Neither has fixed numbers, so neither has an exact fold; both are reported, by the root of
the variance.
"""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra.base import Context, Refusal
from bnopt.findings import Form
from bnopt.graph.constants import Constant
from bnopt.graph.operators import operand
from bnopt.graph.uses import describe

_PASSED = frozenset(
    "Cast Div Identity Max Mul Relu Reshape Squeeze Sub Transpose Unsqueeze Where".split()
)
_MEANS = frozenset(("ReduceMean", "ReduceSum", "ReduceSumSquare"))
_LARGEST_EPSILON = 0.1
_MAX_NODES = 24


def runtime_statistics(node: ir.Node, context: Context) -> tuple[Form, Refusal] | None:
    """What a node that takes the root of a variance says, if it is part of a batch norm."""
    if node.op_type != "Sqrt" or context.is_constant(node.outputs[0]):
        return None
    variance = _without_epsilon(node, context)
    if variance is None:
        return None
    pending, seen = [variance], 0
    while pending and seen < _MAX_NODES:
        value = pending.pop()
        seen += 1
        producer = value.producer()
        if producer is None:
            continue
        if producer.op_type == "If":
            where = f"{describe(producer)} chooses the statistics of {describe(node)}"
            return "decomposed", Refusal("dynamic-statistics", where)
        if producer.op_type in _MEANS:
            if 0 not in _axes(producer, context):
                return None
            where = f"{describe(producer)} computes the statistics of {describe(node)}"
            return "batch_statistics", Refusal("batch-statistics", where)
        if producer.op_type in _PASSED:
            pending.extend(
                source
                for source in producer.inputs[::-1]
                if source is not None and not context.is_constant(source)
            )
    return None


def _without_epsilon(node: ir.Node, context: Context) -> ir.Value | None:
    """The variance under `Sqrt(variance + epsilon)`."""
    value = operand(node, 0)
    add = None if value is None else value.producer()
    if add is None or add.op_type != "Add" or len(add.inputs) != 2:
        return None
    for variance, other in ((0, 1), (1, 0)):
        epsilon = context.constants.resolve(operand(add, other))
        if epsilon is not None and epsilon.tensor.size == 1 and operand(add, variance) is not None:
            small = 0 < float(epsilon.array().reshape(-1)[0]) <= _LARGEST_EPSILON
            return operand(add, variance) if small else None
    return None


def _axes(node: ir.Node, context: Context) -> set[int]:
    """The axes that are reduced, as they are written; all of them where they are not."""
    attribute = node.attributes.get("axes")
    if attribute is not None and not attribute.is_ref():
        return set(attribute.as_ints())
    found = context.constants.resolve(operand(node, 1))
    return {int(n) for n in found.array().reshape(-1)} if isinstance(found, Constant) else {0}
