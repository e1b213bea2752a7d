"""Where nodes live: the main graph, the bodies of If, Loop and Scan, and model-local functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True, slots=True)
class Scope:
    """One body of nodes.

    Attributes:
        path: `main`, `main/NODE.ATTRIBUTE` for a subgraph, `function DOMAIN::NAME`.
        graph: The body. For a function, its graph: it has no initializers.
        opset: The operator-set version of the default domain that holds here; 0 if there is none.
        in_function: Whether the body is a function's, or inside one.
    """

    path: str
    graph: ir.Graph
    opset: int
    in_function: bool

    def site_id(self, node: ir.Node) -> str:
        """The stable id of a node in this scope: the path, a colon, the first output's name."""
        return f"{self.path}:{node.outputs[0].name}"


def scopes(model: ir.Model) -> Iterator[Scope]:
    """Every scope: the main graph, its subgraphs depth first, then each function likewise."""
    # Before IR version 3 there were no imports, and operator set 1 was meant. Later a model without
    # an import for a domain may not use it; 0 is an operator set that nobody knows.
    implied = 1 if model.ir_version < 3 else 0
    opset = model.graph.opset_imports.get("", implied)
    yield from _descend(Scope("main", model.graph, opset, False))
    for function in model.functions.values():
        name = f"function {function.domain}::{function.name}"
        opset = function.opset_imports.get("", 0)
        yield from _descend(Scope(name, function.graph, opset, True))


def _descend(scope: Scope) -> Iterator[Scope]:
    yield scope
    for position, node in enumerate(scope.graph):
        for name, attribute in node.attributes.items():
            for graph in attribute_graphs(attribute):
                path = f"{scope.path}/{node.name or f'{node.op_type}#{position}'}.{name}"
                yield from _descend(Scope(path, graph, scope.opset, scope.in_function))


def attribute_graphs(attribute: ir.Attr) -> tuple[ir.Graph, ...]:
    """The graphs that an attribute holds; none for other attributes and for references."""
    if attribute.is_ref():
        return ()
    if attribute.type == ir.AttributeType.GRAPH:
        return (attribute.as_graph(),)
    if attribute.type == ir.AttributeType.GRAPHS:
        return tuple(attribute.as_graphs())
    return ()


def label(node: ir.Node) -> str:
    """What to call a node: its name, or the name of its first output where it has none."""
    return node.name or (node.outputs[0].name if node.outputs else None) or node.op_type
