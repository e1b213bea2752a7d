"""TensorFlow graphs as plain records: who feeds whom, read from GraphDef protos.

Protos are typed `Any`: TensorFlow is an optional dependency, and is never imported here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

_WHOLE = "Assign AssignAdd AssignSub AssignVariableOp AssignAddVariableOp AssignSubVariableOp"
_PART = [
    f"{kind}{part}{how}"
    for kind in ("", "Resource")
    for part in ("Scatter", "ScatterNd")
    for how in ("Update", "Add", "Sub", "Mul", "Div", "Min", "Max")
]
WRITES = frozenset(
    (*_WHOLE.split(), *_PART, "StridedSliceAssign", "ResourceStridedSliceAssign"),
)
"""Operators that change a variable, or a part of one.

The first input is the variable, the last one what is written.
"""

VARIABLES = frozenset(("Variable", "VariableV2", "VarHandleOp"))
PLACEHOLDERS = frozenset(("Placeholder", "PlaceholderV2", "PlaceholderWithDefault"))
PIPELINES = frozenset(
    "IteratorGetNext QueueDequeueV2 QueueDequeueManyV2 QueueDequeueUpToV2 ReaderReadV2".split()
)
"""Operators that take data from outside the graph."""

BOOL, RESOURCE = 10, 20
"""`DT_BOOL` and `DT_RESOURCE` in TensorFlow's types.proto."""


@dataclass(frozen=True, order=True, slots=True)
class Tensor:
    """One output of a node; index -1 is its control output."""

    node: str
    index: int

    @staticmethod
    def parse(text: str) -> Tensor:
        """The tensor that `node`, `node:1` or `^node` names in a GraphDef."""
        if text.startswith("^"):
            return Tensor(text[1:], -1)
        name, colon, index = text.rpartition(":")
        return Tensor(name, int(index)) if colon and index.isdigit() else Tensor(text, 0)

    def text(self) -> str:
        """As a GraphDef writes it."""
        if self.index < 0:
            return f"^{self.node}"
        return self.node if self.index == 0 else f"{self.node}:{self.index}"


class Graph:
    """The nodes of one graph by name.

    Attributes:
        nodes: Name -> NodeDef, in file order.
    """

    def __init__(self, nodes: Iterable[Any]) -> None:
        self.nodes: dict[str, Any] = {node.name: node for node in nodes}
        self._readers: dict[str, list[tuple[str, int]]] | None = None

    def operands(self, name: str) -> list[Tensor]:
        """The data inputs of a node, in order."""
        return [t for t in self.inputs(name) if t.index >= 0]

    def controls(self, name: str) -> list[str]:
        """The nodes that run before a node by a control dependency."""
        return [t.node for t in self.inputs(name) if t.index < 0]

    def inputs(self, name: str) -> list[Tensor]:
        """All inputs of a node, control inputs last; a node that is missing has none."""
        node = self.nodes.get(name)
        return [] if node is None else [Tensor.parse(text) for text in node.input]

    def op(self, name: str) -> str:
        """The operator of a node; empty for a node that is missing."""
        node = self.nodes.get(name)
        return "" if node is None else str(node.op)

    def readers(self, name: str) -> list[tuple[str, int]]:
        """(node, index of the output that it reads) for each reader of a node."""
        if self._readers is None:
            self._readers = {}
            for reader in self.nodes:
                for tensor in self.inputs(reader):
                    self._readers.setdefault(tensor.node, []).append((reader, tensor.index))
        return self._readers.get(name, [])

    def ancestors(
        self, starts: Iterable[str], *, control: bool = True, stop: Iterable[str] = ()
    ) -> set[str]:
        """`starts` and every node they depend on.

        Args:
            starts: Names of nodes.
            control: Whether to follow control dependencies too.
            stop: Nodes whose own inputs are not followed.
        """
        ends = set(stop)
        found = {name for name in starts if name in self.nodes}
        pending = deque(found)
        while pending:
            name = pending.popleft()
            if name in ends:
                continue
            for tensor in self.inputs(name):
                followed = control or tensor.index >= 0
                if followed and tensor.node in self.nodes and tensor.node not in found:
                    found.add(tensor.node)
                    pending.append(tensor.node)
        return found

    def descendants(self, starts: Iterable[str]) -> set[str]:
        """`starts` and every node that depends on one of them."""
        found = {name for name in starts if name in self.nodes}
        pending = deque(found)
        while pending:
            for reader, _ in self.readers(pending.popleft()):
                if reader not in found:
                    found.add(reader)
                    pending.append(reader)
        return found


def is_variable(node: Any) -> bool:
    """Whether a node stands for a variable: its own node, or a captured resource."""
    return node.op in VARIABLES or (node.op in PLACEHOLDERS and node.attr["dtype"].type == RESOURCE)


def called(node: Any) -> list[str]:
    """The functions that a node names."""
    found = [node.op]
    for value in node.attr.values():
        if value.HasField("func"):
            found.append(value.func.name)
        found.extend(f.name for f in value.list.func)
    return found


def endpoints(tensors: Mapping[str, str]) -> list[Tensor]:
    """The tensors that a model's inputs or outputs name."""
    return [Tensor.parse(text) for text in tensors.values()]
