"""The edits that apply makes: replace an operand, bypass nodes, drop what nobody reads any more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import onnx_ir as ir

from bnopt.graph.names import Names
from bnopt.graph.scopes import scopes


class Editor:
    """Edits one model in place and keeps its names unique.

    An initializer that goes to a node in a function body becomes a Constant node, because
    functions have no initializers.
    """

    def __init__(self, model: ir.Model) -> None:
        self._names = Names(model)
        self._in_function = {id(s.graph) for s in scopes(model) if s.in_function}
        self.removed_inputs: list[str] = []

    def set_operand(
        self, node: ir.Node, index: int, tensor: ir.TensorProtocol, fallback: str
    ) -> None:
        """Give `node` a new constant operand.

        The old operand is left to its other readers. If it has none, the new one takes over its
        name; otherwise it is named after it, or after `fallback` where there was none.
        """
        old = node.inputs[index] if index < len(node.inputs) else None
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, None)
        if old is not None:
            self.drop_unread([old])
            fallback = old.name or fallback
        # The old name is free again if the old operand had no other reader.
        value = self._new_constant(node, tensor, self._names.fresh(fallback))
        node.replace_input_with(index, value)

    def bypass(self, node: ir.Node, path: Sequence[ir.Node]) -> None:
        """Let `node`'s output stand for that of the chain `path` behind it, and remove the chain.

        The value keeps the name, type and metadata of the chain's output, so that no name comes to
        mean another tensor. Whoever reads a value inside the chain, which may only be for its shape
        or type, reads this value from now on.

        Args:
            node: What the chain reads.
            path: The nodes of the chain, the last one first.
        """
        last, *inner = path
        kept, gone = node.outputs[0], last.outputs[0]
        name = gone.name
        gone.replace_all_uses_with(kept, replace_graph_outputs=True)
        for link in inner:
            link.outputs[0].replace_all_uses_with(kept)
        self._remove(last)
        for link in inner:
            self._remove(link)
        self._names.release(kept.name)
        self._names.claim(name)
        kept.name = name
        kept.type, kept.shape, kept.doc_string = gone.type, gone.shape, gone.doc_string
        kept.metadata_props.clear()
        kept.metadata_props.update(gone.metadata_props)
        # Quantization annotations live here: those of the unscaled value no longer hold.
        kept.meta.clear()
        kept.meta.update(gone.meta)

    def add_after(self, node: ir.Node, tensor: ir.TensorProtocol, base: str) -> None:
        """Insert `Add(output of node, tensor)`; it takes over the name of the node's output."""
        graph = _graph(node)
        output = node.outputs[0]
        name = output.name or "output"
        constant = self._new_constant(node, tensor, self._names.fresh(f"{base}_bias"))
        add = ir.Node("", "Add", inputs=[None, constant], name=self._names.fresh(f"{base}_add"))
        result = add.outputs[0]
        output.replace_all_uses_with(result, replace_graph_outputs=True)
        add.replace_input_with(0, output)
        graph.insert_after(node, add)
        output.name = self._names.fresh(f"{name}_unbiased")
        result.name = name
        result.type, result.shape = output.type, output.shape

    def drop_unread(self, values: Iterable[ir.Value]) -> None:
        """Remove initializers and nodes that nothing reads, starting from `values`, upstream."""
        pending = list(values)
        while pending:
            value = pending.pop()
            if value.uses() or value.is_graph_output():
                continue
            node = value.producer()
            if node is None:
                self._drop_initializer(value)
            elif node.graph is not None and not any(
                output.uses() or output.is_graph_output() for output in node.outputs
            ):
                pending.extend(self._remove(node, cascade=False))

    def _drop_initializer(self, value: ir.Value) -> None:
        graph = value.graph
        if not isinstance(graph, ir.Graph) or not value.is_initializer() or value.name is None:
            return
        del graph.initializers[value.name]
        if value.is_graph_input():
            graph.inputs.remove(value)
            self.removed_inputs.append(value.name)
        self._names.release(value.name)

    def _remove(self, node: ir.Node, *, cascade: bool = True) -> list[ir.Value]:
        inputs = [value for value in node.inputs if value is not None]
        _graph(node).remove(node, safe=True)
        for output in node.outputs:
            self._names.release(output.name)
        self._names.release(node.name)
        if cascade:
            self.drop_unread(inputs)
        return inputs

    def _new_constant(self, node: ir.Node, tensor: ir.TensorProtocol, name: str) -> ir.Value:
        graph = _graph(node)
        tensor.name = name
        if id(graph) in self._in_function:
            constant = ir.Node(
                "", "Constant", inputs=[], attributes=[ir.AttrTensor("value", tensor)]
            )
            graph.insert_before(node, constant)
            constant.outputs[0].name = name
            return constant.outputs[0]
        value = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(tensor.shape.numpy()),
            const_value=tensor,
        )
        graph.register_initializer(value)
        return value


def _graph(node: ir.Node) -> ir.Graph:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    return graph
