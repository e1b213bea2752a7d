"""The ops that move a variable while a model is trained, and what drives them.

A moving average is `v -= (v - value) * (1 - decay)`. What an initializer, a restore or a setter
writes is no update: neither the variable itself nor data goes into it.

Source: TensorFlow, python/training/moving_averages.py (`assign_moving_average`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bnopt.frontends.tensorflow.dataflow.graph import (
    PIPELINES,
    PLACEHOLDERS,
    WRITES,
    Graph,
    Tensor,
)
from bnopt.frontends.tensorflow.dataflow.sources import Gate, Tracer

_RELATIVE = frozenset(("AssignSub", "AssignAdd", "AssignSubVariableOp", "AssignAddVariableOp"))
_DATA = PLACEHOLDERS | PIPELINES


@dataclass(frozen=True, slots=True)
class Update:
    """One op that moves a variable.

    Attributes:
        node: The op.
        variable: The node of the variable.
        gates: Switches that decide whether it runs.
        rate: What is 1 - decay of a moving average; None if it is not written as one.
    """

    node: str
    variable: str
    gates: tuple[Gate, ...]
    rate: Tensor | None


def updates(tracer: Tracer) -> Iterator[Update]:
    """Every update of a graph, in graph order."""
    graph = tracer.graph
    for name, node in graph.nodes.items():
        if node.op not in WRITES:
            continue
        variable, *_, value = graph.operands(name)
        written = tracer.variable(variable)
        if written is not None and (node.op in _RELATIVE or _moves(graph, tracer, written, value)):
            yield Update(name, written, tracer.enclosing(name), _rate(graph, value, tracer))


def is_train_op(op: str) -> bool:
    """Whether an operator is an optimizer's: it moves weights."""
    return op.removeprefix("Resource").removeprefix("Sparse").startswith("Apply")


def _moves(graph: Graph, tracer: Tracer, variable: str, value: Tensor) -> bool:
    node = graph.nodes.get(value.node)
    if node is None or node.op in PLACEHOLDERS:
        # A setter: Keras feeds weights through a placeholder.
        return False
    found = graph.ancestors([value.node], control=False)
    ops = {graph.op(name) for name in found}
    if any(op.startswith("Restore") for op in ops):
        return False
    return variable in found or bool(ops & _DATA)


def _rate(graph: Graph, value: Tensor, tracer: Tracer) -> Tensor | None:
    """The factor of `(v - value) * rate`."""
    if graph.op(value.node) != "Mul":
        return None
    left, right = graph.operands(value.node)
    for difference, rate in ((left, right), (right, left)):
        if graph.op(difference.node) == "Sub" and any(
            tracer.variable(o) is not None for o in graph.operands(difference.node)
        ):
            return rate
    return None
