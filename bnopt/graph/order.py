"""The nodes of a graph in an order in which every node stands behind those it reads."""

from __future__ import annotations

import onnx_ir as ir


def in_order(graph: ir.Graph) -> list[ir.Node]:
    """Topological order; that of the graph where it is one already. onnx_ir does not sort."""
    placed: set[int] = set()
    ordered: list[ir.Node] = []
    for root in graph:
        pending = [root]
        while pending:
            node = pending[-1]
            if id(node) in placed:
                pending.pop()
                continue
            ahead = [
                producer
                for value in node.inputs
                if value is not None
                and (producer := value.producer()) is not None
                and producer.graph is graph
                and id(producer) not in placed
            ]
            # In a cycle, which no valid model has, a node may wait for itself.
            if not ahead or len(pending) > len(graph):
                placed.add(id(node))
                ordered.append(node)
                pending.pop()
            else:
                pending.extend(ahead)
    return ordered
