"""Switches between training and inference that an exporter has left in the graph.

An `If` or `Where` whose condition depends on nothing but graph inputs (`is_training`) chooses
between batch statistics and moving ones. What stands behind such a switch only is neither wrong nor
right by itself: it depends on what the caller says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.graph.scopes import Scope, attribute_graphs, scopes

_MAX_STEPS = 32


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """One of them.

    Attributes:
        node: The `If` or `Where`.
        scope: Where it stands.
        inputs: The graph inputs that decide, by name.
        default: What they are if the caller does not say; None if he must say.
    """

    node: ir.Node
    scope: Scope
    inputs: tuple[str, ...]
    default: bool | None


def find_switches(model: ir.Model, context: Context) -> tuple[Switch, ...]:
    """Every `If` and `Where` of `model` that boolean graph inputs alone decide."""
    found: list[Switch] = []
    for scope in scopes(model):
        for node in scope.graph:
            if node.op_type not in ("If", "Where") or node.domain not in ("", "ai.onnx"):
                continue
            condition = node.inputs[0] if node.inputs else None
            names = _deciding(condition, model, context)
            if names:
                constant = context.constants.resolve(condition)
                default = None if constant is None else bool(constant.array().reshape(-1)[0])
                found.append(Switch(node, scope, names, default))
    return tuple(found)


def _deciding(condition: ir.Value | None, model: ir.Model, context: Context) -> tuple[str, ...]:
    """The scalar graph inputs that `condition` is computed from; none if anything else is."""
    inputs = {id(value) for value in model.graph.inputs}
    pending, names = [condition], dict[str, None]()
    for _ in range(_MAX_STEPS):
        if not pending:
            return tuple(names)
        value = pending.pop()
        if value is None:
            continue
        if id(value) in inputs:
            # A tensor of data may decide too (a mask), but that is no switch.
            if context.dims.of(value) not in ((), (1,)):
                return ()
            names[value.name or ""] = None
        elif (producer := value.producer()) is not None:
            pending.extend(producer.inputs)
        elif not context.is_constant(value):
            return ()
    return ()


def gated_nodes(model: ir.Model, switches: Sequence[Switch]) -> frozenset[int]:
    """The identities of the nodes that run only if a switch goes one of its two ways."""
    gates = frozenset(id(switch.node) for switch in switches)
    if not gates:
        return frozenset()
    free = _needed(model, gates, 0) & _needed(model, gates, 1)
    every = (node for scope in scopes(model) for node in scope.graph)
    return frozenset(id(node) for node in every if id(node) not in free)


def _needed(model: ir.Model, gates: frozenset[int], taken: int) -> set[int]:
    """The nodes that run if every switch takes its first (0) or second (1) way."""
    needed: set[int] = set()
    pending = list(model.graph.outputs)
    for function in model.functions.values():
        pending.extend(function.outputs)
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        node = value.producer()
        if node is None or id(node) in needed:
            continue
        needed.add(id(node))
        is_gate = id(node) in gates
        dead = "else_branch" if taken == 0 else "then_branch"
        for index, source in enumerate(node.inputs):
            if source is not None and not (is_gate and index == 2 - taken):
                pending.append(source)
        for name, attribute in node.attributes.items():
            if not (is_gate and name == dead):
                pending.extend(v for graph in attribute_graphs(attribute) for v in graph.outputs)
    return needed
