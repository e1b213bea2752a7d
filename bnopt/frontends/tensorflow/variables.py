"""Values of a graph's variables: as they were restored, and as they were when training began."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.frontends.tensorflow import library
from bnopt.frontends.tensorflow.graphs import (
    PLACEHOLDERS,
    VARIABLES,
    ancestors,
    node_name,
    nodes_by_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

_ASSIGN = ("Assign", "AssignVariableOp")
_DRAWN = ("Random", "TruncatedNormal", "Multinomial")


def read(graph: Any, session: Any) -> dict[str, NDArray[Any]]:
    """Variable name -> value, for every variable that a session has initialized.

    Args:
        graph: A `tf.Graph`; nodes that read the variables are added to it.
        session: Its session.
    """
    raw = library.load("tensorflow").raw_ops
    tf1 = library.load("tensorflow").compat.v1
    there: dict[str, Any] = {}
    values: dict[str, Any] = {}
    with graph.as_default():
        for operation in graph.get_operations():
            if operation.type not in VARIABLES:
                continue
            variable = operation.outputs[0]
            if operation.type == "VarHandleOp":
                there[operation.name] = raw.VarIsInitializedOp(resource=variable)
                values[operation.name] = raw.ReadVariableOp(
                    resource=variable, dtype=operation.get_attr("dtype")
                )
            else:
                there[operation.name] = tf1.is_variable_initialized(variable)
                values[operation.name] = variable
    filled = session.run(there)
    found = session.run({name: value for name, value in values.items() if filled[name]})
    return {name: np.asarray(value) for name, value in found.items()}


def initial(graph: Any) -> dict[str, NDArray[Any]]:
    """Variable name -> the value that its initializer gives it, if that needs no random numbers.

    Args:
        graph: A `tf.Graph` with the nodes of its initializers.
    """
    tf = library.load("tensorflow")
    fetches = {
        name: graph.get_tensor_by_name(tensor if ":" in tensor else f"{tensor}:0")
        for name, tensor in _initializers(nodes_by_name(graph.as_graph_def())).items()
    }
    # In a session where nothing is initialized: a shadow starts as a copy of what another
    # variable starts as, not of what that one has become.
    config = library.session_config()
    with tf.compat.v1.Session(graph=graph, config=config) as session:
        try:
            found = session.run(fetches)
        except tf.errors.OpError:
            found = {name: _attempt(session, tensor) for name, tensor in fetches.items()}
    return {name: np.asarray(value) for name, value in found.items() if value is not None}


def _attempt(session: Any, tensor: Any) -> Any:
    """The value of a tensor; None if it depends on what nobody has initialized."""
    try:
        return session.run(tensor)
    except library.load("tensorflow").errors.OpError:
        return None


def _initializers(nodes: Mapping[str, Any]) -> dict[str, str]:
    """Variable name -> tensor with the value that its initializer assigns."""
    found: dict[str, str] = {}
    for node in nodes.values():
        if node.op not in _ASSIGN or len(node.input) < 2:
            continue
        variable = node_name(node.input[0])
        if node.name != f"{variable}/Assign" or nodes[variable].op not in VARIABLES:
            continue
        needed = [nodes[name].op for name in ancestors(nodes, [node_name(node.input[1])])]
        if not any(op in PLACEHOLDERS or _is_drawn(op) for op in needed):
            found[variable] = node.input[1]
    return found


def _is_drawn(op: str) -> bool:
    return any(part in op for part in _DRAWN)
