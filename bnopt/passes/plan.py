"""Planning: for every batch norm in a model, a decision and its reason. Nothing is changed.

Batch norms are taken in topological order. Each may go upstream into the hosts behind it or
downstream into those ahead of it; of the ways that are exact the cheapest is taken: fewest nodes
left, then fewest bytes more, then upstream. Where only its scale can go, an Add stays. What cannot
go at all is merged with its neighbours or kept with a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Context, Refusal
from bnopt.algebra.decoys import is_decomposed_batch_norm
from bnopt.algebra.units import Unit, divided, find_units
from bnopt.findings import Decision, Kept, Lowered, Site
from bnopt.graph.order import in_order
from bnopt.graph.scopes import Scope, scopes
from bnopt.passes import writing
from bnopt.passes.downstream import Downstream
from bnopt.passes.fragment import Changed, Fragment
from bnopt.passes.moves import Move, Replace
from bnopt.passes.outcome import Lower, Outcome
from bnopt.passes.rounding import rounded_behind
from bnopt.passes.sites import list_sites
from bnopt.passes.upstream import Upstream
from bnopt.passes.wording import went, why_not


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done to a model.

    Attributes:
        sites: Every batch norm with its decision, in graph order.
        moves: The edits that the decisions stand for.
        renamed: Values that come to mean something else, and get another name.
        overridable: Graph inputs whose default values are folded in.
    """

    sites: tuple[Site, ...]
    moves: tuple[Move, ...]
    renamed: tuple[ir.Value, ...] = ()
    overridable: tuple[str, ...] = ()


def plan(
    model: ir.Model,
    *,
    keep_overridable: bool = False,
    context: Context | None = None,
    lower: Lower = "keep",
) -> Plan:
    """Decide for every batch norm of `model` what becomes of it.

    Args:
        model: Read only.
        keep_overridable: Refuse what depends on initializers that are graph inputs.
        context: A context of the model, if the caller has one; it says what is overridable.
        lower: How to write batch norms that stay: as they are, as `Mul` and `Add`, or as a
            depthwise `Conv`.
    """
    context = context or Context.of(model, keep_overridable=keep_overridable)
    sites: list[Site] = []
    moves: list[Move] = []
    renamed: list[ir.Value] = []
    overridable: dict[str, None] = {}
    for scope in scopes(model):
        planner = _ScopePlanner(scope, context, lower)
        sites.extend(planner.run())
        moves.extend(planner.outcome.moves())
        renamed.extend(planner.outcome.state.renamed.values())
        overridable.update(planner.overridable)
    return Plan(tuple(sites), tuple(moves), tuple(renamed), tuple(overridable))


