"""Which chains of Mul and Add count as a batch norm that is written out.

From its numbers alone such a chain cannot be told from a hand-written scale and bias, and need not
be: folding is exact for both. But the gain and offset behind a layer, group or instance norm, and
the scaling of attention scores, are not batch norms, and are not reported as such.
"""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.algebra.units import Unit
from bnopt.graph.operators import operand

_NORMALIZATIONS = frozenset(
    "GroupNormalization InstanceNormalization LayerNormalization LpNormalization LRN "
    "MeanVarianceNormalization RMSNormalization SimplifiedLayerNormalization "
    "SkipLayerNormalization SkipSimplifiedLayerNormalization Softmax".split()
)
_MOVES = frozenset("Cast Flatten Identity Reshape Squeeze Transpose Unsqueeze".split())
_ROOTS = frozenset("Pow Reciprocal Sqrt".split())
_ARITHMETIC = frozenset("Add Clip Div Max Mul Neg Sub".split())
_REDUCTIONS = frozenset(
    "ReduceL1 ReduceL2 ReduceMean ReduceSum ReduceSumSquare GlobalAveragePool".split()
)
_MAX_NODES = 24


def is_decomposed_batch_norm(unit: Unit, context: Context) -> bool:
    """Whether a unit without a BatchNormalization node is a batch norm all the same.

    It multiplies data of rank 2 or more by a constant that varies along one axis, and that data has
    not just been normalised by statistics of its own, or is chosen between two by an `If`.
    """
    scale = unit.affine.scale
    if len(scale.shape) < 2 or sum(n > 1 for n in scale.shape) != 1 or unit.batch_norms:
        return False
    return not is_normalised(unit.input, context)


def is_normalised(value: ir.Value, context: Context) -> bool:
    """Whether `value` is a quotient of data and a statistic of it, or the root of one."""
    producer = value.producer()
    while producer is not None and producer.op_type in _MOVES:
        data = operand(producer, 0)
        producer = None if data is None else data.producer()
    if producer is None:
        return False
    if producer.op_type in _NORMALIZATIONS or producer.op_type == "If":
        return True
    return _uses_statistics(producer, context)


def _uses_statistics(start: ir.Node, context: Context) -> bool:
    """Whether arithmetic alone leads from a reduction to `start`, by way of a root or quotient."""
    pending = [(start, False)]
    seen: set[tuple[int, bool]] = set()
    while pending and len(seen) < _MAX_NODES:
        node, rooted = pending.pop()
        if (id(node), rooted) in seen:
            continue
        seen.add((id(node), rooted))
        if node.op_type in _REDUCTIONS or node.op_type == "If":
            if rooted:
                return True
            continue
        computed = [v for v in node.inputs if v is not None and not context.is_constant(v)]
        quotient = node.op_type in ("Div", "Sub") and len(computed) > 1
        if node.op_type in _ROOTS or quotient:
            rooted = True
        elif node.op_type not in _ARITHMETIC and node.op_type not in _MOVES:
            continue
        for value in computed:
            producer = value.producer()
            if producer is not None:
                pending.append((producer, rooted))
    return False
