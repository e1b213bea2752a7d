"""Inlining calls of model-local functions, each with a copy of the body of its own.

A function's parameters are formal, so its batch norms may have no numbers until it stands where it
is called. `onnx_ir`'s inliner does the substitution. Before it runs, every call gets a copy of the
function whose values and nodes are named after the call, unique over all scopes. This keeps apart
what the inliner does not: names of inner subgraphs, and names of several calls.

Inlining is exact, and done, only where

- no functions call each other in a circle;
- the operators of the body mean the same in the operator sets of every caller;
- no call leaves out an argument that the function passes through, or has more inputs or outputs
  than the function;
- no attribute that a call passes is a graph, and no function of the model refers to one;
- no node of the body has an output without a name, which the inliner would give one.

Source: ONNX IR specification, Functions.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator

import onnx_ir as ir
from onnx_ir.passes.common import InlinePass

from bnopt.graph.names import Names
from bnopt.graph.operators import is_standard, since_version
from bnopt.graph.scopes import attribute_graphs, label
from bnopt.passes.specialise.dismantle import drop_dead
from bnopt.passes.specialise.naming import rename
from bnopt.passes.specialise.walk import all_nodes

Key = ir.OperatorIdentifier

# Functions that call functions may multiply without bound.
MAX_INLINED_NODES = 100_000
# How far from a batch norm a call may stand to be of interest.
_NEIGHBOURHOOD = 8
_HOSTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def multiplicities(model: ir.Model) -> dict[Key, int] | None:
    """How often each function's body stands in the model once all calls are written out.

    Returns:
        None if functions call each other in a circle.
    """
    found: dict[Key, int] = {}
    open_keys: set[Key] = set()
    callers: dict[Key, list[Key | None]] = {key: [] for key in model.functions}
    for caller, node in _calls(model):
        callers[node.op_identifier()].append(caller)

    def count(key: Key) -> int | None:
        if key in open_keys:
            return None
        if key not in found:
            open_keys.add(key)
            total = 0
            for caller in callers[key]:
                times = 1 if caller is None else count(caller)
                if times is None:
                    return None
                total += times
            open_keys.discard(key)
            found[key] = total
        return found[key]

    return None if any(count(key) is None for key in model.functions) else found


def concerned(model: ir.Model, sites: Collection[int]) -> frozenset[Key]:
    """The functions that may keep affines from travelling: they hold a site or are near one.

    Near is a call in the same body that is reached from the site, up or down, over at most a few
    operators none of which is a host.

    Args:
        model: Only read.
        sites: Identities of the batch norm nodes that are not folded.
    """
    found: set[Key] = set()
    bodies: list[tuple[Key | None, ir.Graph]] = [(None, model.graph)]
    bodies += [(key, function.graph) for key, function in model.functions.items()]
    for key, body in bodies:
        for node in all_nodes(body):
            if id(node) in sites:
                found |= {key} if key is not None else set()
                found |= _near(node, model)
    return frozenset(found)


def inline(model: ir.Model, wanted: Collection[Key]) -> tuple[str, ...]:
    """Inline every call of the functions `wanted`, in place, where that is exact.

    Returns:
        The names of the functions that are gone, `DOMAIN::NAME`, in the model's order.
    """
    counts = multiplicities(model)
    if counts is None or any(map(_refers_to_graph, _function_nodes(model))):
        return ()
    exact = [
        key for key in model.functions if key in wanted and counts[key] and _is_exact(model, key)
    ]
    grown = sum(counts[key] * len(list(all_nodes(model.functions[key]))) for key in exact)
    if not exact or grown > MAX_INLINED_NODES:
        return ()
    copies = _specialise(model, frozenset(exact))
    for key in exact:
        del model.functions[key]
    InlinePass(lambda function: function.identifier() in copies)(model)
    return tuple(f"{domain}::{name}" for domain, name, _ in exact)


def _calls(model: ir.Model) -> Iterator[tuple[Key | None, ir.Node]]:
    """Every call of a local function, with the function it stands in."""
    for node in all_nodes(model.graph):
        if node.op_identifier() in model.functions:
            yield None, node
    for key, function in model.functions.items():
        for node in all_nodes(function):
            if node.op_identifier() in model.functions:
                yield key, node


def _near(site: ir.Node, model: ir.Model) -> set[Key]:
    found: set[Key] = set()
    for downwards in (False, True):
        front, seen = [site], {id(site)}
        for _ in range(_NEIGHBOURHOOD):
            beyond = [other for node in front for other in _neighbours(node, downwards)]
            front = []
            for node in beyond:
                if id(node) in seen:
                    continue
                seen.add(id(node))
                if node.op_identifier() in model.functions:
                    found.add(node.op_identifier())
                elif is_standard(node, model) and node.op_type not in _HOSTS:
                    front.append(node)
    return found


def _neighbours(node: ir.Node, downwards: bool) -> list[ir.Node]:
    if downwards:
        return [reader for output in node.outputs for reader, _ in output.uses()]
    producers = (value.producer() for value in node.inputs if value is not None)
    return [producer for producer in producers if producer is not None]


def _is_exact(model: ir.Model, key: Key) -> bool:
    function = model.functions[key]
    callers: set[Key] = set()
    reached = [key]
    while reached:
        current = reached.pop()
        for caller, node in _calls(model):
            if node.op_identifier() != current:
                continue
            if current == key and not _call_fits(node, function):
                return False
            if caller is not None and caller not in callers:
                callers.add(caller)
                reached.append(caller)
    imports = [model.graph.opset_imports]
    imports += [model.functions[caller].opset_imports for caller in callers]
    return all(_same_operators(model, function, there) for there in imports) and all(
        output.name for node in all_nodes(function) for output in node.outputs
    )


def _refers_to_graph(node: ir.Node) -> bool:
    return any(value.is_ref() and _holds_graphs(value) for value in node.attributes.values())


def _function_nodes(model: ir.Model) -> Iterator[ir.Node]:
    for function in model.functions.values():
        yield from all_nodes(function)


def _call_fits(call: ir.Node, function: ir.Function) -> bool:
    if len(call.inputs) > len(function.inputs) or len(call.outputs) > len(function.outputs):
        return False
    if any(_holds_graphs(attribute) for attribute in call.attributes.values()):
        return False
    given = [value is not None for value in call.inputs]
    given += [False] * (len(function.inputs) - len(given))
    return all(
        present or not formal.is_graph_output()
        for formal, present in zip(function.inputs, given, strict=True)
    )


def _holds_graphs(attribute: ir.Attr) -> bool:
    return attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)


def _same_operators(model: ir.Model, function: ir.Function, imports: dict[str, int]) -> bool:
    """Whether the function's operators are the same in the operator sets of a caller."""
    for domain, version in function.opset_imports.items():
        other = imports.get(domain, version)
        if other == version:
            continue
        if domain != "":
            return False
        for node in all_nodes(function):
            if is_standard(node, model):
                since = since_version(node.op_type, version)
                if since is None or since != since_version(node.op_type, other):
                    return False
    return True


