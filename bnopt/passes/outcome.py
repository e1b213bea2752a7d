"""What has been decided in a scope, and the edits that it amounts to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Context, Refusal
from bnopt.algebra.units import Unit
from bnopt.findings import Decision, Kept, Lowered, Merged
from bnopt.graph.operators import operand
from bnopt.graph.scopes import Scope, label
from bnopt.graph.uses import describe
from bnopt.passes import writing
from bnopt.passes.fragment import Changed, Fragment, Taken
from bnopt.passes.moves import Move, Remove, Replace, Rewrite

# Reasons for which a batch norm is not even merged with its neighbours.
_LEFT_ALONE = frozenset(("rounded", "unread"))

Lower: TypeAlias = Literal["keep", "mul-add", "depthwise-conv"]


@dataclass(slots=True)
class Outcome:
    """Decisions about the units of a scope.

    Attributes:
        scope: The scope.
        context: What may be looked at.
        lower: How batch norms that stay are to be written.
        units: All units, in topological order.
        sites: Identities of those that are batch norms.
        decisions: By the identity of the node that stands for the batch norm.
        upstream: Identities of units that went upstream: what they read means their output now.
        state: What has been agreed.
    """

    scope: Scope
    context: Context
    lower: Lower
    units: list[Unit]
    sites: set[int]
    decisions: dict[int, Decision] = field(default_factory=dict[int, Decision])
    upstream: set[int] = field(default_factory=set[int])
    state: Fragment = field(default_factory=Fragment)

    def settle(self, unit: Unit, decision: Decision) -> None:
        """Record the decision for every batch norm in a unit; those that stay become one."""
        first, *others = unit.batch_norms or [unit.nodes[-1]]
        self.decisions[id(first)] = decision
        stays = isinstance(decision, Kept) and decision.reason not in _LEFT_ALONE
        if stays or isinstance(decision, Lowered):
            message = f"into the scale and bias of {describe(first)}"
            decision = Merged(label(first), message)
        for node in others:
            self.decisions[id(node)] = decision

    def decision(self, unit: Unit) -> Decision | None:
        """What was decided for a unit; None if it is no batch norm."""
        if id(unit) not in self.sites:
            return None
        return self.decisions[id((unit.batch_norms or [unit.nodes[-1]])[0])]

    def written(self, unit: Unit, changed: Changed) -> Move | Refusal:
        """How a unit that stays is written."""
        assert changed.affine is not None
        return writing.write(
            unit,
            changed.affine,
            from_ahead=changed.from_ahead,
            scope=self.scope,
            context=self.context,
        )

    def lowered(self, unit: Unit, affine: Affine) -> Move | Refusal | None:
        """How a unit that stays is written in the form asked for; None if it need not change."""
        if self.lower == "keep" or (self.lower == "mul-add" and unit.is_arithmetic):
            return None
        make = writing.as_mul_add if self.lower == "mul-add" else writing.as_depthwise_conv
        return make(unit, affine, self.scope, self.context)

    def moves(self) -> list[Move]:
        """The edits, in an order in which they can be carried out."""
        found: list[Move] = [
            Rewrite(node, operands) for node, operands in self.state.carriers.values()
        ]
        found.extend(Rewrite(node, (new,)) for node, _, new in self.state.constants.values())
        for unit in self.units:
            move = self._move(unit)
            if move is not None:
                found.append(move)
        found.extend(_rewrite(taken) for taken in self.state.hosts.values())
        return found

    def _move(self, unit: Unit) -> Move | None:
        changed = self.state.unit(unit)
        if changed is not None and changed.affine is None:
            # What was asked of the output later on has changed its meaning once more.
            same = id(unit) in self.upstream and id(unit.output) not in self.state.renamed
            return Remove(tuple(unit.nodes), unit.input, takes_name=same)
        decision = self.decision(unit)
        if isinstance(decision, Kept) and decision.reason in _LEFT_ALONE:
            return None
        now = changed or Changed(unit.affine)
        assert now.affine is not None
        if isinstance(decision, Lowered):
            move = self.lowered(unit, now.affine)
            if move is not None and not isinstance(move, Refusal):
                return move
        if changed is None and (decision is None or len(unit.nodes) == 1):
            return None
        move = self.written(unit, now)
        longer = isinstance(move, Replace) and len(move.steps) >= len(unit.nodes)
        if isinstance(move, Refusal) or (changed is None and longer):
            # A changed unit was tried before it was agreed; an unchanged one may stay as it is.
            assert changed is None
            return None
        return move


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
