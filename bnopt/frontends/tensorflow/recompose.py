"""Batch norms that are written out with constants become one node again.

`tf.nn.batch_normalization`, and with it Keras 3, writes inference as

    inv = rsqrt(variance + epsilon) * gamma
    y = x * inv + (beta - mean * inv)

Constants folded, two factors are left, from which nobody can tell the statistics. The node that is
put in the place of the last sum computes the same function, and names them.

Source: TensorFlow, python/ops/nn_impl.py (`batch_normalization`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.frontends.tensorflow import constants, graphs, library

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

NODE = "IdentityN"
"""What marks a batch norm: TensorFlow's first result of it has the shape and type of x."""

EPSILON, AXIS = "_bnopt_epsilon", "_bnopt_axis"
"""Attributes of a mark; x, gamma, beta, mean and variance are its inputs, in this order."""

_PASSES = ("Identity", "Snapshot", "StopGradient")
_ADD = ("Add", "AddV2")


@dataclass(frozen=True, slots=True)
class _Written:
    """A batch norm that is written out: tensors, or None where the formula leaves them out."""

    x: str
    mean: str
    variance: str
    epsilon: str
    gamma: str | None
    beta: str | None

    @property
    def operands(self) -> list[str]:
        """Those that are constants."""
        given = (self.mean, self.variance, self.epsilon, self.gamma, self.beta)
        return [tensor for tensor in given if tensor is not None]


def recompose(graph_def: Any) -> Any:
    """A copy of a graph with marks in the place of batch norms that are written out.

    Exact where all operands but x are float32 constants of one value for each channel, along one
    and the same axis.

    Args:
        graph_def: A graph without variables.
    """
    nodes = graphs.nodes_by_name(graph_def)
    constant = {*constants.constant_nodes(nodes)}
    found = {
        name: written
        for name in nodes
        if name not in constant and (written := _match(nodes, constant, name))
    }
    if not found:
        return graph_def
    tf = library.load("tensorflow")
    graph = graphs.imported(graph_def)
    wanted = {tensor for written in found.values() for tensor in written.operands}
    with tf.compat.v1.Session(graph=graph, config=library.session_config()) as session:
        values = session.run({tensor: _output(tensor) for tensor in sorted(wanted)})
    copy = type(graph_def)()
    copy.CopyFrom(graph_def)
    made: dict[tuple[str, int], str] = {}
    for node in list(copy.node):
        if (written := found.get(node.name)) is not None:
            shape = graph.get_tensor_by_name(_output(written.x)).shape
            _put(copy, node, written, values, shape, made)
    return copy


def _put(
    graph_def: Any,
    node: Any,
    written: _Written,
    values: Mapping[str, NDArray[Any]],
    shape: Any,
    known: dict[tuple[str, int], str],
) -> None:
    """Turn the last sum of a batch norm into a mark, in place, if the values allow it.

    Operands that are made of the same tensor are one: `known` has those there are.
    """
    parts = [values[tensor] for tensor in written.operands]
    axis = None if shape.rank is None else _channel_axis(parts, shape.as_list())
    if axis is None or any(part.dtype != np.float32 for part in parts):
        return
    if values[written.epsilon].ndim:
        return
    channels = max(part.size for part in parts)
    defaults = {"gamma": 1.0, "beta": 0.0}
    inputs = [written.x]
    for role in ("gamma", "beta", "mean", "variance"):
        tensor = getattr(written, role)
        value = np.float32(defaults[role]) if tensor is None else values[tensor]
        if tensor is None or value.shape != (channels,):
            key = tensor or role, channels
            if key not in known:
                made = graph_def.node.add(name=f"{node.name}/{role}")
                full = np.broadcast_to(value.reshape(-1), channels)
                graphs.make_constant(made, full, node.attr["T"].type)
                known[key] = made.name
            tensor = known[key]
        inputs.append(tensor)
    dtype = node.attr["T"].type
    node.op = NODE
    del node.input[:]
    node.input.extend(inputs)
    node.attr.clear()
    node.attr["T"].list.type.extend([dtype] * len(inputs))
    node.attr[EPSILON].f = float(values[written.epsilon])
    node.attr[AXIS].i = axis


