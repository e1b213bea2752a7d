"""Small things done to a GraphDef, the protocol buffer of a TensorFlow graph."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from bnopt.frontends.tensorflow import library

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PLACEHOLDERS = ("Placeholder", "PlaceholderV2", "PlaceholderWithDefault")
VARIABLES = ("Variable", "VariableV2", "VarHandleOp")

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_FLOW = ("If", "StatelessIf", "While", "StatelessWhile", "Case", "StatelessCase")
_PREFIX = re.compile(r"^(?:(?:Stateful)?PartitionedCall(?:_\d+)?/)+")


def node_name(tensor: str) -> str:
    """The node in the name of a tensor (`a/b:0`), or of an input of a node (`^a/b`)."""
    return tensor.removeprefix("^").partition(":")[0]


def nodes_by_name(graph_def: Any) -> dict[str, Any]:
    """Node name -> NodeDef of the main graph."""
    return {node.name: node for node in graph_def.node}


def ancestors(nodes: Mapping[str, Any], names: Iterable[str]) -> set[str]:
    """Names of nodes and of all that they depend on, by data or by control."""
    seen: set[str] = set()
    stack = list(names)
    while stack:
        name = stack.pop()
        if name in seen or name not in nodes:
            continue
        seen.add(name)
        stack += [node_name(tensor) for tensor in nodes[name].input]
    return seen


def bare(graph_def: Any) -> Any:
    """The same graph, changed in place, for whatever device there is.

    Shapes that were noted at the nodes go, too: what is done to the graph may make them wrong, and
    TensorFlow infers them again.
    """
    for node in _all_nodes(graph_def):
        node.device = ""
        node.attr.pop("_output_shapes", None)
    return graph_def


def imported(graph_def: Any) -> Any:
    """A `tf.Graph` of its own with the nodes of a GraphDef, under their names."""
    tf = library.load("tensorflow")
    graph = tf.Graph()
    with graph.as_default():
        tf.import_graph_def(graph_def, name="")
    return graph


def subgraph(graph_def: Any, tensors: Iterable[str]) -> Any:
    """A copy with only what tensors depend on, with every function and the versions."""
    names = ancestors(nodes_by_name(graph_def), map(node_name, tensors))
    kept = type(graph_def)()
    kept.node.extend(node for node in graph_def.node if node.name in names)
    kept.library.CopyFrom(graph_def.library)
    kept.versions.CopyFrom(graph_def.versions)
    return kept


def inline(graph_def: Any, tensors: Iterable[str]) -> Any:
    """A copy with its function calls replaced by the functions' nodes.

    A SavedModel of TensorFlow 2 is one call of a function, in which nobody finds a variable. If and
    While stay as they are: an exporter knows them better than their lowered form.

    Args:
        graph_def: The graph.
        tensors: The tensors that must keep their names.
    """
    if not any(node.op in _CALLS for node in _all_nodes(graph_def)):
        return graph_def
    tensors = list(tensors)
    tf1 = library.load("tensorflow").compat.v1
    copy = type(graph_def)()
    copy.CopyFrom(graph_def)
    for node in _all_nodes(copy):
        if node.op in _FLOW:
            node.attr["_lower_using_switch_merge"].b = False
        # A function that is compiled (`jit_compile=True`) would stay a call.
        if node.op in _CALLS:
            node.attr.pop("_XlaMustCompile", None)
    with tf1.Graph().as_default():
        meta = tf1.train.export_meta_graph(graph_def=copy)
    fetched = library.load("tensorflow.core.protobuf.meta_graph_pb2").CollectionDef()
    fetched.node_list.value.extend(tensors)
    meta.collection_def["train_op"].CopyFrom(fetched)
    config = tf1.ConfigProto()
    rewriting = config.graph_options.rewrite_options
    rewriting.min_graph_nodes = -1
    # This one alone: others merge batch norms into convolutions.
    rewriting.optimizers.append("function")
    kinds = library.load("tensorflow.core.protobuf.rewriter_config_pb2").RewriterConfig
    rewriting.function_optimization = kinds.AGGRESSIVE
    optimizer = library.load("tensorflow.python.grappler.tf_optimizer")
    return _shorten(optimizer.OptimizeGraph(config, meta), {node_name(name) for name in tensors})


def element_type(node: Any) -> ir.DataType:
    """The type of a placeholder's elements.

    Raises:
        TypeError: It is none that numbers have.
    """
    kind = library.load("tensorflow").dtypes.as_dtype(node.attr["dtype"].type)
    return ir.DataType.from_numpy(np.dtype(kind.as_numpy_dtype))


def make_constant(node: Any, value: object, dtype: int) -> None:
    """Turn a node into a constant, in place; it keeps its name.

    Args:
        node: The NodeDef.
        value: The number or array.
        dtype: TensorFlow's number of the element type.
    """
    tf = library.load("tensorflow")
    array = np.asarray(value).astype(tf.dtypes.as_dtype(dtype).as_numpy_dtype)
    _strip(node, "Const", dtype)
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array))


def make_placeholder(node: Any, dtype: int, shape: Any) -> None:
    """Turn a node into an input, in place; it keeps its name.

    Args:
        node: The NodeDef.
        dtype: TensorFlow's number of the element type.
        shape: A TensorShapeProto.
    """
    _strip(node, "Placeholder", dtype)
    node.attr["shape"].shape.CopyFrom(shape)


def _strip(node: Any, op: str, dtype: int) -> None:
    node.op = op
    del node.input[:]
    node.attr.clear()
    node.attr["dtype"].type = dtype


def _shorten(graph_def: Any, kept: set[str]) -> Any:
    """Drop the names of calls from the front of node names, in place, where that is unique."""
    taken = {node.name for node in graph_def.node}
    renamed: dict[str, str] = {}
    for node in graph_def.node:
        short = _PREFIX.sub("", node.name)
        if short not in taken and node.name not in kept:
            taken.add(short)
            renamed[node.name] = short
    for node in graph_def.node:
        node.name = renamed.get(node.name, node.name)
        node.attr.pop("_class", None)
        for index, tensor in enumerate(node.input):
            old = node_name(tensor)
            if old in renamed:
                start = tensor.index(old)
                node.input[index] = tensor[:start] + renamed[old] + tensor[start + len(old) :]
    return graph_def


def _all_nodes(graph_def: Any) -> list[Any]:
    """Nodes of the main graph and of every function."""
    inner = [node for function in graph_def.library.function for node in function.node_def]
    return [*graph_def.node, *inner]
