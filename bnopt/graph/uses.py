"""Who reads a value: nodes of its own scope, subgraphs that capture it, the model's outputs."""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from bnopt.graph.operators import is_standard
from bnopt.graph.scopes import attribute_graphs


def other_readers(value: ir.Value, reader: ir.Node, model: ir.Model) -> tuple[str, str] | None:
    """Why `reader` may not change what `value` means, or None if nobody else looks at it.

    Args:
        value: What is read.
        reader: The node that is about to change it.
        model: The model of both, whose local functions may bear the names of operators.

    Returns:
        A reason slug of `bnopt.reasons` and a message, or None.
    """
    if value.is_graph_output():
        return "graph-output", f"'{value.name}' is a graph output"
    uses = [node for node, _ in readers(value, model)]
    others = [node for node in uses if node is not reader]
    for node in others:
        if node.graph is not reader.graph:
            return "captured", f"'{value.name}' is read inside a subgraph, by {describe(node)}"
    if len(uses) > 1:
        other = (
            f"also read by {describe(others[0])}" if others else f"read twice by {describe(reader)}"
        )
        return "shared-output", f"'{value.name}' is {other}"
    return None


def readers(value: ir.Value, model: ir.Model) -> list[tuple[ir.Node, int]]:
    """The nodes that read the numbers of `value`, each with the input it reads them by."""
    return [
        (node, index) for node, index in value.uses() if not _reads_only_type(node, index, model)
    ]


def _reads_only_type(node: ir.Node, index: int, model: ir.Model) -> bool:
    """Whether a reader sees the shape or data type only, which no affine changes.

    Exporters write the parameters of a batch norm without affine as `CastLike(1.0, x)`, expanded
    to `Shape(x)`: such an x has one true reader.
    """
    if not is_standard(node, model):
        return False
    return node.op_type in ("Shape", "Size") or (node.op_type == "CastLike" and index == 1)


def describe(node: ir.Node) -> str:
    """`Conv 'layer1.conv'`: an operator and a name for messages."""
    name = node.name or (node.outputs[0].name if node.outputs else "")
    domain = f"{node.domain}::" if node.domain else ""
    return f"{domain}{node.op_type} '{name}'"


def operands_of(node: ir.Node) -> Iterator[ir.Value | None]:
    """What a node reads, and what the bodies in its attributes give and read."""
    yield from node.inputs
    for attribute in node.attributes.values():
        for body in attribute_graphs(attribute):
            yield from body.outputs
            for inner in body:
                yield from operands_of(inner)
