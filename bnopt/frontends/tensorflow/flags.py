"""A switch between training and inference that is kept in a variable, as tflearn keeps it.

Its value is part of the model as it was saved, or is set like an input; either way it is a constant
of the export, and decides like one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from bnopt.errors import UsageError
from bnopt.frontends.tensorflow import graphs
from bnopt.frontends.tensorflow.dataflow.graph import WRITES
from bnopt.graph.literals import to_array
from bnopt.runtime.messages import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from bnopt.frontends.tensorflow.loaded import Loaded

_HANDLE = "VarHandleOp"
# These want the variable itself, which a constant is not.
_WANT_VARIABLE = WRITES | {"IsVariableInitialized", "VarIsInitializedOp"}


def assign(loaded: Loaded, settings: Mapping[str, object]) -> dict[str, object]:
    """Give flags the values that were asked for, in place.

    Args:
        loaded: Its `values` are changed.
        settings: Name of an input, node, tensor or flag -> the value it always has.

    Returns:
        The settings that are of no flag.

    Raises:
        UsageError: A value that is neither true nor false.
    """
    rest: dict[str, object] = {}
    for name, value in settings.items():
        if not _is_flag(loaded.values.get(name)):
            rest[name] = value
            continue
        try:
            loaded.values[name] = to_array(value, ir.DataType.BOOL, ())
        except (TypeError, ValueError) as error:
            raise UsageError(f"cannot set '{name}' to {value!r}: {one_line(error)}") from None
    return rest


def settle(graph_def: Any, values: Mapping[str, NDArray[Any]]) -> Any:
    """A copy in which what reads a flag reads a constant.

    Args:
        graph_def: What the outputs depend on, and nothing else: a flag that is written there, too,
            is left alone.
        values: Variable -> value.
    """
    kept = {graphs.node_name(node.input[0]) for node in graph_def.node if node.op in _WANT_VARIABLE}
    found = {
        node.name: values[node.name]
        for node in graph_def.node
        if node.op in graphs.VARIABLES and node.name not in kept and _is_flag(values.get(node.name))
    }
    if not found:
        return graph_def
    copy = type(graph_def)()
    copy.CopyFrom(graph_def)
    for node in copy.node:
        if node.name in found and node.op != _HANDLE:
            graphs.make_constant(node, found[node.name], node.attr["dtype"].type)
        elif node.op == "ReadVariableOp" and (name := graphs.node_name(node.input[0])) in found:
            graphs.make_constant(node, found[name], node.attr["dtype"].type)
    return copy


def _is_flag(value: NDArray[Any] | None) -> bool:
    return value is not None and value.dtype == np.bool_ and value.ndim == 0
