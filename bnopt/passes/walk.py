"""What searches upstream and downstream have in common."""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Context, Refusal
from bnopt.algebra.units import Unit
from bnopt.graph.scopes import Scope
from bnopt.graph.uses import describe
from bnopt.passes.fragment import Changed, Fragment

# A network has few carriers between two hosts; longer walks only cost time.
MAX_DEPTH = 32
# Branches that part and meet again could be searched once for every way through them.
MAX_STEPS = 1000


class Walk:
    """Searches in one scope.

    Args:
        scope: The scope.
        context: What may be looked at.
        units: The units of the scope, by the identity of each of their nodes.
        sites: Identities of the units that are batch norms; they are merged with, not dissolved.
        pinned: Why a unit must stay as it is, by its identity.
    """

    def __init__(
        self,
        scope: Scope,
        context: Context,
        units: dict[int, Unit],
        sites: set[int],
        pinned: dict[int, Refusal],
    ) -> None:
        self._scope = scope
        self._context = context
        self._units = units
        self._sites = sites
        self._pinned = pinned
        self._steps = 0

    def start(self) -> None:
        """Begin another search."""
        self._steps = 0

    def too_far(self, value: ir.Value, depth: int) -> Refusal | None:
        """Count a step; refuse it if the search has gone on for long enough."""
        self._steps += 1
        if depth <= MAX_DEPTH and self._steps <= MAX_STEPS:
            return None
        return Refusal("not-carried", f"'{value.name}' is too far away")

    def _merge(
        self, unit: Unit, inner: Affine, affine: Affine, changed: Changed, into: Fragment
    ) -> Refusal | None:
        """Into a batch norm that stays, or may yet go itself."""
        axes = [
            {axis for axis in range(part.rank) if part.length(axis) > 1} for part in (inner, affine)
        ]
        if not (axes[0] <= axes[1] or axes[1] <= axes[0]):
            where = f"{describe(unit.nodes[0])} works along another axis"
            return Refusal("channel-axis", where)
        assert changed.affine is not None
        into.units[id(unit)] = (unit, changed)
        into.merged_into[id(unit)] = unit
        return finite(changed.affine, unit)

    def consult(self, carrier: ir.Node, into: Fragment) -> Refusal | None:
        """Take note of default values that decide how a carrier moves its data."""
        for value in carrier.inputs:
            constant = self._context.constants.resolve(value)
            if constant is None or not constant.overridable:
                continue
            if self._context.keep_overridable:
                where = f"{describe(carrier)} reads '{constant.overridable[0]}', a graph input"
                return Refusal("overridable", where)
            into.overridable.update(dict.fromkeys(constant.overridable))
        return None


def finite(affine: Affine, unit: Unit) -> Refusal | None:
    """Refuse an affine that overflows float64."""
    if affine.is_finite():
        return None
    return Refusal("overflow", f"the affine at {describe(unit.nodes[0])} overflows float64")


def is_identity(affine: Affine) -> bool:
    """Whether an affine changes nothing."""
    return is_shift(affine) and affine.shift.is_zero()


def is_shift(affine: Affine) -> bool:
    """Whether an affine only adds."""
    return affine.scale.is_one()
