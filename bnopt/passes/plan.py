"""Planning: for every batch norm in a model, a decision and its reason. Nothing is changed.

Batch norms are taken in topological order. Each may go upstream into the hosts behind it or
downstream into those ahead of it; of the ways that are exact the cheapest is taken: fewest nodes
left, then fewest bytes more, then upstream. Where only its scale can go, an Add stays. What cannot
go at all is merged with its neighbours or kept with a reason.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Context, Recognized, Refusal
from bnopt.algebra.recognizers import batch_normalization, global_normalization
from bnopt.findings import Decision, Folded, Form, Kept, Lowered, Merged, Site
from bnopt.graph.operators import operand
from bnopt.graph.order import in_order
from bnopt.graph.scopes import Scope, label, scopes
from bnopt.graph.uses import describe
from bnopt.passes import writing
from bnopt.passes.decoys import is_decomposed_batch_norm
from bnopt.passes.fragment import Changed, Fragment, Taken
from bnopt.passes.moves import Keep, Move, Remove, Replace, Rewrite
from bnopt.passes.obstacles import is_known
from bnopt.passes.runtime_statistics import runtime_statistics
from bnopt.passes.search import Search
from bnopt.passes.units import Unit, divided, find_units

Lower: TypeAlias = Literal["keep", "mul-add", "depthwise-conv"]

# Reasons that a host or an operator ahead gives, which say more than what stands behind.
_TELLING = frozenset(
    "data-type dynamic-weight non-finite overflow overridable padding quantized-weight "
    "shape-mismatch sign underflow".split()
)


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
        moves.extend(planner.moves())
        renamed.extend(planner.state.renamed.values())
        overridable.update(planner.overridable)
    return Plan(tuple(sites), tuple(moves), tuple(renamed), tuple(overridable))


class _ScopePlanner:
    def __init__(self, scope: Scope, context: Context, lower: Lower) -> None:
        self._scope = scope
        self._context = context
        self._lower = lower
        self._nodes = in_order(scope.graph)
        self._units = find_units(self._nodes, scope, context)
        self._sites = {
            id(unit)
            for unit in self._units
            if unit.batch_norms or is_decomposed_batch_norm(unit, context)
        }
        self._by_node = {id(node): unit for unit in self._units for node in unit.nodes}
        self._search = Search(scope, context, self._by_node, self._sites)
        self._decisions: dict[int, Decision] = {}
        self._upstream: set[int] = set()
        self._lowered: dict[int, Move] = {}
        self.state = Fragment()
        self.overridable: dict[str, None] = {}

    def run(self) -> list[Site]:
        pending = [unit for unit in self._units if id(unit) in self._sites][::-1]
        while pending:
            unit = pending.pop()
            parts = self._decide(unit)
            pending.extend(parts[::-1])
        return self._report()

    # Deciding.

    def _decide(self, unit: Unit) -> list[Unit]:
        """Decide what becomes of a unit; or return the smaller units to decide about instead."""
        if not unit.output.uses() and not unit.output.is_graph_output():
            self._settle(unit, Kept("unread", f"nothing reads '{unit.output.name}'"))
            return []
        affine = self.state.affine_of(unit)
        assert affine is not None
        behind = self._attempt(unit, lambda into: self._up(unit, affine, into))
        ahead = self._attempt(unit, lambda into: self._down(unit, affine, into))
        if self._take(unit, behind, ahead):
            return []
        parts = divided(unit, self._scope, self._context)
        if len(parts) > 1 and self.state.unit(unit) is None:
            return self._divide(unit, parts)
        if not affine.shift.is_zero():
            part_behind = self._attempt(unit, lambda into: self._scale_up(unit, affine, into))
            part_ahead = self._attempt(unit, lambda into: self._scale_down(unit, affine, into))
            if self._take(unit, part_behind, part_ahead):
                return []
        self._settle(unit, self._kept(unit, affine, _reason(behind, ahead)))
        return []

    def _attempt(
        self, unit: Unit, search: Callable[[Fragment], Refusal | None]
    ) -> Fragment | Refusal:
        into = self.state.child()
        refusal = search(into)
        if refusal is not None:
            return refusal
        for target in into.merged_into.values():
            changed = into.unit(target)
            if changed is not None and changed.affine is not None:
                written = self._write(target, changed)
                if isinstance(written, Refusal):
                    return written
        return into

    def _up(self, unit: Unit, affine: Affine, into: Fragment) -> Refusal | None:
        into.units[id(unit)] = (unit, Changed(None))
        return self._search.upstream(unit.input, affine, unit.nodes[0], into)

    def _down(self, unit: Unit, affine: Affine, into: Fragment) -> Refusal | None:
        into.units[id(unit)] = (unit, Changed(None))
        return self._search.downstream(unit.output, affine, into)

    def _scale_up(self, unit: Unit, affine: Affine, into: Fragment) -> Refusal | None:
        """The scale goes upstream, the shift stays."""
        rest = Affine.from_shift(affine.shift)
        into.units[id(unit)] = (unit, Changed(rest))
        scale = affine.without_shift()
        return self._search.upstream(unit.input, scale, unit.nodes[0], into) or self._can_add(
            unit, rest
        )

    def _scale_down(self, unit: Unit, affine: Affine, into: Fragment) -> Refusal | None:
        """`scale * x + shift = scale * (x + shift / scale)`: the scale goes downstream."""
        if not affine.scale.hi.all():
            return Refusal("not-carried", "a scale of zero cannot stand behind its shift")
        rest = Affine.from_shift(affine.shift / affine.scale)
        into.units[id(unit)] = (unit, Changed(rest))
        into.renamed[id(unit.output)] = unit.output
        return self._search.downstream(unit.output, affine.without_shift(), into) or self._can_add(
            unit, rest
        )

    def _can_add(self, unit: Unit, rest: Affine) -> Refusal | None:
        written = writing.as_mul_add(unit, rest, self._scope, self._context)
        return written if isinstance(written, Refusal) else None

    def _take(self, unit: Unit, behind: Fragment | Refusal, ahead: Fragment | Refusal) -> bool:
        """Carry out the cheaper of two ways, if there is one."""
        ways = [way for way in (behind, ahead) if isinstance(way, Fragment)]
        if not ways:
            return False
        best = min(ways, key=Fragment.cost)
        if best is behind:
            self._upstream.add(id(unit))
        self._settle(unit, self._went(unit, best, upstream=best is behind))
        self.overridable.update(unit.overridable)
        for taken in best.hosts.values():
            self.overridable.update(dict.fromkeys(taken.absorption.overridable))
        for target in best.merged_into.values():
            target.overridable.update(unit.overridable)
        best.commit()
        return True

    def _divide(self, unit: Unit, parts: list[Unit]) -> list[Unit]:
        self._units[self._units.index(unit) : self._units.index(unit) + 1] = parts
        self._sites.discard(id(unit))
        for part in parts:
            self._sites.add(id(part))
            self._by_node.update((id(node), part) for node in part.nodes)
        return parts

    def _kept(self, unit: Unit, affine: Affine, refusal: Refusal) -> Decision:
        kept = Kept(refusal.reason, refusal.message)
        if self._lower == "keep":
            return kept
        if self._lower == "mul-add":
            move = writing.as_mul_add(unit, affine, self._scope, self._context)
        else:
            move = writing.as_depthwise_conv(unit, affine, self._scope, self._context)
        if isinstance(move, Refusal):
            return replace(kept, message=f"{kept.message}; not lowered: {move.message}")
        assert isinstance(move, Replace)
        names = " and ".join(step.op_type for step in move.steps)
        return Lowered(names, f"as {names}; not folded: {kept.message}")

    def _went(self, unit: Unit, way: Fragment, *, upstream: bool) -> Decision:
        places: list[str] = []
        first: str | None = None
        for taken in way.hosts.values():
            parts = " and ".join(taken.absorption.parts)
            places.append(f"the {parts} of {describe(taken.request.node)}")
            first = first or label(taken.request.node)
        for target in way.merged_into.values():
            node = (target.batch_norms or target.nodes)[0]
            places.append(describe(node))
        changed = way.unit(unit)
        message = "into " + ", ".join(places[:3])
        if len(places) > 3:
            message += f" and {len(places) - 3} more"
        if not upstream:
            message += " ahead"
        if changed is not None and changed.affine is not None:
            message += "; the shift stays as an Add"
        if first is None and way.merged_into:
            target = next(iter(way.merged_into.values()))
            return Merged(label((target.batch_norms or target.nodes)[0]), message)
        return Folded(first or label(unit.nodes[0]), message)

    def _settle(self, unit: Unit, decision: Decision) -> None:
        """Record the decision for every batch norm in a unit."""
        nodes = unit.batch_norms or [unit.nodes[-1]]
        for node in nodes:
            self._decisions[id(node)] = decision
        if isinstance(decision, Kept) and decision.reason != "unread":
            for node in nodes[1:]:
                message = f"into the scale and bias of {describe(nodes[0])}"
                self._decisions[id(node)] = Merged(label(nodes[0]), message)

    # Reporting.

    def _report(self) -> list[Site]:
        ends = {
            id(unit.nodes[-1]): unit
            for unit in self._units
            if id(unit) in self._sites and not unit.batch_norms
        }
        found: list[Site] = []
        for node in self._scope.graph:
            if batch_normalization.matches(node):
                found.append(self._batch_norm(node))
            elif (computed := runtime_statistics(node, self._context)) is not None:
                form, refusal = computed
                kept = Kept(refusal.reason, refusal.message)
                found.append(self._site(node, form, None, kept))
            elif node.op_type == global_normalization.OPERATOR and id(node) not in self._by_node:
                refused = global_normalization.recognize(node, self._context)
                assert isinstance(refused, Refusal)
                kept = Kept(refused.reason, refused.message)
                found.append(self._site(node, "decomposed", None, kept))
            elif id(node) in ends:
                unit = ends[id(node)]
                channels = max(unit.affine.scale.shape)
                found.append(self._site(node, "decomposed", channels, self._decisions[id(node)]))
        return found

    def _batch_norm(self, node: ir.Node) -> Site:
        scale = self._context.constants.resolve(operand(node, 1))
        channels = scale.shape[0] if scale is not None and len(scale.shape) == 1 else None
        found = batch_normalization.recognize(node, self._scope, self._context)
        if isinstance(found, Recognized):
            return self._site(node, "batch_normalization", channels, self._decisions[id(node)])
        if found.reason == "unknown-rank":
            # What makes the rank unknown says more.
            found = self._unknown_operator(node) or found
        form: Form = "batch_normalization"
        if found.reason == "batch-statistics":
            form = "batch_statistics"
        return self._site(node, form, channels, Kept(found.reason, found.message))

    def _unknown_operator(self, node: ir.Node) -> Refusal | None:
        """The first operator upstream, by first inputs, whose output is not known to onnx."""
        value = operand(node, 0)
        for _ in range(16):
            producer = None if value is None else value.producer()
            if producer is None:
                return None
            if not is_known(producer, self._scope, self._context):
                return Refusal("unknown-operator", f"{describe(producer)} is not an ONNX operator")
            value = operand(producer, 0)
        return None

    def _site(self, node: ir.Node, form: Form, channels: int | None, decision: Decision) -> Site:
        place = self._scope
        return Site(place.site_id(node), label(node), form, place.path, channels, decision)

    # Writing.

    def moves(self) -> list[Move]:
        """The edits, in an order in which they can be carried out."""
        found: list[Move] = []
        for node, operands in self.state.carriers.values():
            found.append(Rewrite(node, operands))
        for node, _, new in self.state.constants.values():
            found.append(Rewrite(node, (new,)))
        for unit in self._units:
            move = self._unit_move(unit)
            if move is not None:
                found.append(move)
        found.extend(_rewrite(taken) for taken in self.state.hosts.values())
        return found

    def _unit_move(self, unit: Unit) -> Move | None:
        changed = self.state.unit(unit)
        if changed is not None and changed.affine is None:
            takes_name = id(unit) in self._upstream
            return Remove(tuple(unit.nodes), unit.input, takes_name)
        decision = self._decisions.get(id(unit.nodes[-1])) if id(unit) in self._sites else None
        idle = decision is None or len(unit.nodes) == 1
        if changed is None and idle and not isinstance(decision, Lowered):
            return None
        if isinstance(decision, Kept) and decision.reason == "unread":
            return None
        now = changed or Changed(unit.affine)
        assert now.affine is not None
        if isinstance(decision, Lowered) or any(
            isinstance(self._decisions.get(id(node)), Lowered) for node in unit.nodes
        ):
            make = writing.as_mul_add if self._lower == "mul-add" else writing.as_depthwise_conv
            move = make(unit, now.affine, self._scope, self._context)
        else:
            move = self._write(unit, now)
        if isinstance(move, Refusal):
            # An unchanged chain may stay as it is; a changed one was tried before it was agreed.
            assert changed is None
            return None
        if changed is None and isinstance(move, Replace) and len(move.steps) >= len(unit.nodes):
            return None
        if changed is None and isinstance(move, Keep) and len(unit.nodes) == 1:
            return None
        return move

    def _write(self, unit: Unit, changed: Changed) -> Move | Refusal:
        assert changed.affine is not None
        return writing.write(
            unit,
            changed.affine,
            from_ahead=changed.from_ahead,
            scope=self._scope,
            context=self._context,
        )


def _rewrite(taken: Taken) -> Rewrite:
    node, absorption = taken.request.node, taken.absorption
    copied: list[tuple[str, int]] = []
    for new in absorption.operands:
        old = operand(new.node or node, new.index)
        if old is not None and len(old.uses()) > 1:
            copied.append((old.name or "", new.nbytes))
    return Rewrite(
        node,
        absorption.operands,
        absorption.drop_attributes,
        absorption.set_attributes,
        absorption.add_after,
        tuple(copied),
    )


def _reason(behind: Fragment | Refusal, ahead: Fragment | Refusal) -> Refusal:
    assert isinstance(behind, Refusal)
    assert isinstance(ahead, Refusal)
    if ahead.reason in _TELLING and behind.reason not in _TELLING:
        return Refusal(ahead.reason, f"{ahead.message}; behind it {behind.message}")
    return Refusal(behind.reason, f"{behind.message}; ahead of it {ahead.message}")
