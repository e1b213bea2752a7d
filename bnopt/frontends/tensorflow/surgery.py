"""The inference path of a TensorFlow graph, cut out of the graph that trains it.

1. What is constant decides: placeholders left to their default, If, Switch, Select.
2. Control dependencies go, and with them updates that ride on an output.
3. What reads an update's result reads the variable instead.
4. References to variables become values, so that variables can become constants.
5. What no output needs goes.

The numbers that come out are those of a run before any update. Where that cannot be had, because an
output depends on what a run writes, the model is refused, by the name of the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnopt.errors import UnsupportedModelError
from bnopt.frontends.tensorflow.dataflow.branches import resolve
from bnopt.frontends.tensorflow.dataflow.constants import truth
from bnopt.frontends.tensorflow.dataflow.cutting import (
    clean_functions,
    drop_writes,
    plain_references,
    without_places,
)
from bnopt.frontends.tensorflow.dataflow.graph import (
    PIPELINES,
    WRITES,
    Graph,
    called,
    endpoints,
)
from bnopt.frontends.tensorflow.dataflow.inlining import inline
from bnopt.frontends.tensorflow.dataflow.obstacles import obstacles
from bnopt.frontends.tensorflow.dataflow.pivots import drop_controls
from bnopt.frontends.tensorflow.dataflow.view import View
from bnopt.frontends.tensorflow.loaded import Loaded

_MAX_LISTED = 3


def to_inference(
    graph_def: Any, inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> tuple[Any, list[str]]:
    """Cut out what computes the outputs in inference.

    Args:
        graph_def: The graph, not frozen; it is not changed. A placeholder that is bound is already
            a Const in it.
        inputs: Name -> tensor; a placeholder with a default that is not among them is left to it.
        outputs: Name -> tensor; they keep their names.

    Returns:
        The graph, which freezes, and what was done to it, one line each.

    Raises:
        UnsupportedModelError: An output needs a write or an input pipeline; the message names it.
    """
    given = {tensor.node for tensor in endpoints(inputs)}
    notes: list[str] = []
    graph = type(graph_def)()
    graph.CopyFrom(graph_def)
    defaults = _take_defaults(graph, given)
    graph = inline(graph, truth, lower=False, keep=outputs.values())
    taken = resolve(graph)
    _note(notes, "left to its default", defaults)
    _note(notes, "replaced by the branch that is taken", taken)

    view = View(Loaded(graph, {}, None, dict(inputs), dict(outputs)))
    if reasons := list(obstacles(view)):
        raise UnsupportedModelError(f"no inference path: {'; '.join(reasons[:_MAX_LISTED])}")
    run = view.graph.ancestors(view.outputs)
    writes = [name for name in view.graph.nodes if name in run and view.graph.op(name) in WRITES]
    read = drop_writes(graph)
    graph = _pruned(graph, given, outputs)
    drop_controls(graph.node)
    clean_functions(graph)
    plain_references(graph)
    without_places(graph)
    graph = _pruned(graph, given, outputs)
    _note(notes, "read before its update, not after", [n for n in read if n in view.cone])
    _note(notes, "left out, it updates a variable", writes)
    _check(graph, given, outputs)
    return graph, notes


def _take_defaults(graph_def: Any, given: set[str]) -> list[str]:
    done: list[str] = []
    for node in graph_def.node:
        if node.op == "PlaceholderWithDefault" and node.name not in given:
            dtype = node.attr["dtype"].type
            node.op = "Identity"
            node.attr.clear()
            node.attr["T"].type = dtype
            done.append(node.name)
    return done


def _pruned(graph_def: Any, given: set[str], outputs: Mapping[str, str]) -> Any:
    graph = Graph(graph_def.node)
    kept = graph.ancestors(tensor.node for tensor in endpoints(outputs))
    result = type(graph_def)()
    result.versions.CopyFrom(graph_def.versions)
    result.node.extend(node for name, node in graph.nodes.items() if name in kept | given)
    functions = {f.signature.name: f for f in graph_def.library.function}
    pending = [name for node in result.node for name in called(node)]
    used: set[str] = set()
    while pending:
        name = pending.pop()
        if name in functions and name not in used:
            used.add(name)
            pending.extend(n for node in functions[name].node_def for n in called(node))
    result.library.function.extend(f for n, f in functions.items() if n in used)
    return result


def _check(graph_def: Any, given: set[str], outputs: Mapping[str, str]) -> None:
    """Refuse what still stands in the way."""
    graph = Graph(graph_def.node)
    needed = graph.ancestors((t.node for t in endpoints(outputs)), stop=given)
    inner = [(n, f.signature.name) for f in graph_def.library.function for n in f.node_def]
    for node, function in [*((graph.nodes[name], "") for name in needed), *inner]:
        where = f" of function '{function}'" if function else ""
        if node.op in WRITES or node.op.startswith("Ref"):
            raise UnsupportedModelError(
                f"no inference path: the outputs need node '{node.name}' ({node.op}){where}, which "
                "changes a variable"
            )
        if node.op in PIPELINES and node.name not in given:
            raise UnsupportedModelError(
                f"no inference path: the outputs need node '{node.name}' ({node.op}){where}, an "
                f"input pipeline; name '{node.name}:0', or what is made of it, as an input"
            )


def _note(notes: list[str], what: str, names: list[str]) -> None:
    if names:
        listed = ", ".join(f"'{name}'" for name in names[:_MAX_LISTED])
        rest = len(names) - _MAX_LISTED
        notes.append(f"{what}: {listed}" + (f" and {rest} more" if rest > 0 else ""))
