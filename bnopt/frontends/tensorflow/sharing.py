"""What is computed from the same constants several times is computed once.

Freezing gives every read of a variable a node of its own. A layer that is called twice would come
out with two sets of parameters, and nobody could tell that they are one layer's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnopt.frontends.tensorflow import constants, graphs

if TYPE_CHECKING:
    from collections.abc import Mapping


def share(graph_def: Any) -> Any:
    """A copy of a graph in which what reads the same value of the same constants reads one node.

    Constants that are equal and not the same stay apart.

    Args:
        graph_def: A graph without variables; nodes keep their names.
    """
    copy = type(graph_def)()
    copy.CopyFrom(graph_def)
    nodes = graphs.nodes_by_name(copy)
    stands_for: dict[str, str] = {}
    made: dict[Any, str] = {}
    for name in constants.constant_nodes(nodes):
        node = nodes[name]
        inputs = tuple(_moved(text, stands_for) for text in node.input if not text.startswith("^"))
        if node.op == "Identity" and ":" not in inputs[0]:
            stands_for[name] = inputs[0]
        elif node.op != "Const":
            stands_for[name] = made.setdefault((node.op, inputs, _attributes(node)), name)
    for node in copy.node:
        for index, text in enumerate(node.input):
            node.input[index] = _moved(text, stands_for)
    return copy


def _moved(text: str, stands_for: Mapping[str, str]) -> str:
    if text.startswith("^"):
        return text
    name, _, index = text.partition(":")
    name = stands_for.get(name, name)
    return f"{name}:{index}" if index not in ("", "0") else name


def _attributes(node: Any) -> tuple[tuple[str, bytes], ...]:
    parts = [
        (name, value.SerializeToString(deterministic=True)) for name, value in node.attr.items()
    ]
    return tuple(sorted(parts))
