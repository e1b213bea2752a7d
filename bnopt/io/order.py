"""Node order: ONNX demands that producers stand before their readers, and some models ignore it.

onnxruntime sorts such models silently; onnx_ir builds them, and then cannot clone them.
"""

from __future__ import annotations

import onnx_ir as ir

from bnopt.errors import LoadError
from bnopt.graph.scopes import attribute_graphs


def sort_nodes(model: ir.Model, name: str) -> None:
    """Put the nodes of `model` in order, in place, where they are not; a stable sort.

    Args:
        model: The model.
        name: What to call it in messages.

    Raises:
        LoadError: The graph has a cycle.
    """
    for graph in (model.graph, *(function.graph for function in model.functions.values())):
        if _is_sorted(graph, set()):
            continue
        try:
            graph.sort()
        except ValueError as error:
            raise LoadError(f"{name} has nodes that wait for each other: {graph.name}") from error


def _is_sorted(graph: ir.Graph, done: set[int]) -> bool:
    here = {id(node) for node in graph}
    for node in graph:
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer is not None and id(producer) in here and id(producer) not in done:
                return False
        # A subgraph may read what its own node's graph has computed so far.
        bodies = (body for a in node.attributes.values() for body in attribute_graphs(a))
        if not all(_is_sorted(body, done) and _captures(body, here, done) for body in bodies):
            return False
        done.add(id(node))
    return True


def _captures(body: ir.Graph, outer: set[int], done: set[int]) -> bool:
    for node in body.all_nodes():
        for value in node.inputs:
            producer = None if value is None else value.producer()
            if producer is not None and id(producer) in outer and id(producer) not in done:
                return False
    return True
