"""Where a number of a TensorFlow graph comes from: a variable, the batch, or an update.

A tensor is traced upward through moves and arithmetic. What a switch lets through only one way is
noted with the way: `moving_mean if not is_training`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from bnopt.frontends.tensorflow.dataflow.constants import const_value, truth
from bnopt.frontends.tensorflow.dataflow.graph import (
    BOOL,
    PIPELINES,
    PLACEHOLDERS,
    RESOURCE,
    WRITES,
    Graph,
    Tensor,
    is_variable,
)
from bnopt.frontends.tensorflow.dataflow.ranks import rank_of

Origin: TypeAlias = Literal["variable", "batch", "update"]

MOVES = frozenset(
    "Cast CheckNumerics Enter ExpandDims Identity IdentityN PreventGradient ReadVariableOp "
    "RefEnter RefIdentity RefSwitch Reshape Snapshot Squeeze StopGradient Switch".split()
)
SWITCHES = frozenset(("Switch", "RefSwitch"))
MERGES = frozenset(("Merge", "RefMerge"))
FUSED = frozenset(("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"))
SELECTS = frozenset(("Select", "SelectV2"))
_REDUCTIONS = frozenset(("Mean", "Sum"))
_ARITHMETIC = frozenset(
    "Add AddV2 AddN BroadcastTo ConcatV2 DivNoNan Div Maximum Minimum Mul Neg Pack RealDiv Relu "
    "Reciprocal Inv Rsqrt Sqrt Square SquaredDifference Sub ClipByValue Tile Where".split()
)
_ITEMS = ("TensorArrayRead", "TensorListGetItem")
_MAX_NODES = 400


@dataclass(frozen=True, slots=True)
class Gate:
    """A switch on the way: it lets through where `predicate` is `value`."""

    predicate: Tensor
    value: bool


@dataclass(frozen=True, slots=True)
class Source:
    """One place a number comes from.

    Attributes:
        origin: A variable, a reduction over the batch, or the result of an update op.
        node: The node of the variable, the reduction or the update op.
        gates: Switches on the way, the nearest first.
    """

    origin: Origin
    node: str
    gates: tuple[Gate, ...] = ()


class Tracer:
    """Traces tensors of one graph.

    Args:
        graph: The graph, calls and conditionals written out.
        variables: Nodes that stand for variables; in a frozen graph these are constants.
        bound: Tensors with a given value: what they decide is no switch.
    """

    def __init__(self, graph: Graph, variables: set[str], bound: Mapping[Tensor, Any]) -> None:
        self.graph = graph
        self.variables = variables
        self.bound = bound

    def sources(self, tensor: Tensor) -> list[Source]:
        """Every place a tensor comes from, past arithmetic."""
        found: dict[Source, None] = {}
        seen: set[tuple[Tensor, tuple[Gate, ...]]] = set()
        pending: list[tuple[Tensor, tuple[Gate, ...]]] = [(tensor, ())]
        while pending and len(seen) < _MAX_NODES:
            at, gates = pending.pop()
            if (at, gates) in seen:
                continue
            seen.add((at, gates))
            source = self._source(at, gates)
            if source is not None:
                found[source] = None
                continue
            pending.extend(self._upward(at, gates))
        return list(found)

    def variable(self, tensor: Tensor) -> str | None:
        """The variable that a tensor is, read or not, and moved through switches or not."""
        for _ in range(_MAX_NODES):
            if tensor.node in self.variables:
                return tensor.node
            node = self.graph.nodes.get(tensor.node)
            if node is None or node.op not in MOVES | WRITES:
                return None
            operands = self.graph.operands(tensor.node)
            tensor = operands[tensor.index if node.op == "IdentityN" else 0]
        return None

    def reference(self, node: str, index: int = 0) -> str | None:
        """The variable that an output refers to, through switches or not, and not yet read."""
        tensor = Tensor(node, index)
        for _ in range(_MAX_NODES):
            if tensor.node in self.variables:
                return tensor.node
            at = self.graph.nodes.get(tensor.node)
            if at is None or at.op not in MOVES:
                return None
            types = at.attr["T"].list.type or [at.attr["T"].type]
            position = tensor.index if at.op == "IdentityN" else 0
            if not at.op.startswith("Ref") and types[position] != RESOURCE:
                return None
            tensor = self.graph.operands(tensor.node)[position]
        return None

    def enclosing(self, node: str) -> tuple[Gate, ...]:
        """The switches of every conditional in which a node stands, the innermost first."""
        gates: dict[Gate, None] = {}
        seen: set[str] = set()
        pending = [*self.graph.inputs(node)]
        while pending:
            at = pending.pop(0)
            op = self.graph.op(at.node)
            if op in SWITCHES:
                gate = self._gate(at)
                if gate is not None:
                    gates[gate] = None
            # Behind a Merge another conditional has come to its end.
            if at.node in seen or op in MERGES:
                continue
            seen.add(at.node)
            operands = self.graph.inputs(at.node)
            pending.extend(operands[:1] if op in SWITCHES else operands)
        return tuple(gates)

    def predicate(self, tensor: Tensor) -> Tensor:
        """A predicate without the Identities that cond puts before it."""
        while self.graph.op(tensor.node) == "Identity":
            tensor = self.graph.operands(tensor.node)[0]
        return tensor

    def _source(self, at: Tensor, gates: tuple[Gate, ...]) -> Source | None:
        if at.node in self.variables:
            return Source("variable", at.node, gates)
        op = self.graph.op(at.node)
        if op in WRITES:
            return Source("update", at.node, gates)
        if op == "ReadVariableOp" and (write := self._just_written(at.node)):
            return Source("update", write, gates)
        fused = op in FUSED and at.index in (1, 2)
        if fused or (op in _REDUCTIONS and self._over_batch(at.node)):
            return Source("batch", at.node, gates + self._beyond(at.node, gates))
        return None

    def _just_written(self, read: str) -> str:
        """The write that a read waits for; empty if there is none."""
        variable = self.variable(self.graph.operands(read)[0])
        for name in self.graph.controls(read):
            written = self.graph.operands(name)[:1] if self.graph.op(name) in WRITES else []
            if variable is not None and any(self.variable(w) == variable for w in written):
                return name
        return ""

    def _beyond(self, node: str, gates: tuple[Gate, ...]) -> tuple[Gate, ...]:
        """Gates of the conditional in which a reduction stands, though none was passed."""
        return tuple(gate for gate in self.enclosing(node) if gate not in gates)

    def _upward(self, at: Tensor, gates: tuple[Gate, ...]) -> list[tuple[Tensor, tuple[Gate, ...]]]:
        op = self.graph.op(at.node)
        operands = self.graph.operands(at.node)
        if op in SWITCHES:
            if self._dead(at):
                return []
            gate = self._gate(at)
            more = gates if gate is None or gate in gates else (*gates, gate)
            return [(operands[0], more)]
        if op in MERGES:
            return [(o, gates) for o in operands]
        if op in SELECTS:
            return self._chosen(operands, gates)
        if op == "IdentityN":
            return [(operands[at.index], gates)]
        if op in MOVES:
            return [(operands[0], gates)]
        # A reduction over other axes ends it: the statistics of a layer norm are of one sample.
        return [(o, gates) for o in operands] if op in _ARITHMETIC else []

    def _chosen(
        self, operands: list[Tensor], gates: tuple[Gate, ...]
    ) -> list[tuple[Tensor, tuple[Gate, ...]]]:
        condition, yes, no = operands
        value = truth(self.graph, condition, self.bound)
        if value is not None:
            return [(yes if value else no, gates)]
        at = self.predicate(condition)
        return [(yes, (*gates, Gate(at, True))), (no, (*gates, Gate(at, False)))]

    def _gate(self, at: Tensor) -> Gate | None:
        """The gate that output `at` of a Switch is; None if it is always open."""
        predicate = self.graph.operands(at.node)[1]
        if truth(self.graph, predicate, self.bound) is not None:
            return None
        return Gate(self.predicate(predicate), at.index == 1)

    def _dead(self, at: Tensor) -> bool:
        value = truth(self.graph, self.graph.operands(at.node)[1], self.bound)
        return value is not None and value != (at.index == 1)

    def _over_batch(self, name: str) -> bool:
        """Whether a reduction sums data over the first axis."""
        operands = self.graph.operands(name)
        node = self.graph.nodes.get(operands[1].node) if len(operands) > 1 else None
        if node is None or node.op != "Const":
            return False
        axes = const_value(node).reshape(-1)
        rank = rank_of(self.graph, operands[0]) if (axes < 0).any() else None
        if 0 not in axes and (rank is None or -rank not in axes):
            return False
        found = self.graph.ancestors([operands[0].node], control=False)
        # Of weights alone, as in weight standardization, there is no batch; nor is there one in
        # what a loop over samples takes.
        return any(map(self._is_data, found)) and not any(
            self.graph.op(name).startswith(_ITEMS) for name in found
        )

    def _is_data(self, name: str) -> bool:
        node = self.graph.nodes[name]
        fed = node.op in PLACEHOLDERS and node.attr["dtype"].type != BOOL
        outside = fed or node.op in PIPELINES or "Random" in node.op
        return outside and name not in self.variables


def variables_of(graph: Graph, values: Mapping[str, Any]) -> set[str]:
    """The nodes that stand for variables: their own, or the constants that freezing left."""
    found = {name for name, node in graph.nodes.items() if is_variable(node)}
    return found or {name for name in values if graph.op(name) == "Const"}
