"""What a tensor of a TensorFlow graph always is, without running TensorFlow.

Only what decides a training switch or makes a decay: logic, comparison, and the arithmetic of
scalars. Everything else is not constant.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bnopt.frontends.tensorflow.dataflow.graph import Graph, Tensor

_SAME = frozenset(
    "Identity Snapshot StopGradient PreventGradient CheckNumerics Squeeze Reshape "
    "ExpandDims ReadVariableOp Switch".split()
)
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Add": np.add,
    "AddV2": np.add,
    "Equal": np.equal,
    "Greater": np.greater,
    "GreaterEqual": np.greater_equal,
    "Less": np.less,
    "LessEqual": np.less_equal,
    "LogicalAnd": np.logical_and,
    "LogicalNot": np.logical_not,
    "LogicalOr": np.logical_or,
    "Mul": np.multiply,
    "NotEqual": np.not_equal,
    "Sub": np.subtract,
}
_SETTLING = {"LogicalAnd": False, "LogicalOr": True}
_MAX_DEPTH = 32


def constant(
    graph: Graph, tensor: Tensor, bound: Mapping[Tensor, Any] | None = None, depth: int = 0
) -> NDArray[Any] | None:
    """The value of a tensor, or None if it is not constant.

    Args:
        graph: The graph it is in.
        tensor: Which.
        bound: Tensors whose value is given, such as placeholders.
        depth: How many nodes were passed on the way.
    """
    if bound is not None and tensor in bound:
        return np.asarray(bound[tensor])
    node = graph.nodes.get(tensor.node)
    if node is None or depth > _MAX_DEPTH:
        return None
    if node.op == "Const":
        return const_value(node)
    operands = graph.operands(tensor.node)
    if node.op in _SAME:
        return constant(graph, operands[0], bound, depth + 1)
    if node.op == "Cast":
        value = constant(graph, operands[0], bound, depth + 1)
        return None if value is None else _cast(value, node.attr["DstT"].type)
    function = _FUNCTIONS.get(node.op)
    if function is None:
        return None
    values = [constant(graph, operand, bound, depth + 1) for operand in operands]
    settling = _SETTLING.get(node.op)
    if settling is not None and any(v is not None and (v == settling).all() for v in values):
        # Whatever the other one is.
        return np.asarray(settling)
    if any(value is None for value in values):
        return None
    return np.asarray(function(*values))


def truth(graph: Graph, tensor: Tensor, bound: Mapping[Tensor, Any] | None = None) -> bool | None:
    """The truth of a scalar predicate; None if it is not constant."""
    value = constant(graph, tensor, bound)
    return None if value is None or value.size != 1 else bool(value.reshape(-1)[0])


def const_value(node: Any) -> NDArray[Any]:
    """The value of a Const node."""
    tensorflow: Any = importlib.import_module("tensorflow")
    return np.asarray(tensorflow.make_ndarray(node.attr["value"].tensor))


def _cast(value: NDArray[Any], dtype: int) -> NDArray[Any]:
    tensorflow: Any = importlib.import_module("tensorflow")
    return value.astype(tensorflow.dtypes.as_dtype(dtype).as_numpy_dtype)
