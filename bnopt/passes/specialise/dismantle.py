"""Removing what an edit has made dead, and nothing that was dead before."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from bnopt.graph.scopes import attribute_graphs
from bnopt.passes.specialise.naming import NameCounts
from bnopt.passes.specialise.walk import all_nodes


def discard_body(graph: ir.Graph, names: NameCounts) -> list[ir.Value]:
    """Take a subgraph apart that is about to go with its node.

    Its nodes would count as readers of outer values for as long as they hold on to them.

    Returns:
        The outer values that it read.
    """
    names.forget(graph)
    return _release(graph)


def drop_dead(values: Iterable[ir.Value], names: NameCounts | None = None) -> None:
    """Remove the nodes and initializers behind `values` that nothing reads; graph inputs stay.

    Args:
        values: Where to start.
        names: The names of the model, to take away those that go.
    """
    pending = list(values)
    while pending:
        value = pending.pop()
        if value.uses() or value.is_graph_output():
            continue
        node, graph = value.producer(), value.graph
        if node is not None:
            pending += _drop_node(node, names)
        elif isinstance(graph, ir.Graph) and value.is_initializer() and not value.is_graph_input():
            if names is not None:
                names.forget_name(value.name)
            del graph.initializers[value.name or ""]


def _drop_node(node: ir.Node, names: NameCounts | None) -> list[ir.Value]:
    graph = node.graph
    if graph is None or any(out.uses() or out.is_graph_output() for out in node.outputs):
        return []
    read = [value for value in node.inputs if value is not None]
    if names is not None:
        names.forget_node(node)
    for attribute in node.attributes.values():
        for body in attribute_graphs(attribute):
            read += _release(body)
    graph.remove(node, safe=True)
    return read


def _release(graph: ir.Graph) -> list[ir.Value]:
    nodes = list(all_nodes(graph))
    inside = {id(node) for node in nodes}
    read: list[ir.Value] = []
    for node in nodes:
        for index, value in enumerate(node.inputs):
            if value is None:
                continue
            node.replace_input_with(index, None)
            producer = value.producer()
            if producer is None or id(producer) not in inside:
                read.append(value)
    return read
