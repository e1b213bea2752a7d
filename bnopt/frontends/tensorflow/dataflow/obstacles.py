"""Why outputs cannot be computed without what a run writes.

A write is left out of the inference path. That changes nothing where the outputs do not read the
variable, and it is meant where the variable is a statistic of a batch norm. Any other variable that
the outputs read is state: what a run answers depends on the runs before it, or on an order within
it, and a graph of values has neither.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bnopt.frontends.tensorflow.dataflow.graph import BOOL, RESOURCE, WRITES, called
from bnopt.frontends.tensorflow.dataflow.inlining import CALLS, CONDITIONALS, LOOPS
from bnopt.frontends.tensorflow.dataflow.view import View

# The view leaves these as they are. Their first input chooses, the others are the functions'.
_CASES = frozenset(("Case", "StatelessCase"))
_CHOICES = _CASES | CONDITIONALS
_NO_READS = frozenset(("VariableShape", "VarIsInitializedOp", "IsVariableInitialized"))


@dataclass(frozen=True, slots=True)
class _Access:
    """A read or a write of a variable.

    Attributes:
        variable: Its name; None if it cannot be traced.
        at: The node of the graph that does it.
        node: The same, or the node of a function that it runs.
        op: That one's operator.
        function: The function; empty if there is none.
    """

    variable: str | None
    at: str
    node: str
    op: str
    function: str = ""

    def __str__(self) -> str:
        where = f" of function '{self.function}'" if self.function else ""
        return f"node '{self.node}' ({self.op}){where}"


def obstacles(view: View) -> Iterator[str]:
    """Why the outputs cannot be computed without a write: one line for each variable."""
    said: set[str | None] = set()
    run = view.graph.ancestors(view.outputs)
    inner = [a for name in view.graph.nodes if name in run for a in _inner(view, name)]
    readers: dict[str | None, set[str]] = {}
    for access in [*_reads(view), *(a for a in inner if a.op not in WRITES)]:
        if access.at in view.cone:
            readers.setdefault(access.variable, set()).add(access.at)
    writes = [*_writes(view, run), *(a for a in inner if a.op in WRITES)]
    for write in writes:
        variable = write.variable
        if variable in view.normalizing or variable in said:
            continue
        if reason := _reason(view, write, readers.get(variable, set())):
            said.add(variable)
            yield reason


def _reason(view: View, write: _Access, readers: set[str]) -> str:
    after = view.graph.descendants([write.at])
    if write.variable is None:
        found = bool(after & view.cone)
        return f"{write} writes a variable that cannot be traced" if found else ""
    by_value = write.at in view.cone and not write.function
    if by_value or (after - {write.at}) & readers:
        return f"{write} writes '{write.variable}', which the outputs read after it"
    if not readers or _is_switched(view, write):
        return ""
    return (
        f"the outputs read '{write.variable}', which a run writes at {write}: a model in ONNX has "
        "no state; make it an input and an output, or let only training write it"
    )


def _is_switched(view: View, write: _Access) -> bool:
    """Whether an input that is a flag turns a write on and off, as one for training does."""
    for gate in view.tracer.enclosing(write.at):
        names = view.placeholders(gate.predicate)
        if names and all(view.graph.nodes[n].attr["dtype"].type == BOOL for n in names):
            return True
    return False


def _writes(view: View, run: set[str]) -> Iterator[_Access]:
    for name in view.graph.nodes:
        if name in run and (op := view.graph.op(name)) in WRITES:
            yield _Access(view.tracer.variable(view.graph.operands(name)[0]), name, name, op)


def _reads(view: View) -> Iterator[_Access]:
    """Every node that reads a variable, not what only passes a reference to it on."""
    for name in view.graph.nodes:
        op = view.graph.op(name)
        passes = op in WRITES | _NO_READS | _CASES
        if name not in view.cone or passes or view.tracer.reference(name):
            continue
        for operand in view.graph.operands(name):
            if (variable := view.tracer.reference(operand.node, operand.index)) is not None:
                yield _Access(variable, name, name, op)


def _inner(view: View, name: str) -> Iterator[_Access]:
    """The reads and writes in the functions of a node that the view does not write out."""
    node = view.graph.nodes[name]
    if node.op not in _CASES:
        return
    functions = {f.signature.name: f for f in view.model.graph_def.library.function}
    handed = [view.tracer.reference(t.node, t.index) for t in view.graph.operands(name)]
    pending = [(f, handed[1:]) for f in called(node) if f in functions]
    seen: set[str] = set()
    while pending:
        called_name, given = pending.pop()
        key = f"{called_name}{given}"
        if key in seen:
            continue
        seen.add(key)
        function = functions[called_name]
        arguments = dict(zip((a.name for a in function.signature.input_arg), given, strict=False))
        nodes = {inner.name: inner for inner in function.node_def}
        for inner in nodes.values():
            passed = [t for t in inner.input if not t.startswith("^")]
            found = [_resolved(nodes, arguments, text) for text in passed]
            if inner.op in _CHOICES | LOOPS | CALLS or inner.op in functions:
                rest = found[1:] if inner.op in _CHOICES else found
                pending += [(f, rest) for f in called(inner) if f in functions]
            elif inner.op in WRITES:
                yield _Access(found[0], name, inner.name, inner.op, called_name)
            elif inner.op not in _NO_READS and not _is_handle(inner):
                for variable in filter(None, found):
                    yield _Access(variable, name, inner.name, inner.op, called_name)


def _resolved(
    nodes: Mapping[str, Any], arguments: Mapping[str, str | None], text: str
) -> str | None:
    """The variable that a tensor of a function refers to."""
    name = text.partition(":")[0]
    while name in nodes and _is_handle(nodes[name]):
        name = nodes[name].input[0].partition(":")[0]
    return arguments.get(name)


def _is_handle(node: Any) -> bool:
    """Whether a node only passes a variable's handle on."""
    return node.op in ("Identity", "Enter", "Switch") and node.attr["T"].type == RESOURCE
