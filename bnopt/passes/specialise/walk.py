"""Every node of a body, subgraphs included."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from bnopt.graph.scopes import attribute_graphs


def all_nodes(body: ir.Graph | ir.Function) -> Iterator[ir.Node]:
    """The nodes of `body` and of its subgraphs, in order.

    onnx_ir's own iterator fails on an attribute that refers to a graph parameter of a function.
    """
    for node in body:
        yield node
        for attribute in node.attributes.values():
            for graph in attribute_graphs(attribute):
                yield from all_nodes(graph)
