"""What a frozen graph computes from constants alone becomes constants, in one run.

tf2onnx does the same with a session for every node, which takes most of its time, and gives up on
some; then it cannot move a transpose past a batch norm whose factors still are a computation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.frontends.tensorflow import graphs, library

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Results larger than this stay computations, if they are larger than what they are made of.
_LARGE = 1_000_000
RANDOM = ("Random", "TruncatedNormal", "Multinomial", "Rng")
"""Parts of the names of operators that draw random numbers."""

_PARTS = (*RANDOM, "Quant", "TensorList", "Call", "Queue", "Table")
_KEPT = frozenset(
    "Enter Exit Switch Merge NextIteration LoopCond If StatelessIf While StatelessWhile Case "
    "StatelessCase Print PrintV2 Assert".split()
)


def fold(graph_def: Any, outputs: Iterable[str]) -> Any:
    """A copy of a graph with constants in the place of what is computed from constants.

    Args:
        graph_def: A graph without variables.
        outputs: Tensors that must stay, under their names.
    """
    tf = library.load("tensorflow")
    nodes = graphs.nodes_by_name(graph_def)
    kept = {graphs.node_name(tensor) for tensor in outputs}
    constant = constant_nodes(nodes)
    wanted = {
        graphs.node_name(tensor)
        for node in nodes.values()
        if node.name not in constant
        for tensor in node.input
        if not tensor.startswith("^")
    }
    wanted = {name for name in wanted & constant.keys() if nodes[name].op != "Const"}
    graph = graphs.imported(graph_def)
    with tf.compat.v1.Session(graph=graph, config=library.session_config()) as session:
        values = session.run({name: f"{name}:0" for name in wanted if _is_plain(graph, name)})
    copy = type(graph_def)()
    copy.CopyFrom(graph_def)
    for node in copy.node:
        if node.name in values and _is_worth_it(values[node.name], node, nodes):
            dtype = graph.get_tensor_by_name(f"{node.name}:0").dtype.as_datatype_enum
            graphs.make_constant(node, values[node.name], dtype)
        elif node.name not in constant:
            data = [
                tensor
                for tensor in node.input
                if not (tensor.startswith("^") and tensor[1:] in constant)
            ]
            del node.input[:]
            node.input.extend(data)
    return graphs.subgraph(copy, kept)


def constant_nodes(nodes: Mapping[str, Any]) -> dict[str, None]:
    """Names of nodes that depend on nothing but constants, by data and by control.

    Each stands behind what it depends on.
    """
    known: dict[str, bool] = {}
    for root in nodes:
        stack = [root]
        while stack:
            name = stack[-1]
            if name in known:
                stack.pop()
                continue
            node = nodes[name]
            if not _may_fold(node):
                known[name] = False
                continue
            needed = [graphs.node_name(tensor) for tensor in node.input]
            open_ones = [other for other in needed if other not in known]
            if open_ones:
                stack += open_ones
            else:
                known[name] = all(known[other] for other in needed)
    return {name: None for name, is_constant in known.items() if is_constant}


def _may_fold(node: Any) -> bool:
    if not node.input and node.op not in ("Const", "NoOp"):
        return False
    return node.op not in _KEPT and not any(part in node.op for part in _PARTS)


def _is_plain(graph: Any, name: str) -> bool:
    results = graph.get_operation_by_name(name).outputs
    return len(results) == 1 and results[0].dtype.is_numpy_compatible


def _is_worth_it(value: Any, node: Any, nodes: dict[str, Any]) -> bool:
    if np.size(value) < _LARGE:
        return True
    made_of = sum(nodes[name].ByteSize() for name in graphs.ancestors(nodes, [node.name]))
    return np.asarray(value).nbytes <= made_of
