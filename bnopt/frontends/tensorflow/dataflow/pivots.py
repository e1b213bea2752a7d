"""Control dependencies, dropped but for the pivots of a conditional or loop that stays.

A control dependency says when a node runs, never what it computes, unless it orders a read after a
write; `obstacles` finds those. A constant that has no input, however, lives in a branch or frame by
its control dependency alone: on the pivot, or on another node there, which a program named.

Source: TensorFlow, python/ops/control_flow_ops.py (`CondContext`, `WhileContext`).
"""

from __future__ import annotations

from typing import Any

from bnopt.frontends.tensorflow.dataflow.graph import BOOL
from bnopt.frontends.tensorflow.dataflow.sources import MERGES, SWITCHES

_FRAMES = frozenset(("Enter", "RefEnter", "LoopCond"))
_EXITS = frozenset(("Exit", "RefExit"))
_NEXT = frozenset(("NextIteration", "RefNextIteration"))
_TRUE = frozenset(("1", "output_true:0"))


def drop_controls(nodes: Any) -> None:
    """Remove every control dependency, in place; what stands in a branch waits for its pivot.

    Args:
        nodes: The nodes of a graph or of a function.
    """
    found = {node.name: node for node in nodes}
    made: dict[tuple[str, bool], str] = {}
    for node in list(found.values()):
        kept: dict[str, None] = {}
        for text in node.input:
            if text.startswith("^"):
                kept.update(dict.fromkeys(_pivots(nodes, found, text, made)))
        data = [text for text in node.input if not text.startswith("^")]
        if kept or len(data) < len(node.input):
            del node.input[:]
            node.input.extend([*data, *kept])


def _pivots(nodes: Any, found: dict[str, Any], wait: str, made: dict[Any, str]) -> list[str]:
    """Control dependencies on the pivots of the branch or frame that a control dependency names."""
    result: list[str] = []
    # The depth counts conditionals that ended on the way up: their own pivots say nothing here.
    pending = [(wait, 0)]
    seen: set[tuple[str, int]] = set()
    while pending:
        text, depth = pending.pop()
        name = _source(text)
        node = found.get(name)
        if node is None or node.op in _EXITS or (text, depth) in seen:
            continue
        seen.add((text, depth))
        pivot = _is_pivot(found, name)
        if depth == 0 and pivot:
            data = node.op in SWITCHES and not text.startswith("^")
            result.append(f"^{_side(nodes, found, name, text, made) if data else name}")
            continue
        if node.op in SWITCHES:
            depth -= 1
        elif node.op in MERGES and not pivot:
            depth += 1
        pending += [(t, depth) for t in node.input]
    return result


def _side(nodes: Any, found: dict[str, Any], switch: str, text: str, made: dict[Any, str]) -> str:
    """A node that lives where an output of a Switch does, whatever that carries."""
    predicate = next(t for t in list(found[switch].input)[1:] if not t.startswith("^"))
    side = text.partition(":")[2] in _TRUE
    if (predicate, side) not in made:
        name = f"{switch}/{'then' if side else 'else'}_pivot"
        in_function = ":output_" in text
        chosen = nodes.add(name=f"{name}/switch", op="Switch")
        chosen.input.extend([predicate, predicate])
        output = f":output_{str(side).lower()}:0" if in_function else f":{int(side)}"
        pivot = nodes.add(name=name, op="Identity")
        pivot.input.append(chosen.name + output)
        for node in (chosen, pivot):
            node.attr["T"].type = BOOL
        made[predicate, side] = name
    return made[predicate, side]


def _is_pivot(nodes: dict[str, Any], name: str) -> bool:
    node = nodes.get(name)
    if node is None:
        return False
    if node.op in SWITCHES | _FRAMES:
        return True
    sources = [nodes[n].op for text in node.input if (n := _source(text)) in nodes]
    if node.op in MERGES:
        return bool(_NEXT & {*sources})
    return node.op == "Identity" and bool(sources) and sources[0] in SWITCHES


def _source(text: str) -> str:
    return text.removeprefix("^").partition(":")[0]
