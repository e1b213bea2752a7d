"""Gather of rows from a constant table (an embedding) takes an affine on the table's own axes.

Every output element is one element of the table, so `scale * table + shift` gathered is `scale *
gathered + shift`. Output axis `a` is axis `a` of the table before the gathered axis, and axis
`a - rank(indices) + 1` behind it; along the axes of the indices the affine must not vary.

Conditions: the table is a constant of a float type; the rank of the indices is known.

Source: ONNX operator specification, Gather-1, -11, -13.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bnopt.algebra.base import Absorption, Host, NewOperand, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.rounding import FOLDABLE_DTYPES, round_pair
from bnopt.graph.operators import get_int, operand


def absorb(request: Request) -> Absorption | Refusal:
    """Fold an affine behind a Gather into its table."""
    node, after = request.node, request.after
    if request.before is not None or after is None:
        return Refusal("not-linear", f"{request.what} chooses by its indices")
    source = operand(node, 0)
    producer = None if source is None else source.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        return Refusal("quantized-weight", f"the table of {request.what} is quantized")
    table = request.context.constant(node, 0, "table", "dynamic-weight")
    if isinstance(table, Refusal):
        return table
    dims = request.context.dims.of(operand(node, 1))
    if table is None or dims is None:
        return Refusal("unknown-rank", f"the rank of the indices of {request.what} is not known")
    if table.dtype not in FOLDABLE_DTYPES:
        return Refusal("data-type", f"the table of {request.what} is of another type than a float")
    rank, count = len(table.shape), len(dims)
    gathered = get_int(node, "axis", 0)
    gathered = gathered + rank if gathered < 0 else gathered
    if after.rank != rank - 1 + count:
        return Refusal("shape-mismatch", f"the output of {request.what} has another rank")
    indexed = range(gathered, gathered + count)
    plain = after.uniform_along(indexed)
    if plain is None:
        return Refusal("channel-axis", f"the affine behind {request.what} varies along its indices")
    parts: list[DoubleDouble] = []
    for part in (plain.scale, plain.shift):
        shape = [n for axis, n in enumerate(part.shape) if axis not in indexed]
        shape.insert(gathered, 1)
        if any(n not in (1, m) for n, m in zip(shape, table.shape, strict=True)):
            return Refusal("shape-mismatch", f"the table of {request.what} is {table.shape}")
        parts.append(part.reshape(*shape))
    values = parts[0] * DoubleDouble.of(table.array().astype(np.float64)) + parts[1]
    array = round_pair(values, table.dtype)
    if not np.isfinite(array).all():
        finite = bool(np.isfinite(table.array().astype(np.float64)).all())
        reason = "overflow" if finite else "non-finite"
        return Refusal(reason, f"the folded table of {request.what} would not be finite")
    new = NewOperand(0, lambda: ir.Tensor(array, dtype=table.tensor.dtype), array.nbytes, "table")
    return Absorption((new,), ("table",), overridable=table.overridable)


HOST = Host("Gather", (1, 11, 13), absorb, data=())
