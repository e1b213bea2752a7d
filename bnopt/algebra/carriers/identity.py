"""Identity, Dropout in inference mode and a widening Cast let every affine through.

Dropout passes its data on unless it is in training mode: `is_test=0` before opset 7 (the default),
`training_mode` true from opset 12 on. A Cast is the identity on real numbers if its type holds
every number of the type it comes from; a narrowing one rounds and may overflow, so it is refused.
Condition for both: nobody reads a second output.

Source: ONNX operator specification, Identity-1 to -25, Dropout-1 to -22, Cast-1 to -25.
"""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import has_operand, is_read
from bnopt.graph.constants import Constant
from bnopt.graph.operators import get_int, operand

_WIDER = {
    ir.DataType.FLOAT16: (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE),
    ir.DataType.BFLOAT16: (ir.DataType.BFLOAT16, ir.DataType.FLOAT, ir.DataType.DOUBLE),
    ir.DataType.FLOAT: (ir.DataType.FLOAT, ir.DataType.DOUBLE),
    ir.DataType.DOUBLE: (ir.DataType.DOUBLE,),
}


def _pass(crossing: Crossing) -> Carried | Refusal:
    return Carried({0: crossing.affine})


def _dropout(crossing: Crossing) -> Carried | Refusal:
    node, opset = crossing.node, crossing.scope.opset
    if crossing.index != 0 or is_read(node, 1):
        return Refusal("not-carried", f"somebody reads the mask of {crossing.what}")
    if opset < 7 and not get_int(node, "is_test", 0):
        return Refusal("not-carried", f"{crossing.what} has is_test=0")
    if has_operand(node, 2):
        training = crossing.context.constants.resolve(operand(node, 2))
        if not isinstance(training, Constant) or training.array().any():
            return Refusal("not-carried", f"{crossing.what} may be in training mode")
    return Carried({0: crossing.affine})


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
CAST = Carrier("Cast", (6, 9, 13, 19, 21, 23, 24, 25), _cast, _cast)
