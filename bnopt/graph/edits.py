"""The edits that apply makes: new operands, chains replaced, and what nobody reads any more."""

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
        # What stands for a value that is gone, by the identity of the value; and those values, so
        # that no new one gets the same identity.
        self._stands_for: dict[int, ir.Value] = {}
        self._gone: list[ir.Value] = []
        self._named: set[int] = set()

    def set_operand(
        self,
        node: ir.Node,
        index: int,
        tensor: ir.TensorProtocol,
        fallback: str,
        *,
        takes_name: bool = True,
    ) -> None:
        """Give `node` a new constant operand.

        The old operand is left to its other readers. If it has none, the new one takes over its
        name; otherwise it is named after it. Where there was none, or the new one is not to take
        its name, `fallback` is the name.
        """
        old = node.inputs[index] if index < len(node.inputs) else None
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, None)
        if old is not None:
            self.drop_unread([old])
            fallback = (takes_name and old.name) or fallback
        # The old name is free again if the old operand had no other reader.
        value = self._new_constant(node, tensor, self._names.fresh(fallback))
        node.replace_input_with(index, value)

    def current(self, value: ir.Value) -> ir.Value:
        """What stands for a value by now: the value, or what its readers read since it went."""
        while id(value) in self._stands_for:
            value = self._stands_for[id(value)]
        return value

    def remove_chain(self, nodes: Sequence[ir.Node], source: ir.Value, *, takes_name: bool) -> None:
        """Remove a chain of nodes; whoever reads one of its values reads `source` from now on.

        Args:
            nodes: The chain, first to last.
            source: What it reads.
            takes_name: Whether `source` takes over the name, type and metadata of the chain's
                output, so that no name comes to mean another tensor. What no node of the graph
                makes, such as an input, keeps its own; where it were to be an output of the
                graph, an Identity stays.
        """
        source = self.current(source)
        gone = nodes[-1].outputs[0]
        maker = source.producer()
        is_made_here = maker is not None and maker.graph is nodes[-1].graph
        if gone.is_graph_output() and not is_made_here:
            self.replace_chain(nodes, source, [ir.Node("", "Identity", [None])])
            return
        name = gone.name
        for node in nodes:
            self._pass_on(node.outputs[0], source)
        for node in reversed(nodes):
            self._remove(node)
        if not takes_name or not is_made_here:
            return
        self._names.release(source.name)
        self._names.claim(name)
        source.name = name
        self._named.add(id(source))
        _take_over(source, gone)

    def replace_chain(
        self, nodes: Sequence[ir.Node], source: ir.Value, made: Sequence[ir.Node]
    ) -> None:
        """Put `made`, each of which lacks operand 0, in the place of a chain of nodes.

        Args:
            nodes: The chain, first to last.
            source: What it reads.
            made: New nodes, first to last, outside any graph; their other operands stand already.
        """
        gone = nodes[-1].outputs[0]
        current = self.current(source)
        for node in made:
            node.replace_input_with(0, current)
            _graph(nodes[-1]).insert_before(nodes[-1], node)
            current = node.outputs[0]
        result, name = made[-1].outputs[0], gone.name
        for node in nodes:
            self._pass_on(node.outputs[0], result)
        for node in reversed(nodes):
            self._remove(node)
        for node in made[:-1]:
            node.outputs[0].name = self._names.fresh(f"{name}_scaled")
        result.name = name
        self._names.claim(name)
        _take_over(result, gone)

    def keep_one(self, nodes: Sequence[ir.Node], source: ir.Value, kept: ir.Node) -> None:
        """Remove a chain but for the one node `kept`, which reads and yields what the chain did."""
        gone, result = nodes[-1].outputs[0], kept.outputs[0]
        kept.replace_input_with(0, self.current(source))
        if kept is nodes[-1]:
            for node in nodes[:-1]:
                self._pass_on(node.outputs[0], result)
        else:
            name = gone.name
            for node in nodes:
                if node is not kept:
                    self._pass_on(node.outputs[0], result)
            self._names.release(result.name)
            result.name = name
            _take_over(result, gone)
        for node in reversed(nodes):
            if node is not kept:
                self._remove(node)
        self._names.claim(result.name)

    def rename(self, value: ir.Value) -> None:
        """Give another name to a value that means something else by now."""
        value = self.current(value)
        if id(value) in self._named or value.is_graph_output() or value.producer() is None:
            return
        self._named.add(id(value))
        name = value.name
        self._names.release(name)
        value.name = self._names.fresh(f"{name}_folded")
        # Quantization annotations live here: those of the old values no longer hold.
        value.metadata_props.clear()
        value.meta.clear()

    def _pass_on(self, gone: ir.Value, source: ir.Value) -> None:
        # A type-only reader inside the chain may stand behind a node that is to go.
        gone.replace_all_uses_with(source, replace_graph_outputs=True)
        self._stands_for[id(gone)] = source
        self._gone.append(gone)

    def new_node(
        self,
        anchor: ir.Node,
        op_type: str,
        constants: Sequence[tuple[ir.TensorProtocol, str]],
        attributes: Sequence[ir.Attr] = (),
    ) -> ir.Node:
        """A node outside any graph that lacks operand 0 and reads new constants behind it.

        Args:
            anchor: A node of the graph that it is meant for.
            op_type: Its operator.
            constants: Tensors, each with what to name it after.
            attributes: Its attributes.
        """
        operands = [
            self._new_constant(anchor, tensor, self._names.fresh(base))
            for tensor, base in constants
        ]
        name = self._names.fresh(f"{anchor.name or anchor.outputs[0].name}_{op_type.lower()}")
        return ir.Node(
            "", op_type, inputs=[None, *operands], attributes=attributes, num_outputs=1, name=name
        )

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
        self._stands_for[id(output)] = result
        if id(output) in self._named:
            self._named.add(id(result))

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


def _take_over(value: ir.Value, gone: ir.Value) -> None:
    """Give `value` the type and metadata of `gone`, whose place it takes."""
    value.type, value.shape, value.doc_string = gone.type, gone.shape, gone.doc_string
    value.metadata_props.clear()
    value.metadata_props.update(gone.metadata_props)
    # Quantization annotations live here: those of the unscaled value no longer hold.
    value.meta.clear()
    value.meta.update(gone.meta)


def _graph(node: ir.Node) -> ir.Graph:
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    return graph
