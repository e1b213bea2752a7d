"""What stands behind each branch of a switch, and which of them is the one for training."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.graph.operators import operand
from bnopt.graph.scopes import attribute_graphs
from bnopt.rules.switches import Switch
from bnopt.rules.view import View

_REDUCTIONS = frozenset(("ReduceMean", "ReduceSum", "ReduceSumSquare"))
_SAME = frozenset(("Cast", "Identity", "Reshape", "Squeeze", "Unsqueeze"))
_MAX_STEPS = 16


@dataclass(frozen=True, slots=True)
class Branches:
    """The branches of all switches of a model.

    Attributes:
        context: Of the model.
        switches: The identities of the switches.
        training: The identities of the batch norms in training mode.
    """

    context: Context
    switches: frozenset[int]
    training: frozenset[int]

    @staticmethod
    def of(view: View) -> Branches:
        """Those of a model."""
        return Branches(
            view.context,
            frozenset(id(switch.node) for switch in view.switches),
            frozenset(
                id(norm.node)
                for norm in view.norms
                if norm.refusal is not None and norm.refusal.reason == "training-mode"
            ),
        )

    def behind(self, switch: Switch) -> frozenset[int]:
        """The identities of the nodes that one branch of `switch` needs and the other does not."""
        yes, no = self._branches(switch)
        return frozenset(id(node) for node in (*yes, *no))

    def inference(self, switch: Switch) -> bool | None:
        """The value of the deciding input that leads to inference; None if that is not certain."""
        yes, no = (any(map(self._computes, nodes)) for nodes in self._branches(switch))
        negated = _is_negated(operand(switch.node, 0))
        if yes == no or negated is None:
            return None
        return no != negated

    def _branches(self, switch: Switch) -> tuple[list[ir.Node], list[ir.Node]]:
        """What is needed only if the condition is true, and only if it is false."""
        node = switch.node
        if node.op_type == "Where":
            yes, no = self._upstream([operand(node, 1)]), self._upstream([operand(node, 2)])
        else:
            yes, no = (
                self._upstream([value for graph in _bodies(node, name) for value in graph.outputs])
                for name in ("then_branch", "else_branch")
            )
        # What both need is not chosen between.
        return (
            [node for key, node in yes.items() if key not in no],
            [node for key, node in no.items() if key not in yes],
        )

    def _upstream(self, values: Iterable[ir.Value | None]) -> dict[int, ir.Node]:
        """The nodes that `values` are computed from, up to other switches, by identity."""
        pending, found = list(values), dict[int, ir.Node]()
        while pending:
            value = pending.pop()
            node = None if value is None else value.producer()
            if node is None or id(node) in found:
                continue
            found[id(node)] = node
            if id(node) in self.switches:
                continue
            pending.extend(node.inputs)
            for attribute in node.attributes.values():
                for graph in attribute_graphs(attribute):
                    pending.extend(graph.outputs)
        return found

    def _computes(self, node: ir.Node) -> bool:
        """Whether a node computes statistics of the batch."""
        if id(node) in self.training:
            return True
        if node.op_type not in _REDUCTIONS:
            return False
        attribute = node.attributes.get("axes")
        if attribute is not None:
            return not attribute.is_ref() and 0 in attribute.as_ints()
        if operand(node, 1) is None:
            return True
        axes = self.context.constants.resolve(operand(node, 1))
        return axes is not None and bool((axes.array() == 0).any())


def _bodies(node: ir.Node, name: str) -> tuple[ir.Graph, ...]:
    attribute = node.attributes.get(name)
    return () if attribute is None else attribute_graphs(attribute)


def _is_negated(condition: ir.Value | None) -> bool | None:
    """Whether a condition is the opposite of the input that decides it; None if neither."""
    negated = False
    for _ in range(_MAX_STEPS):
        if condition is None or condition.is_graph_input():
            return None if condition is None else negated
        node = condition.producer()
        if node is None or node.op_type not in (*_SAME, "Not"):
            return None
        negated ^= node.op_type == "Not"
        condition = operand(node, 0)
    return None