def _channel_axis(parts: list[NDArray[Any]], shape: list[int | None]) -> int | None:
    """The axis of x along which the constants vary; None if there is no such one axis."""
    rank = len(shape)
    if rank < 2 or any(part.ndim > rank for part in parts):
        return None
    padded = [(1,) * (rank - part.ndim) + part.shape for part in parts]
    lengths = [max(sizes) for sizes in zip(*padded, strict=True)]
    varying = [axis for axis, length in enumerate(lengths) if length > 1]
    if not varying and all(part.ndim <= 1 for part in parts):
        varying = [rank - 1]
    if len(varying) != 1 or varying[0] not in (1, rank - 1):
        return None
    # Where x has one channel and the constants have more, the sum has another shape than x.
    return varying[0] if shape[varying[0]] == lengths[varying[0]] else None


def _match(nodes: Mapping[str, Any], constant: set[str], name: str) -> _Written | None:
    """The batch norm whose last sum a node is."""
    if nodes[name].op not in _ADD:
        return None
    for product, shift in _orders(nodes[name]):
        if graphs.node_name(shift) not in constant:
            continue
        scaled = _node(nodes, product)
        if scaled is None or scaled.op != "Mul" or scaled.name in constant:
            continue
        for x, inverse in _orders(scaled):
            if graphs.node_name(inverse) in constant:
                return _of(nodes, x, inverse, shift)
    return None


def _of(nodes: Mapping[str, Any], x: str, inverse: str, shift: str) -> _Written | None:
    root, gamma = _root(nodes, inverse)
    under = None if root is None else _node(nodes, _data(root)[0])
    if under is None or under.op not in _ADD:
        return None
    variance, epsilon = _data(under)
    mean, beta = _mean(nodes, shift, inverse)
    if mean is None:
        return None
    return _Written(x, mean, variance, epsilon, gamma, beta)


def _root(nodes: Mapping[str, Any], inverse: str) -> tuple[Any, str | None]:
    """The node of `rsqrt(variance + epsilon)`, and gamma."""
    node = _node(nodes, inverse)
    if node is not None and node.op == "Rsqrt":
        return node, None
    if node is not None and node.op == "Mul":
        for one, other in _orders(node):
            root = _node(nodes, one)
            if root is not None and root.op == "Rsqrt":
                return root, other
    return None, None


def _mean(nodes: Mapping[str, Any], shift: str, inverse: str) -> tuple[str | None, str | None]:
    """Mean and beta of `beta - mean * inverse`, or of `-mean * inverse`."""
    node, beta = _node(nodes, shift), None
    if node is not None and node.op == "Sub":
        beta, product = _data(node)
        node = _node(nodes, product)
    if node is None or node.op != "Mul":
        return None, None
    for one, other in _orders(node):
        if _behind(nodes, other) != _behind(nodes, inverse):
            continue
        if beta is not None:
            return one, beta
        negative = _node(nodes, one)
        if negative is not None and negative.op == "Neg":
            return _data(negative)[0], None
    return None, None


def _behind(nodes: Mapping[str, Any], tensor: str) -> str:
    """The tensor that another one only repeats."""
    while (node := nodes.get(graphs.node_name(tensor))) is not None and node.op in _PASSES:
        tensor = _data(node)[0]
    return tensor


def _node(nodes: Mapping[str, Any], tensor: str) -> Any:
    return nodes.get(graphs.node_name(_behind(nodes, tensor)))


def _orders(node: Any) -> Iterator[tuple[str, str]]:
    one, other = _data(node)
    yield one, other
    yield other, one


def _data(node: Any) -> list[str]:
    return [tensor for tensor in node.input if not tensor.startswith("^")]


def _output(tensor: str) -> str:
    return tensor if ":" in tensor else f"{tensor}:0"
