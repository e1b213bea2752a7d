"""Moving values between scopes without two of them, anywhere in the model, sharing a name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import onnx_ir as ir

from bnopt.graph.scopes import attribute_graphs, scopes


def rename(value: ir.Value, name: str) -> None:
    """Rename `value` and, as onnx_ir does, its tensor, but not the one that clones share."""
    tensor = value.const_value
    if tensor is not None and name != value.name:
        array = tensor.numpy()
        if tensor.dtype == ir.DataType.STRING:
            value.const_value = ir.StringTensor(array, shape=ir.Shape(array.shape))
        else:
            value.const_value = ir.Tensor(array, dtype=tensor.dtype)
    value.name = name


class NameCounts:
    """How many values and nodes of a model bear a name, over all scopes."""

    def __init__(self, model: ir.Model) -> None:
        self._counts: Counter[str] = Counter()
        for scope in scopes(model):
            self._counts.update(_own_names(scope.graph))

    def forget(self, graph: ir.Graph) -> None:
        """Take away all names of a graph that leaves the model, subgraphs included."""
        self._counts.subtract(_own_names(graph))
        for node in graph:
            self.forget_node(node, subgraphs_only=True)

    def forget_node(self, node: ir.Node, *, subgraphs_only: bool = False) -> None:
        """Take away the names of a node that leaves the model, subgraphs included."""
        if not subgraphs_only:
            self._counts.subtract(_node_names(node))
        for attribute in node.attributes.values():
            for body in attribute_graphs(attribute):
                self.forget(body)

    def forget_name(self, name: str | None) -> None:
        """Take away one bearer of `name`."""
        if name:
            self._counts[name] -= 1

    def unique(self, name: str) -> str:
        """`name` if no other bears it, else `name_1`, `name_2`, ...; for one present bearer."""
        if self._counts[name] <= 1:
            self._counts[name] = 1
            return name
        self._counts[name] -= 1
        return self.fresh(name)

    def fresh(self, base: str) -> str:
        """`base` if nobody bears it, else `base_1`, `base_2`, ...; now it has a bearer."""
        name, count = base, 0
        while self._counts[name] > 0:
            count += 1
            name = f"{base}_{count}"
        self._counts[name] = 1
        return name


def _own_names(graph: ir.Graph) -> Iterator[str]:
    formal = {value.name for value in graph.inputs}
    yield from (name for name in formal if name)
    yield from (name for name in graph.initializers if name not in formal)
    for node in graph:
        yield from _node_names(node)


def _node_names(node: ir.Node) -> Iterator[str]:
    if node.name:
        yield node.name
    yield from (value.name for value in node.outputs if value.name)