def _specialise(model: ir.Model, exact: frozenset[Key]) -> frozenset[Key]:
    """Give each call of the functions `exact` a function of its own, calls in copies included."""
    names = Names(model)
    copies: set[Key] = set()
    originals = {key: model.functions[key] for key in exact}
    bodies: list[tuple[ir.Graph | ir.Function, dict[str, int]]]
    bodies = [(model.graph, model.graph.opset_imports)]
    bodies += [(f, f.opset_imports) for key, f in model.functions.items() if key not in exact]
    # The list grows: a copy's own calls need copies too.
    for body, imports in bodies:
        for call in all_nodes(body):
            original = originals.get(call.op_identifier())
            if original is None:
                continue
            for domain, version in original.opset_imports.items():
                imports.setdefault(domain, version)
            copy = _copy(original, call, names)
            copy.overload = f"{original.overload}#{len(copies)}"
            call.overload = copy.overload
            model.functions[copy.identifier()] = copy
            copies.add(copy.identifier())
            bodies.append((copy, imports))
    return frozenset(copies)


def _copy(original: ir.Function, call: ir.Node, names: Names) -> ir.Function:
    copy = original.clone()
    # What the operator sets of the caller mean for the body has been checked.
    copy.opset_imports.clear()
    prefix = f"{label(call)}/"
    for output in call.outputs:
        # The function's value takes over the name, and others in the body may read it.
        output.name = output.name or names.fresh(f"{prefix}unread")
    # The inliner wants as many outputs as the call has.
    while len(copy.outputs) > len(call.outputs):
        drop_dead([copy.outputs.pop()])
    _separate_outputs(copy)
    _rename_all(copy.graph, prefix, names, formal=True)
    return copy


def _separate_outputs(function: ir.Function) -> None:
    """Let every output be a value of its own: the inliner renames it after the call's."""
    seen: set[int] = set()
    for index, value in enumerate(list(function.outputs)):
        if value.producer() is None or id(value) in seen:
            node = ir.Node("", "Identity", inputs=[value])
            function.append(node)
            node.outputs[0].name = f"{value.name}_out"
            function.outputs[index] = node.outputs[0]
        seen.add(id(value))


def _rename_all(graph: ir.Graph, prefix: str, names: Names, *, formal: bool = False) -> None:
    values = [] if formal else [*graph.inputs, *graph.initializers.values()]
    for value in dict.fromkeys(values):
        rename(value, names.fresh(f"{prefix}{value.name}"))
    for node in graph:
        node.name = names.fresh(f"{prefix}{node.name or node.op_type}")
        for output in node.outputs:
            rename(output, names.fresh(f"{prefix}{output.name}"))
        for attribute in node.attributes.values():
            for body in attribute_graphs(attribute):
                _rename_all(body, prefix, names)
