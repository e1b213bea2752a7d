"""An `If` whose condition is known is its live branch.

Exact when the condition is one boolean of known value, the branches take no inputs, and each output
of the live one is computed or held in it. The nodes of the live branch move to where the `If`
stands; the values it captured are the same objects there. The branch's outputs take over the names
of the `If`'s, so that graph outputs and readers by name find what they did; all its other names are
made unique over all scopes, because siblings may use the same ones.

Source: ONNX operator specification, If-1, -11, -13, -16, -19 and later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bnopt.graph.constants import Constant, Constants
from bnopt.graph.operators import is_standard, operand
from bnopt.graph.scopes import attribute_graphs, label
from bnopt.graph.types import Types
from bnopt.passes.specialise.dismantle import discard_body, drop_dead
from bnopt.passes.specialise.naming import NameCounts, rename

BRANCHES = ("then_branch", "else_branch")

# (an If, its condition) -> whether to settle it
Choice = Callable[[ir.Node, Constant], bool]


@dataclass(frozen=True, slots=True)
class _Settled:
    node: ir.Node
    live: str
    in_function: bool


def settle_branches(model: ir.Model, choose: Choice) -> tuple[str, ...]:
    """Replace each `If` of known condition that `choose` agrees to by its live branch, in place.

    Returns:
        A label per `If` that is gone, in the order they went.
    """
    gone: list[str] = []
    while True:
        constants = Constants(model, Types(model))
        # An If inside another waits for the next round: by then its branch has moved or is gone.
        found = list(_settled(model, constants, choose))
        if not found:
            return tuple(gone)
        names = NameCounts(model)
        for settled in found:
            gone.append(label(settled.node))
            _hoist(settled, names)


def live_branch(node: ir.Node, condition: Constant) -> str | None:
    """The attribute that holds the branch an `If` takes; None if that cannot be told exactly."""
    if condition.dtype != np.bool_ or condition.tensor.size != 1:
        return None
    live = BRANCHES[0] if condition.array().item() else BRANCHES[1]
    bodies = {name: attribute_graphs(value) for name, value in node.attributes.items()}
    if set(bodies) != set(BRANCHES) or any(len(graphs) != 1 for graphs in bodies.values()):
        return None
    body = bodies[live][0]
    if body.inputs or len(body.outputs) != len(node.outputs):
        return None
    for value in body.outputs:
        producer = value.producer()
        held = value.is_initializer() if producer is None else producer.graph is body
        if not held:
            return None
    return live


def _settled(model: ir.Model, constants: Constants, choose: Choice) -> Iterator[_Settled]:
    def search(graph: ir.Graph, in_function: bool) -> Iterator[_Settled]:
        for node in graph:
            if node.op_type == "If" and is_standard(node, model):
                condition = constants.resolve(operand(node, 0))
                live = None if condition is None else live_branch(node, condition)
                if condition is not None and live is not None and choose(node, condition):
                    yield _Settled(node, live, in_function)
                    continue
            for attribute in node.attributes.values():
                for body in attribute_graphs(attribute):
                    yield from search(body, in_function)

    yield from search(model.graph, False)
    for function in model.functions.values():
        yield from search(function.graph, True)


def _hoist(settled: _Settled, names: NameCounts) -> None:
    node, graph = settled.node, settled.node.graph
    assert isinstance(graph, ir.Graph)
    bodies = {name: node.attributes[name].as_graph() for name in BRANCHES}
    live = bodies.pop(settled.live)
    (dead,) = bodies.values()
    loose = discard_body(dead, names)
    outputs = list(live.outputs)
    live.outputs.clear()
    for value in list(live.initializers.values()):
        moved = _move_initializer(value, node, settled.in_function, names)
        outputs = [moved if output is value else output for output in outputs]
    nodes = list(live)
    live.remove(nodes)
    graph.insert_before(node, nodes)
    for inner in nodes:
        if inner.name:
            inner.name = names.unique(inner.name)
        for value in inner.outputs:
            if value.name:
                rename(value, names.unique(value.name))
    named: set[int] = set()
    for old, new in zip(node.outputs, outputs, strict=True):
        _stand_in(old, new, node, named, names)
    loose += [value for value in (*node.inputs, *outputs) if value is not None]
    names.forget_name(node.name)
    graph.remove(node, safe=True)
    drop_dead(loose, names)


def _move_initializer(
    value: ir.Value, node: ir.Node, in_function: bool, names: NameCounts
) -> ir.Value:
    """Move an initializer of a branch to the scope of `node`; in a function it becomes a node."""
    body, graph = value.graph, node.graph
    assert isinstance(body, ir.Graph)
    assert isinstance(graph, ir.Graph)
    name = names.unique(value.name or "")
    del body.initializers[value.name or ""]
    tensor = value.const_value
    if not in_function or tensor is None:
        rename(value, name)
        graph.register_initializer(value)
        return value
    constant = ir.Node("", "Constant", inputs=[], attributes=[ir.AttrTensor("value", tensor)])
    graph.insert_before(node, constant)
    result = constant.outputs[0]
    result.name = name
    value.replace_all_uses_with(result)
    return result


def _stand_in(
    old: ir.Value, new: ir.Value, node: ir.Node, named: set[int], names: NameCounts
) -> None:
    """Let `new`, of the branch, take the place of `old`, an output of the If `node`.

    Args:
        old: What is read now.
        new: What is to be read.
        node: Where to insert nodes.
        named: Identities of the values that have taken over a name; grows.
        names: The names of the model.
    """
    name = old.name or ""
    if not (old.uses() or old.is_graph_output()):
        names.forget_name(name)
        return
    if new.producer() is None or id(new) in named:
        # An initializer keeps its name, and a value has only one: a second name needs a node.
        if not old.is_graph_output():
            old.replace_all_uses_with(new)
            names.forget_name(name)
            return
        graph = node.graph
        assert graph is not None
        copy = ir.Node("", "Identity", inputs=[new])
        graph.insert_before(node, copy)
        new = copy.outputs[0]
    else:
        names.forget_name(new.name)
    named.add(id(new))
    if old.is_graph_output():
        new.type = new.type if old.type is None else old.type
        new.shape = new.shape if old.shape is None else old.shape
    old.replace_all_uses_with(new, replace_graph_outputs=True)
    old.name = None
    rename(new, name)
