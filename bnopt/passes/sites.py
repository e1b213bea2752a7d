"""The batch norms of a scope, in the order of its nodes, each with what was decided."""

from __future__ import annotations

from collections.abc import Mapping

import onnx_ir as ir

from bnopt.algebra import recognizers
from bnopt.algebra.base import Context, Recognized, Refusal
from bnopt.algebra.decoys import is_normalised
from bnopt.algebra.recognizers import batch_normalization, global_normalization
from bnopt.algebra.runtime_statistics import runtime_statistics
from bnopt.algebra.units import Unit
from bnopt.findings import Decision, Form, Kept, Site
from bnopt.graph.operators import operand
from bnopt.graph.scopes import Scope, label
from bnopt.graph.uses import describe
from bnopt.passes.obstacles import is_known

# How far upstream to look for the operator that hides the rank of the data.
_MAX_STEPS = 16


def list_sites(
    scope: Scope,
    context: Context,
    decomposed: Mapping[int, Unit],
    decisions: Mapping[int, Decision],
) -> list[Site]:
    """Every batch norm of a scope.

    Args:
        scope: The scope.
        context: What may be looked at.
        decomposed: Chains that are batch norms written out, by the identity of their last node.
        decisions: What was decided, by the identity of the node that stands for the batch norm.
    """
    lister = _Lister(scope, context, decomposed, decisions)
    sites = (lister.site(node) for node in scope.graph)
    return [site for site in sites if site is not None]


class _Lister:
    def __init__(
        self,
        scope: Scope,
        context: Context,
        decomposed: Mapping[int, Unit],
        decisions: Mapping[int, Decision],
    ) -> None:
        self._scope = scope
        self._context = context
        self._decomposed = decomposed
        self._decisions = decisions

    def site(self, node: ir.Node) -> Site | None:
        if batch_normalization.matches(node):
            return self._batch_norm(node)
        unit = self._decomposed.get(id(node))
        if unit is not None:
            channels = max(unit.affine.scale.shape)
            return self._make(node, "decomposed", channels, self._decisions[id(node)])
        if node.op_type == global_normalization.OPERATOR:
            refused = global_normalization.recognize(node, self._context)
            if isinstance(refused, Refusal):
                return self._make(node, "decomposed", None, _kept(refused))
        computed = runtime_statistics(node, self._context)
        if computed is not None:
            form, refusal = computed
            return self._make(node, form, None, _kept(refusal))
        return self._of_unknown_rank(node)

    def _of_unknown_rank(self, node: ir.Node) -> Site | None:
        """A Mul by one number per channel of data of which nothing is known."""
        if node.op_type != "Mul":
            return None
        found = recognizers.recognize(node, self._scope, self._context)
        if not isinstance(found, Refusal) or found.reason != "unknown-rank":
            return None
        constants = [self._context.constants.resolve(value) for value in node.inputs]
        shape = next(constant.shape for constant in constants if constant is not None)
        data = [v for v in node.inputs if v is not None and not self._context.is_constant(v)]
        if (
            len(shape) < 2
            or sum(n > 1 for n in shape) != 1
            or is_normalised(data[0], self._context)
        ):
            return None
        found = self._unknown_operator(node) or found
        return self._make(node, "decomposed", max(shape), _kept(found))

    def _batch_norm(self, node: ir.Node) -> Site:
        scale = self._context.constants.resolve(operand(node, 1))
        channels = scale.shape[0] if scale is not None and len(scale.shape) == 1 else None
        found = batch_normalization.recognize(node, self._scope, self._context)
        if isinstance(found, Recognized):
            return self._make(node, "batch_normalization", channels, self._decisions[id(node)])
        if found.reason == "unknown-rank":
            # What makes the rank unknown says more.
            found = self._unknown_operator(node) or found
        form: Form = "batch_normalization"
        if found.reason == "batch-statistics":
            form = "batch_statistics"
        return self._make(node, form, channels, _kept(found))

    def _unknown_operator(self, node: ir.Node) -> Refusal | None:
        """The first operator upstream, by first inputs, whose output is not known to onnx."""
        value = operand(node, 0)
        for _ in range(_MAX_STEPS):
            producer = None if value is None else value.producer()
            if producer is None:
                return None
            if not is_known(producer, self._scope, self._context):
                return Refusal("unknown-operator", f"{describe(producer)} is not an ONNX operator")
            value = operand(producer, 0)
        return None

    def _make(self, node: ir.Node, form: Form, channels: int | None, decision: Decision) -> Site:
        place = self._scope
        return Site(place.site_id(node), label(node), form, place.path, channels, decision)


def _kept(refusal: Refusal) -> Kept:
    return Kept(refusal.reason, refusal.message)
