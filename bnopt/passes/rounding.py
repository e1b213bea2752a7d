"""Affines whose result is rounded to integers right behind them stay as they are.

Integer networks are exported in floating point: integer weights, Mul and Add by integers, then a
division and a Floor or a Cast to an integer type. Every number in them is an exact integer. A fold
is exact in real numbers, but its products no longer are integers that float32 holds, and a step
function turns the last bit of a sum into a whole unit of the result. So such a unit is refused.

A QuantizeLinear is another matter: what it rounds was computed in floating point to begin with.
"""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra.base import Context, Refusal
from bnopt.algebra.units import Unit
from bnopt.graph.operators import get_int
from bnopt.graph.uses import describe, readers

_STEPS = frozenset("Ceil Floor Mod Round".split())
_PASSED = frozenset(
    "Add Clip Concat Div Flatten Identity Max MaxPool Min Mul Neg Relu Reshape Squeeze Sub "
    "Transpose Unsqueeze".split()
)
_FLOATS = frozenset(
    (ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE)
)
_MAX_NODES = 12


def rounded_behind(unit: Unit, context: Context) -> Refusal | None:
    """Why a unit must stay because of what stands behind it, or None."""
    pending, seen = [unit.output], 0
    while pending and seen < _MAX_NODES:
        value = pending.pop()
        for node, _ in readers(value, context.model):
            seen += 1
            is_cast = node.op_type == "Cast"
            to_float = is_cast and ir.DataType(get_int(node, "to", 0)) in _FLOATS
            if node.op_type in _STEPS or (is_cast and not to_float):
                where = f"{describe(node)} rounds what {describe(unit.nodes[-1])} yields"
                return Refusal("rounded", where)
            if node.op_type in _PASSED or to_float:
                pending.extend(node.outputs)
    return None
