"""Walk a ModelProto: every scope of names, and every tensor in it, however deep.

onnx_ir's own walks skip the bodies of functions and the tensors of attributes; the guards must not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import onnx
import onnx_ir as ir


@dataclass(frozen=True)
class Scope:
    """One scope of value names: the main graph, a subgraph or a function body.

    Attributes:
        where: For messages, for example `main graph` or `subgraph 'then_branch' of node 'if0'`.
        inputs: Names of its formal inputs.
        outputs: Names of its outputs.
        nodes: Its nodes, in order.
        initializers: Its initializers; a function has none.
        sparse: Whether it has sparse initializers.
        outer: Whether names of an enclosing scope are visible in it.
    """

    where: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    nodes: Sequence[onnx.NodeProto]
    initializers: Sequence[onnx.TensorProto]
    sparse: bool
    outer: bool


def scopes(model: onnx.ModelProto) -> Iterator[Scope]:
    """Every scope of the model: main graph, functions, and the subgraphs of both."""
    yield from _graph_scopes(model.graph, "main graph", outer=False)
    for function in model.functions:
        where = f"function '{function.domain}::{function.name}'"
        yield Scope(where, function.input, function.output, function.node, (), False, False)
        yield from _subgraph_scopes(function.node)


def tensors(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Every dense tensor of the model with a description of its place."""
    for scope in scopes(model):
        for tensor in scope.initializers:
            yield f"initializer '{tensor.name}' of the {scope.where}", tensor
        for node in scope.nodes:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSOR and not attribute.ref_attr_name:
                    yield _place(attribute, node), attribute.t
    yield from rare_tensors(model)


def rare_tensors(model: onnx.ModelProto) -> Iterator[tuple[str, onnx.TensorProto]]:
    """Tensors in lists of tensors and in defaults of function attributes, a part of `tensors`."""
    for scope in scopes(model):
        for node in scope.nodes:
            for attribute in node.attribute:
                if attribute.type == onnx.AttributeProto.TENSORS:
                    for tensor in attribute.tensors:
                        yield _place(attribute, node), tensor
    for function in model.functions:
        for attribute in function.attribute_proto:
            place = f"default of '{attribute.name}' of function '{function.name}'"
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield place, attribute.t
            for tensor in attribute.tensors:
                yield place, tensor


def label(node: onnx.NodeProto) -> str:
    """A node's name for messages; its operator and first output where it has none."""
    if node.name:
        return f"'{node.name}'"
    return f"{node.op_type} -> '{node.output[0] if node.output else ''}'"


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the tensor's data stands in another file."""
    return tensor.data_location == onnx.TensorProto.EXTERNAL


def payload_bytes(tensor: onnx.TensorProto) -> int | None:
    """Bytes of the tensor's packed data by its dtype and shape.

    Returns:
        `ceil(bits per element * elements / 8)`, or None where dtype or shape say nothing: strings,
        dtypes unknown to onnx_ir, negative dimensions.
    """
    try:
        dtype = ir.DataType(tensor.data_type)
    except ValueError:
        return None
    if dtype in (ir.DataType.UNDEFINED, ir.DataType.STRING) or any(d < 0 for d in tensor.dims):
        return None
    return math.ceil(dtype.bitwidth * math.prod(tensor.dims) / 8)


def _graph_scopes(graph: onnx.GraphProto, where: str, *, outer: bool) -> Iterator[Scope]:
    yield Scope(
        where,
        [value.name for value in graph.input],
        [value.name for value in graph.output],
        graph.node,
        graph.initializer,
        len(graph.sparse_initializer) > 0,
        outer,
    )
    yield from _subgraph_scopes(graph.node)


def _subgraph_scopes(nodes: Iterable[onnx.NodeProto]) -> Iterator[Scope]:
    for node in nodes:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                graphs: Sequence[onnx.GraphProto] = (attribute.g,)
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                graphs = attribute.graphs
            else:
                continue
            for graph in graphs:
                where = f"subgraph '{attribute.name}' of node {label(node)}"
                yield from _graph_scopes(graph, where, outer=True)


def _place(attribute: onnx.AttributeProto, node: onnx.NodeProto) -> str:
    return f"attribute '{attribute.name}' of node {label(node)}"
