"""Switch, Merge and Select whose predicate is a constant, replaced by the branch that is taken.

In TensorFlow a Switch sends its data to output 1 if the predicate is true, else to output 0; what
is not sent is dead, and so is every node that reads something dead, except a Merge, which takes
the input that is alive.

Source: TensorFlow, core/ops/control_flow_ops.cc and core/common_runtime/executor.cc.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bnopt.frontends.tensorflow.dataflow.constants import truth
from bnopt.frontends.tensorflow.dataflow.graph import Graph, Tensor
from bnopt.frontends.tensorflow.dataflow.sources import MERGES, SELECTS, SWITCHES
from bnopt.frontends.tensorflow.graphs import imported

_NEXT = frozenset(("NextIteration", "RefNextIteration"))


def resolve(graph_def: Any) -> list[str]:
    """Take the branches that are decided, in place.

    Returns:
        The names of the nodes that were replaced.
    """
    graph = Graph(graph_def.node)
    dead = _dead(graph)
    done: list[str] = []
    for name, node in graph.nodes.items():
        if node.op in SWITCHES and _side(graph, name) is not None:
            done.append(name)
        elif node.op in MERGES:
            alive = [t for t in graph.operands(name) if not _is_dead(t, dead)]
            if len(alive) == 1 and not any(index == 1 for _, index in graph.readers(name)):
                _to_identity(node, alive[0])
                done.append(name)
    switches = {name for name in done if graph.op(name) in SWITCHES}
    for node in graph.nodes.values():
        for index, text in enumerate(node.input):
            tensor = Tensor.parse(text)
            if tensor.node in switches and tensor.index > 0 and tensor not in dead:
                node.input[index] = tensor.node
    for name in switches:
        _to_identity(graph.nodes[name], graph.operands(name)[0])
    return done + _selects(graph_def)


def live(graph: Graph, outputs: Iterable[str], bound: Mapping[Tensor, Any]) -> set[str]:
    """The nodes that outputs are computed from, by data, while some tensors have given values."""
    dead = _dead(graph, bound)
    found = set(outputs)
    pending = list(found)
    while pending:
        name = pending.pop()
        operands = graph.operands(name)
        if graph.op(name) in SELECTS and (value := truth(graph, operands[0], bound)) is not None:
            operands = [operands[1 if value else 2]]
        for tensor in operands:
            if not _is_dead(tensor, dead) and tensor.node not in found:
                found.add(tensor.node)
                pending.append(tensor.node)
    return found


def idle(graph: Graph, bound: Mapping[Tensor, Any]) -> set[str]:
    """The nodes that never run while some tensors have given values."""
    return {tensor.node for tensor in _dead(graph, bound) if tensor.index == -2}


def _side(graph: Graph, switch: str, bound: Mapping[Tensor, Any] | None = None) -> bool | None:
    return truth(graph, graph.operands(switch)[1], bound)


def _dead(graph: Graph, bound: Mapping[Tensor, Any] | None = None) -> set[Tensor]:
    """Outputs that never carry anything; index -2 stands for a whole node."""
    dead: set[Tensor] = set()
    changed = True
    while changed:
        changed = False
        for name, node in graph.nodes.items():
            if Tensor(name, -2) in dead:
                continue
            inputs = [t for t in graph.inputs(name) if graph.op(t.node) not in _NEXT]
            lost = [_is_dead(t, dead) for t in inputs]
            before = len(dead)
            if lost and (all(lost) if node.op in MERGES else any(lost)):
                dead.add(Tensor(name, -2))
            elif node.op in SWITCHES and (side := _side(graph, name, bound)) is not None:
                dead.add(Tensor(name, 0 if side else 1))
            changed = changed or len(dead) > before
    return dead


def _is_dead(tensor: Tensor, dead: set[Tensor]) -> bool:
    return tensor in dead or Tensor(tensor.node, -2) in dead


def _to_identity(node: Any, tensor: Tensor) -> None:
    dtype = node.attr["T"].type
    node.op = "Identity"
    del node.input[:]
    node.input.append(tensor.text())
    node.attr.clear()
    node.attr["T"].type = dtype


def _selects(graph_def: Any) -> list[str]:
    """Select with a constant scalar condition, where the choice has the shape of the result."""
    graph = Graph(graph_def.node)
    found: dict[str, Tensor] = {}
    for name, node in graph.nodes.items():
        if node.op in SELECTS:
            condition, yes, no = graph.operands(name)
            value = truth(graph, condition)
            if value is not None:
                found[name] = yes if value else no
    if not found:
        return []
    shapes = imported(graph_def)
    done: list[str] = []
    for name, tensor in found.items():
        node = graph.nodes[name]
        result = shapes.get_tensor_by_name(f"{name}:0").shape
        chosen = shapes.get_tensor_by_name(f"{tensor.node}:{tensor.index}").shape
        # SelectV2 broadcasts: only a shape that is known shows that nothing is lost.
        if node.op == "Select" or (result.is_fully_defined() and result == chosen):
            _to_identity(node, tensor)
            done.append(name)
    return done