class _ScopePlanner:
    def __init__(self, scope: Scope, context: Context, lower: Lower) -> None:
        self._scope = scope
        self._context = context
        units = find_units(in_order(scope.graph), scope, context)
        sites = {
            id(unit)
            for unit in units
            if unit.batch_norms or is_decomposed_batch_norm(unit, context)
        }
        self._by_node = {id(node): unit for unit in units for node in unit.nodes}
        self._pinned = {
            id(unit): refusal
            for unit in units
            if (refusal := rounded_behind(unit, context)) is not None
        }
        surroundings = (scope, context, self._by_node, sites, self._pinned)
        self._upstream = Upstream(*surroundings)
        self._downstream = Downstream(*surroundings)
        self.outcome = Outcome(scope, context, lower, units, sites)
        self._state = self.outcome.state
        self.overridable: dict[str, None] = {}

    def run(self) -> list[Site]:
        outcome = self.outcome
        pending = [unit for unit in outcome.units if id(unit) in outcome.sites][::-1]
        while pending:
            pending.extend(self._decide(pending.pop())[::-1])
        decomposed = {
            id(unit.nodes[-1]): unit
            for unit in outcome.units
            if id(unit) in outcome.sites and not unit.batch_norms
        }
        return list_sites(self._scope, self._context, decomposed, outcome.decisions)

    def _decide(self, unit: Unit) -> list[Unit]:
        """Decide what becomes of a unit; or return the smaller units to decide about instead."""
        if not unit.output.uses() and not unit.output.is_graph_output():
            self.outcome.settle(unit, Kept("unread", f"nothing reads '{unit.output.name}'"))
            return []
        pinned = self._pinned.get(id(unit))
        if pinned is not None:
            self.outcome.settle(unit, Kept(pinned.reason, pinned.message))
            return []
        affine = self._state.affine_of(unit)
        assert affine is not None
        behind = self._attempt(lambda into: self._up(unit, affine, into))
        if isinstance(behind, Fragment) and behind.is_cheap():
            # Nothing ahead can be cheaper by more than a bias, and to ask there reads all weights.
            self._take(unit, behind, behind)
            return []
        ahead = self._attempt(lambda into: self._down(unit, affine, into))
        if self._take(unit, behind, ahead):
            return []
        parts = divided(unit, self._scope, self._context)
        if len(parts) > 1 and self._state.unit(unit) is None:
            return self._divide(unit, parts)
        if not affine.shift.is_zero():
            part_behind = self._attempt(lambda into: self._scale_up(unit, affine, into))
            part_ahead = self._attempt(lambda into: self._scale_down(unit, affine, into))
            if self._take(unit, part_behind, part_ahead):
                return []
        self.outcome.settle(unit, self._kept(unit, affine, why_not(behind, ahead)))
        return []

    def _attempt(self, search: Callable[[Fragment], Refusal | None]) -> Fragment | Refusal:
        into = self._state.child()
        self._upstream.start()
        self._downstream.start()
        refusal = search(into)
        if refusal is not None:
            return refusal
        for target in into.merged_into.values():
            changed = into.unit(target)
            if changed is not None and changed.affine is not None:
                written = self.outcome.written(target, changed)
                if isinstance(written, Refusal):
                    return written
        return into

    def _up(self, unit: Unit, affine: Affine, into: Fragment) -> Refusal | None:
        into.units[id(unit)] = (unit, Changed(None))
        return self._upstream.ask(unit.input, affine, unit.nodes[0], into)

    def _down(self, unit: Unit, affine: Affine, into: Fragment) -> Refusal | None:
        into.units[id(unit)] = (unit, Changed(None))
        return self._downstream.owe(unit.output, affine, into)

    def _scale_up(self, unit: Unit, affine: Affine, into: Fragment) -> Refusal | None:
        """The scale goes upstream, the shift stays."""
        rest = Affine.from_shift(affine.shift)
        into.units[id(unit)] = (unit, Changed(rest))
        scale = affine.without_shift()
        return self._cannot_add(unit, rest) or self._upstream.ask(
            unit.input, scale, unit.nodes[0], into
        )

    def _scale_down(self, unit: Unit, affine: Affine, into: Fragment) -> Refusal | None:
        """`scale * x + shift = scale * (x + shift / scale)`: the scale goes downstream."""
        # not a condition: an Add of the infinite quotient could not be written
        if not affine.scale.hi.all():
            return Refusal("not-carried", "a scale of zero cannot stand behind its shift")
        rest = Affine.from_shift(affine.shift / affine.scale)
        into.units[id(unit)] = (unit, Changed(rest))
        into.renamed[id(unit.output)] = unit.output
        return self._cannot_add(unit, rest) or self._downstream.owe(
            unit.output, affine.without_shift(), into
        )

    def _cannot_add(self, unit: Unit, rest: Affine) -> Refusal | None:
        written = writing.as_mul_add(unit, rest, self._scope, self._context)
        return written if isinstance(written, Refusal) else None

    def _take(self, unit: Unit, behind: Fragment | Refusal, ahead: Fragment | Refusal) -> bool:
        """Carry out the cheaper of two ways, if there is one."""
        ways = [way for way in (behind, ahead) if isinstance(way, Fragment)]
        if not ways:
            return False
        best = min(ways, key=Fragment.cost)
        if best is behind:
            self.outcome.upstream.add(id(unit))
        self.outcome.settle(unit, went(unit, best, upstream=best is behind))
        self.overridable.update({**unit.overridable, **best.overridable})
        for taken in best.hosts.values():
            self.overridable.update(dict.fromkeys(taken.absorption.overridable))
        for target in best.merged_into.values():
            target.overridable.update(unit.overridable)
        best.commit()
        return True

    def _divide(self, unit: Unit, parts: list[Unit]) -> list[Unit]:
        units, sites = self.outcome.units, self.outcome.sites
        units[units.index(unit) : units.index(unit) + 1] = parts
        sites.discard(id(unit))
        for part in parts:
            sites.add(id(part))
            self._by_node.update((id(node), part) for node in part.nodes)
        return parts

    def _kept(self, unit: Unit, affine: Affine, refusal: Refusal) -> Decision:
        kept = Kept(refusal.reason, refusal.message)
        move = self.outcome.lowered(unit, affine)
        if move is None:
            return kept
        if isinstance(move, Refusal):
            return replace(kept, message=f"{kept.message}; not lowered: {move.message}")
        assert isinstance(move, Replace)
        names = " and ".join(step.op_type for step in move.steps)
        return Lowered(names, f"as {names}; not folded: {kept.message}")
