"""Identity, Dropout in inference mode and a widening Cast let every affine through.

Dropout passes its data on unless it is in training mode: `is_test=0` before opset 7 (the default),
`training_mode` true from opset 12 on. A Cast is the identity on real numbers if its type holds
every number of the type it comes from; a narrowing one rounds and may overflow, so it is refused.
Backward, the result of the affine is computed in the narrow type from then on, and may overflow;
so all readers must lead back to that type, by operators that keep the order of numbers.
Condition for both: nobody reads a second output.

Source: ONNX operator specification, Identity-1 to -25, Dropout-1 to -22, Cast-1 to -25.
"""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra import recognizers
from bnopt.algebra.base import Carried, Carrier, Crossing, Recognized, Refusal
from bnopt.algebra.carriers.common import has_operand, is_read
from bnopt.graph.constants import Constant
from bnopt.graph.operators import get_int, operand
from bnopt.graph.uses import readers

_WIDER = {
    ir.DataType.FLOAT16: (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE),
    ir.DataType.BFLOAT16: (ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE),
    ir.DataType.FLOAT: (ir.DataType.FLOAT, ir.DataType.DOUBLE),
    ir.DataType.DOUBLE: (ir.DataType.DOUBLE,),
}

_MOVES = frozenset("Dropout Flatten Identity Reshape Squeeze Transpose Unsqueeze".split())
_ORDERED = _MOVES | {"Clip", "LeakyRelu", "MaxPool", "Relu"}
_MAX_DEPTH = 16


def _pass(crossing: Crossing) -> Carried | Refusal:
    return Carried({0: crossing.affine})


def _dropout(crossing: Crossing) -> Carried | Refusal:
    node, opset = crossing.node, crossing.scope.opset
    if is_read(node, 1):
        return Refusal("not-carried", f"somebody reads the mask of {crossing.what}")
    if opset < 7 and not get_int(node, "is_test", 0):
        return Refusal("not-carried", f"{crossing.what} has is_test=0")
    if has_operand(node, 2):
        training = crossing.context.constants.resolve(operand(node, 2))
        if not isinstance(training, Constant) or training.array().any():
            return Refusal("not-carried", f"{crossing.what} may be in training mode")
    return Carried({0: crossing.affine})


def _cast_back(crossing: Crossing) -> Carried | Refusal:
    carried = _cast(crossing)
    source = crossing.context.types.of(crossing.data).dtype
    same = source == ir.DataType(get_int(crossing.node, "to", 0))
    if same:
        return carried
    if _returns(crossing.node.outputs[0], source, crossing, crossing.affine.scale.shape, 0):
        return carried
    return Refusal("not-carried", f"{crossing.what} widens a range that the result may need")


def _returns(
    value: ir.Value,
    source: ir.DataType | None,
    crossing: Crossing,
    shape: tuple[int, ...],
    depth: int,
) -> bool:
    """Whether every reader takes `value` back to the narrow type.

    On the way are the affine itself, of the scale's `shape` (empty once it is behind), and then
    operators that keep the order of numbers: what overflows before them overflows behind them, or
    is cut off alike.
    """
    found = readers(value, crossing.context.model)
    if value.is_graph_output() or depth > _MAX_DEPTH:
        return False
    for node, _ in found:
        if node.op_type == "Cast":
            if ir.DataType(get_int(node, "to", 0)) != source:
                return False
            continue
        rest = shape if node.op_type in _MOVES else ()
        if node.op_type not in _ORDERED:
            part = recognizers.recognize(node, crossing.scope, crossing.context)
            if not isinstance(part, Recognized) or not shape:
                return False
            rest = shape
            if any(n > 1 and n not in shape for n in part.affine.scale.shape):
                return False
        if not _returns(node.outputs[0], source, crossing, rest, depth + 1):
            return False
    return True


def _cast(crossing: Crossing) -> Carried | Refusal:
    source = crossing.context.types.of(crossing.data).dtype
    target = ir.DataType(get_int(crossing.node, "to", 0))
    if (
        source is None  # not a condition: nothing is wider than an unknown type
        or target not in _WIDER.get(source, ())
    ):
        names = f"{source.name if source is not None else 'unknown'} to {target.name}"
        return Refusal("not-carried", f"{crossing.what} may round: {names}")
    return Carried({0: crossing.affine})


IDENTITY = Carrier("Identity", (1, 13, 14, 16, 19, 21, 23, 24, 25), _pass, _pass)
DROPOUT = Carrier("Dropout", (1, 6, 7, 10, 12, 13, 22), _dropout, _dropout)
CAST = Carrier("Cast", (6, 9, 13, 19, 21, 23, 24, 25), _cast_back, _cast)
