"""Variables to constants, by their values and without an optimizer's help.

TensorFlow's usual way from a graph to an exporter runs grappler, which merges a batch norm that is
written out into the convolution before it (`.../merged_input`), and with it all that a batch norm
could be told by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnopt.errors import ExecutionError, LoadError, UsageError
from bnopt.frontends.tensorflow import graphs, library
from bnopt.graph.literals import to_array
from bnopt.runtime.messages import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_READ = "/Read/ReadVariableOp:0"


class _Values:
    """Stands for a session, of which freezing wants nothing but to read variables."""

    def __init__(self, values: Mapping[str, NDArray[Any]]) -> None:
        self._values = values

    def run(self, tensors: list[str]) -> list[NDArray[Any]]:
        """The values of variables, by the names of tensors that read them."""
        names = [tensor.removesuffix(_READ).removesuffix(":0") for tensor in tensors]
        return [self._values[name] for name in names]


def values_of(
    graph_def: Any, inputs: Mapping[str, str], settings: Mapping[str, object]
) -> dict[str, NDArray[Any]]:
    """What placeholders are set to, as arrays of their types.

    Text is read, never taken for its truth: "false" is false (`bnopt.graph.literals`).

    Args:
        graph_def: The graph.
        inputs: Name in the ONNX model -> tensor.
        settings: Name of an input, node or tensor -> the value it always has.

    Raises:
        UsageError: There is no such placeholder, or the value does not fit it.
    """
    nodes = graphs.nodes_by_name(graph_def)
    found: dict[str, NDArray[Any]] = {}
    for name, value in settings.items():
        node = _placeholder(nodes, inputs, name)
        try:
            found[name] = to_array(value, graphs.element_type(node), None)
        except (TypeError, ValueError) as error:
            raise UsageError(f"cannot set '{name}' to {value!r}: {one_line(error)}") from None
    return found


def _placeholder(nodes: Mapping[str, Any], inputs: Mapping[str, str], name: str) -> Any:
    node = nodes.get(graphs.node_name(inputs.get(name, name)))
    if node is None or node.op not in graphs.PLACEHOLDERS:
        there = sorted(key for key, one in nodes.items() if one.op in graphs.PLACEHOLDERS)
        raise UsageError(f"no placeholder '{name}' to set; there are: {', '.join(there)}")
    return node


def set_inputs(
    graph_def: Any, inputs: Mapping[str, str], settings: Mapping[str, NDArray[Any]]
) -> tuple[Any, dict[str, str]]:
    """Put constants in the place of placeholders.

    Args:
        graph_def: The graph; it is not changed.
        inputs: Name in the ONNX model -> tensor.
        settings: Name of an input, node or tensor -> the value it always has (`values_of`).

    Returns:
        The graph with constants, and the inputs that are left.

    Raises:
        UsageError: There is no such placeholder.
    """
    if not settings:
        return graph_def, dict(inputs)
    copy = type(graph_def)()
    copy.CopyFrom(graph_def)
    nodes = graphs.nodes_by_name(copy)
    left = dict(inputs)
    for name, value in settings.items():
        node = _placeholder(nodes, inputs, name)
        graphs.make_constant(node, value, node.attr["dtype"].type)
        left = {
            key: tensor for key, tensor in left.items() if graphs.node_name(tensor) != node.name
        }
    return copy, left


def cut(graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> Any:
    """The part of a graph between inputs and outputs; inputs that were none become placeholders.

    Raises:
        UsageError: An input stands for one of several results of a node, or the outputs depend on
            a placeholder that is no input.
    """
    copy = type(graph_def)()
    copy.CopyFrom(graph_def)
    nodes = graphs.nodes_by_name(copy)
    inner = {
        name: tensor
        for name, tensor in inputs.items()
        if (node := nodes.get(graphs.node_name(tensor))) is not None
        and node.op not in ("Placeholder", "PlaceholderV2")
    }
    if inner:
        graph = graphs.imported(graph_def)
        for name, tensor in inner.items():
            found = graph.get_tensor_by_name(tensor)
            if len(found.op.outputs) != 1:
                raise UsageError(f"'{name}' cannot be an input: its node has several results")
            dtype = found.dtype.base_dtype.as_datatype_enum
            graphs.make_placeholder(nodes[found.op.name], dtype, found.shape.as_proto())
    copy = graphs.subgraph(copy, outputs.values())
    given = {graphs.node_name(tensor) for tensor in inputs.values()}
    free = [
        node.name
        for node in copy.node
        if node.op in ("Placeholder", "PlaceholderV2") and node.name not in given
    ]
    if free:
        raise UsageError(
            f"the outputs depend on placeholder '{free[0]}'"
            + (f" and {len(free) - 1} more" if len(free) > 1 else "")
            + ": name it as an input, or set its value"
        )
    return copy


def freeze(graph_def: Any, outputs: Mapping[str, str], values: Mapping[str, NDArray[Any]]) -> Any:
    """Replace variables by constants.

    Args:
        graph_def: The graph.
        outputs: Name in the ONNX model -> tensor.
        values: Variable name -> value.

    Raises:
        LoadError: A variable that the outputs need has no value.
        ExecutionError: TensorFlow cannot freeze the graph.
    """
    tf = library.load("tensorflow")
    there = [node.name for node in graph_def.node if node.op in graphs.VARIABLES]
    missing = [name for name in there if name not in values]
    if missing:
        raise LoadError(
            f"no value for variable '{missing[0]}'"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else "")
            + ": they were not saved (a Saver of the trainable variables alone leaves out the "
            "moving statistics)"
        )
    names = sorted({graphs.node_name(tensor) for tensor in outputs.values()})
    try:
        frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
            _Values(values), graph_def, names
        )
        graphs.imported(frozen)
    except (ValueError, TypeError, KeyError, tf.errors.OpError) as error:
        raise ExecutionError(f"the graph cannot be frozen: {one_line(error)}") from None
    return frozen


def separate(
    graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> tuple[Any, dict[str, str]]:
    """Give every output a tensor of its own, which an exporter can rename.

    Returns:
        The graph, changed in place, and name -> tensor of the outputs.
    """
    taken = set(inputs.values())
    fresh: dict[str, str] = {}
    graph: Any = None
    for name, tensor in outputs.items():
        if tensor in taken:
            graph = graph or graphs.imported(graph_def)
            dtype = graph.get_tensor_by_name(tensor).dtype.as_datatype_enum
            node = graph_def.node.add(name=f"bnopt_output_{len(fresh)}", op="Identity")
            node.input.append(tensor)
            node.attr["T"].type = dtype
            tensor = f"{node.name}:0"
        taken.add(tensor)
        fresh[name] = tensor
    return graph_def, fresh
