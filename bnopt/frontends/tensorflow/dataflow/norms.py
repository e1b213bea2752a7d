"""The batch norms of a TensorFlow graph, in each of the ways it writes them.

| form | how it looks |
|---|---|
| fused | `FusedBatchNorm*(x, gamma, beta, mean, variance)` |
| global | `BatchNormWithGlobalNormalization(x, mean, variance, beta, gamma)` |
| written out | `tf.nn.batch_normalization`: `inv = Rsqrt(variance + eps) [* gamma]`, `mean * inv` |
| by hand | `(x - mean) / Sqrt(variance + eps)`, or times its reciprocal; `Pow` with 0.5, -0.5 |
| deviation | `(x - mean) / (deviation + eps)` |

Source: TensorFlow, python/ops/nn_impl.py (`batch_normalization`) and core/ops/nn_ops.cc.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bnopt.frontends.tensorflow.dataflow.constants import const_value, constant
from bnopt.frontends.tensorflow.dataflow.graph import Graph, Tensor
from bnopt.frontends.tensorflow.dataflow.sources import FUSED

_GLOBAL = "BatchNormWithGlobalNormalization"
_PASSES = frozenset(("Identity", "Cast", "Reshape", "Squeeze", "ExpandDims"))
_MAX_HOPS = 6


@dataclass(frozen=True, slots=True)
class Norm:
    """One batch norm.

    Attributes:
        node: The node that normalises; Rsqrt or Sqrt where it is written out.
        mean: What it subtracts.
        variance: What it divides by the root of, before epsilon is added; or the root itself.
        training: Whether the node itself takes the statistics of its batch.
        fused: Whether it is one node.
        deviation: Whether it divides by a standard deviation. Much that is no batch norm does, too.
    """

    node: str
    mean: Tensor | None
    variance: Tensor
    training: bool
    fused: bool
    deviation: bool = False


def norms(graph: Graph, cone: set[str]) -> Iterator[Norm]:
    """Every batch norm among some nodes, in graph order."""
    for name in graph.nodes:
        if name not in cone:
            continue
        op = graph.op(name)
        if op in FUSED:
            if not _is_layer_norm(graph, name):
                yield _fused(graph, name)
        elif op == _GLOBAL:
            operands = graph.operands(name)
            yield Norm(name, operands[1], operands[2], training=False, fused=True)
        elif _is_root(graph, name) and (variance := _variance(graph, name)) is not None:
            yield Norm(name, _mean(graph, name), variance, training=False, fused=False)
        elif op in ("RealDiv", "Div") and (norm := _by_deviation(graph, name)) is not None:
            yield norm


def _is_root(graph: Graph, name: str) -> bool:
    """Whether a node takes a square root, or its reciprocal."""
    if graph.op(name) != "Pow":
        return graph.op(name) in ("Rsqrt", "Sqrt")
    exponent = constant(graph, graph.operands(name)[1])
    return exponent is not None and exponent.size == 1 and abs(float(exponent)) == 0.5


def _by_deviation(graph: Graph, division: str) -> Norm | None:
    above, below = graph.operands(division)
    deviation = _without_epsilon(graph, below)
    if deviation is None or graph.op(above.node) != "Sub":
        return None
    mean = graph.operands(above.node)[1]
    return Norm(division, mean, deviation, training=False, fused=False, deviation=True)


def _fused(graph: Graph, name: str) -> Norm:
    operands = graph.operands(name)
    # The attribute's default is true: a node that lacks it is in training mode.
    attributes = graph.nodes[name].attr
    training = "is_training" not in attributes or bool(attributes["is_training"].b)
    return Norm(name, operands[3], operands[4], training=training, fused=True)


def _is_layer_norm(graph: Graph, name: str) -> bool:
    """Whether the batch was made the channels first, as Keras 2 computes layer norm."""
    node = graph.nodes.get(graph.operands(name)[0].node)
    if node is None or node.op != "Reshape":
        return False
    shape = graph.nodes.get(graph.operands(node.name)[1].node)
    if shape is None:
        return False
    if shape.op == "Const":
        value = const_value(shape).reshape(-1)
        return bool(value.size and value[0] == 1)
    first = graph.operands(shape.name)[0] if shape.op == "Pack" else None
    value = None if first is None else constant(graph, first)
    return value is not None and value.size == 1 and int(value.reshape(-1)[0]) == 1


def _variance(graph: Graph, root: str) -> Tensor | None:
    """What epsilon is added to under a root."""
    operands = graph.operands(root)
    return _without_epsilon(graph, operands[0]) if operands else None


def _without_epsilon(graph: Graph, total: Tensor) -> Tensor | None:
    if graph.op(total.node) not in ("Add", "AddV2"):
        return None
    left, right = graph.operands(total.node)
    for value, epsilon in ((left, right), (right, left)):
        number = constant(graph, epsilon)
        if number is not None and number.size == 1 and 0 < float(number.reshape(-1)[0]) < 1:
            return value
    return None


def _mean(graph: Graph, root: str) -> Tensor | None:
    """What is multiplied with the reciprocal root and then subtracted, or subtracted before."""
    frontier = [root]
    for _ in range(_MAX_HOPS):
        behind: list[str] = []
        for name in frontier:
            for reader, _index in graph.readers(name):
                op = graph.op(reader)
                if op in ("Mul", "RealDiv", "Div"):
                    mean = _subtracted(graph, reader, name)
                    if mean is not None:
                        return mean
                if op in _PASSES | {"Mul", "Reciprocal", "RealDiv", "Inv"}:
                    behind.append(reader)
        frontier = behind
    return None


def _subtracted(graph: Graph, product: str, root: str) -> Tensor | None:
    others = [o for o in graph.operands(product) if o.node != root]
    if not others:
        return None
    other = others[0]
    if graph.op(other.node) == "Sub":
        return graph.operands(other.node)[1]
    # Without beta: -mean * inv.
    if graph.op(other.node) == "Neg":
        return graph.operands(other.node)[0]
    readers = [reader for reader, index in graph.readers(product) if index >= 0]
    for reader in readers:
        second = [o.node for o in graph.operands(reader)][1:2]
        if graph.op(reader) == "Sub" and second == [product]:
            return other
    return None
