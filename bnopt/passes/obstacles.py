"""Naming what stands between a batch norm and any host: the reason slug and the node."""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra.base import Context, Refusal
from bnopt.graph.operators import is_standard
from bnopt.graph.uses import describe

# Operators that may commute with a per-channel affine; nothing here carries one through yet.
_CARRIERS = frozenset(
    "AveragePool Cast Concat DepthToSpace DequantizeLinear Div Dropout Expand Flatten Gather "
    "GlobalAveragePool GlobalMaxPool Identity LpPool MaxPool Mul Neg Pad ReduceMean ReduceSum "
    "Reshape Resize Slice SpaceToDepth Split Squeeze Sum Tile Transpose Unsqueeze Upsample".split()
)


def name_obstacle(value: ir.Value, reader: ir.Node, context: Context) -> Refusal:
    """Why an affine that `reader` applies to `value` goes no further upstream."""
    producer = value.producer()
    if context.constants.resolve(value) is not None:
        return Refusal("constant-input", f"{describe(reader)} reads the constant '{value.name}'")
    if producer is None and value.graph is reader.graph:
        return Refusal("graph-input", f"{describe(reader)} reads the input '{value.name}'")
    if producer is None or producer.graph is not reader.graph:
        return Refusal(
            "other-scope", f"{describe(reader)} reads '{value.name}' from an outer scope"
        )
    if not is_standard(producer, context.model):
        return Refusal("unknown-operator", f"{describe(producer)} is not an ONNX operator")
    if producer.op_type in ("Mul", "Div") and not any(
        context.constants.resolve(operand) is not None for operand in producer.inputs
    ):
        return Refusal("not-linear", f"{describe(producer)} combines two computed values")
    if producer.op_type in _CARRIERS:
        return Refusal("not-carried", f"{describe(producer)} stands in front")
    return Refusal("not-linear", f"{describe(producer)} stands in front")
