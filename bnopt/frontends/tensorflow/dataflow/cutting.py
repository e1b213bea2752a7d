"""What runs beside the inference path, cut off it: control dependencies and writes.

A control dependency says when a node runs, never what it computes, unless it orders a read after a
write; `obstacles` finds those. The only ones that must stay are the pivots of a conditional or loop
that stays itself: they say in which branch or frame a constant lives.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bnopt.frontends.tensorflow.dataflow.graph import WRITES, Graph, Tensor
from bnopt.frontends.tensorflow.dataflow.sources import MERGES, SWITCHES
from bnopt.frontends.tensorflow.dataflow.view import View

_PLAIN = {
    "RefIdentity": "Identity",
    "RefSwitch": "Switch",
    "RefMerge": "Merge",
    "RefEnter": "Enter",
    "RefExit": "Exit",
    "RefNextIteration": "NextIteration",
}
_FRAMES = frozenset(("Enter", "RefEnter", "LoopCond"))
_NEXT = frozenset(("NextIteration", "RefNextIteration"))
_BRANCHED = frozenset(
    "If StatelessIf Case StatelessCase PartitionedCall StatefulPartitionedCall".split()
)


def obstacles(view: View) -> Iterator[str]:
    """Why the outputs cannot be computed without a write: one line for each variable."""
    said: set[str] = set()
    run = view.graph.ancestors(view.outputs)
    for name in view.graph.nodes:
        if name not in run or view.graph.op(name) not in WRITES:
            continue
        variable = view.tracer.variable(view.graph.operands(name)[0])
        if variable is None or variable in view.statistics or variable in said:
            continue
        reader = name if name in view.cone else _read_after(view, variable, name)
        if reader:
            said.add(variable)
            op = view.graph.op(name)
            yield f"node '{name}' ({op}) writes '{variable}', which the outputs read after it"


def _read_after(view: View, variable: str, write: str) -> str:
    after = view.graph.descendants([write])
    for reader, index in view.graph.readers(variable):
        if index >= 0 and reader in view.cone and reader in after:
            return reader
    # Behind a switch or a function's argument the read is a later node.
    for name in view.graph.nodes:
        if name in view.cone and name in after and view.graph.op(name) == "ReadVariableOp":
            operand = view.graph.operands(name)[0]
            if view.tracer.variable(operand) == variable:
                return name
    return ""


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


def drop_controls(nodes: Any) -> None:
    """Remove every control dependency but those on pivots, in place.

    Args:
        nodes: The nodes of a graph or of a function.
    """
    found = {node.name: node for node in nodes}
    for node in nodes:
        kept = [t for t in node.input if not t.startswith("^") or _is_pivot(found, t[1:])]
        if len(kept) < len(node.input):
            del node.input[:]
            node.input.extend(kept)


def _is_pivot(nodes: dict[str, Any], name: str) -> bool:
    node = nodes.get(name)
    if node is None:
        return False
    if node.op in SWITCHES | _FRAMES:
        return True
    sources = [nodes[n].op for text in node.input if (n := text.partition(":")[0]) in nodes]
    if node.op in MERGES:
        return bool(_NEXT & {*sources})
    return node.op == "Identity" and bool(sources) and sources[0] in SWITCHES


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


def called(node: Any) -> list[str]:
    """The functions that a node names."""
    found = [node.op]
    for value in node.attr.values():
        if value.HasField("func"):
            found.append(value.func.name)
        found.extend(f.name for f in value.list.func)
    return found


def without_places(graph_def: Any) -> None:
    """Forget which nodes share a device, in place: freezing looks for the nodes that are named."""
    inner = [node for function in graph_def.library.function for node in function.node_def]
    for node in [*graph_def.node, *inner]:
        node.attr.pop("_class", None)


def _clean(function: Any) -> None:
    drop_controls(function.node_def)
    nodes = {node.name: node for node in function.node_def}
    for result, text in function.ret.items():
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
