"""What runs beside the inference path, cut off it: control dependencies and writes.

What must not be cut off, `obstacles` finds first; which control dependencies stay, `pivots` knows.
"""

from __future__ import annotations

from typing import Any

from bnopt.frontends.tensorflow.dataflow.graph import WRITES, Graph, Tensor, called
from bnopt.frontends.tensorflow.dataflow.pivots import drop_controls

_PLAIN = {
    "RefIdentity": "Identity",
    "RefSwitch": "Switch",
    "RefMerge": "Merge",
    "RefEnter": "Enter",
    "RefExit": "Exit",
    "RefNextIteration": "NextIteration",
}
_BRANCHED = frozenset(
    "If StatelessIf Case StatelessCase PartitionedCall StatefulPartitionedCall".split()
)


def drop_writes(graph_def: Any) -> list[str]:
    """Let what reads the result of a write read the variable as it was, in place.

    Returns:
        The names of the writes that were read.
    """
    graph = Graph(graph_def.node)
    done: dict[str, None] = {}
    for node in graph.nodes.values():
        for index, text in enumerate(node.input):
            tensor = Tensor.parse(text)
            while tensor.index >= 0 and graph.op(tensor.node) in WRITES:
                done[tensor.node] = None
                tensor = graph.operands(tensor.node)[0]
            node.input[index] = tensor.text()
    return list(done)


def plain_references(graph_def: Any) -> None:
    """Replace operators on references to variables by those on values, in place.

    Freezing puts a constant in a variable's place, and a constant cannot be referred to.
    """
    for node in graph_def.node:
        node.op = _PLAIN.get(node.op, node.op)


def clean_functions(graph_def: Any) -> None:
    """Cut the writes out of the functions of conditionals and calls that stay, in place."""
    functions = {f.signature.name: f for f in graph_def.library.function}
    wanted = [*graph_def.node]
    seen: set[str] = set()
    while wanted:
        node = wanted.pop()
        if node.op not in _BRANCHED:
            continue
        for name in called(node):
            if name in functions and name not in seen:
                seen.add(name)
                _clean(functions[name])
                wanted.extend(functions[name].node_def)


def without_places(graph_def: Any) -> None:
    """Forget which nodes share a device, in place: freezing looks for the nodes that are named."""
    inner = [node for function in graph_def.library.function for node in function.node_def]
    for node in [*graph_def.node, *inner]:
        node.attr.pop("_class", None)


def _clean(function: Any) -> None:
    drop_controls(function.node_def)
    nodes = {node.name: node for node in function.node_def}
    # A protobuf map that is written to moves its entries, and an iterator misses some.
    for result, text in list(function.ret.items()):
        node = nodes.get(text.partition(":")[0])
        if node is not None and node.op == "ReadVariableOp":
            # Freezing makes the read an Identity, whose output has another name.
            copy = function.node_def.add(name=f"{node.name}/value_{result}", op="Identity")
            copy.input.append(text)
            copy.attr["T"].type = node.attr["dtype"].type
            nodes[copy.name] = copy
            function.ret[result] = f"{copy.name}:output:0"
    pending = [text.partition(":")[0] for text in function.ret.values()]
    kept: set[str] = set()
    while pending:
        name = pending.pop()
        if name in nodes and name not in kept:
            kept.add(name)
            pending += [t.removeprefix("^").partition(":")[0] for t in nodes[name].input]
    left = [node for node in function.node_def if node.name in kept]
    del function.node_def[:]
    function.node_def.extend(left)
    function.control_ret.clear()
    del function.signature.control_output[:]
