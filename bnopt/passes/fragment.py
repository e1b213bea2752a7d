"""What a plan would change so far: an overlay over the model, which itself stays as it is.

A search works on a child of the state and hands it over only if it succeeds, so a branch that fails
halfway leaves no trace. Affines that reach one host one after the other compose: what comes from
behind is applied after what has come from behind before; what comes from ahead is applied first.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import onnx_ir as ir

from bnopt.algebra import hosts
from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Absorption, Context, NewOperand, Refusal, Request
from bnopt.algebra.units import Unit
from bnopt.graph.operators import operand
from bnopt.graph.scopes import Scope

# What new biases may add: far less than a copied weight.
SMALL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Taken:
    """What a host has been asked for, and how it does it."""

    request: Request
    absorption: Absorption


@dataclass(frozen=True, slots=True)
class Changed:
    """What became of a unit: removed, or another affine in its place.

    Attributes:
        affine: What stands in its place; None if it is removed.
        from_ahead: Whether affines from ahead have gone into it.
    """

    affine: Affine | None
    from_ahead: bool = False


@dataclass(slots=True)
class Fragment:
    """Changes on top of those of `parent`.

    Attributes:
        hosts: By the identity of the host.
        constants: Constant operands of carriers, by node and index, and what is applied to them.
        carriers: New operands of carriers, by the identity of the node.
        units: By the identity of the unit.
        renamed: Values that change their meaning, by identity.
        merged_into: Units that stay and take something in, by identity.
        overridable: Graph inputs whose default values decide how a carrier works.
    """

    parent: Fragment | None = None
    hosts: dict[int, Taken] = field(default_factory=dict[int, Taken])
    constants: dict[tuple[int, int], tuple[ir.Node, Affine, NewOperand]] = field(
        default_factory=dict[tuple[int, int], tuple[ir.Node, Affine, NewOperand]]
    )
    carriers: dict[int, tuple[ir.Node, tuple[NewOperand, ...]]] = field(
        default_factory=dict[int, tuple[ir.Node, tuple[NewOperand, ...]]]
    )
    units: dict[int, tuple[Unit, Changed]] = field(default_factory=dict[int, tuple[Unit, Changed]])
    renamed: dict[int, ir.Value] = field(default_factory=dict[int, ir.Value])
    merged_into: dict[int, Unit] = field(default_factory=dict[int, Unit])
    overridable: dict[str, None] = field(default_factory=dict[str, None])

    def child(self) -> Fragment:
        """An empty fragment on top of this one."""
        return Fragment(self)

    def commit(self) -> None:
        """Hand everything over to the parent."""
        parent = self.parent
        assert parent is not None
        parent.hosts.update(self.hosts)
        parent.constants.update(self.constants)
        parent.carriers.update(self.carriers)
        parent.units.update(self.units)
        parent.renamed.update(self.renamed)
        parent.merged_into.update(self.merged_into)
        parent.overridable.update(self.overridable)

    def host(self, node: ir.Node) -> Taken | None:
        """What has been asked of a host so far."""
        found = self.hosts.get(id(node))
        return found if found or self.parent is None else self.parent.host(node)

    def unit(self, unit: Unit) -> Changed | None:
        """What became of a unit so far; None for nothing."""
        found = self.units.get(id(unit))
        if found is not None:
            return found[1]
        return None if self.parent is None else self.parent.unit(unit)

    def affine_of(self, unit: Unit) -> Affine | None:
        """The affine that a unit is by now; None if it is removed."""
        changed = self.unit(unit)
        return unit.affine if changed is None else changed.affine

    def carrier(self, node: ir.Node) -> bool:
        """Whether a carrier has new operands already."""
        return id(node) in self.carriers or (self.parent is not None and self.parent.carrier(node))

    def constant(self, node: ir.Node, index: int) -> Affine | None:
        """What is applied to a constant operand of a carrier so far."""
        found = self.constants.get((id(node), index))
        if found is not None:
            return found[1]
        return None if self.parent is None else self.parent.constant(node, index)

    def ask(
        self,
        node: ir.Node,
        scope: Scope,
        context: Context,
        *,
        after: Affine | None = None,
        before: Affine | None = None,
        data_index: int = 0,
    ) -> Refusal | None:
        """Ask a host for one more affine, on top of what it has been asked for."""
        taken = self.host(node)
        old = taken.request if taken else Request(node, None, None, scope, context, data_index)
        if after is not None:
            new = replace(old, after=after if old.after is None else after.after(old.after))
        elif before is not None:
            first = before if old.before is None else old.before.after(before)
            new = replace(old, before=first, data_index=data_index)
        else:
            new = old
        answer = hosts.absorb(new)
        if isinstance(answer, Refusal):
            return answer
        self.hosts[id(node)] = Taken(new, answer)
        return None

    def is_cheap(self) -> bool:
        """Whether no node is left of what is removed, and no weight is copied."""
        nodes, size = self.cost()
        return nodes < 0 and size <= SMALL_BYTES

    def cost(self) -> tuple[int, int]:
        """(Nodes, bytes) that this fragment adds to its parent."""
        nodes = size = 0
        for taken in self.hosts.values():
            absorption = taken.absorption
            old = None if self.parent is None else self.parent.host(taken.request.node)
            nodes += absorption.add_after is not None
            nodes -= old is not None and old.absorption.add_after is not None
            size += sum(growth(taken.request.node, new) for new in absorption.operands)
        for _, changed in self.units.values():
            nodes -= changed.affine is None
        return nodes, size


def growth(node: ir.Node, new: NewOperand) -> int:
    """How many bytes a new operand adds: all of them unless it takes the place of the old one."""
    old = operand(new.node or node, new.index)
    replaced = old is not None and len(old.uses()) == 1
    return 0 if replaced else new.nbytes
