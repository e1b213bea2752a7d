"""Units: affines in a row, each read by the next one only, taken together as one affine.

A batch norm is a unit; so is `Add -> BatchNormalization`, and `Sub -> Mul -> Div -> Add`. A chain
is cut where its scales vary along different axes, because no host could take such a product.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from bnopt.algebra import recognizers
from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Context, Recognized
from bnopt.algebra.recognizers import arithmetic, batch_normalization
from bnopt.graph.scopes import Scope
from bnopt.graph.uses import other_readers


@dataclass(slots=True, eq=False)
class Unit:
    """A chain of affines.

    Attributes:
        nodes: The chain, first to last.
        input: What the first node is applied to.
        affine: All of them, composed.
        overridable: Graph inputs whose default values went into it.
    """

    nodes: list[ir.Node]
    input: ir.Value
    affine: Affine
    overridable: dict[str, None] = field(default_factory=dict[str, None])

    @property
    def output(self) -> ir.Value:
        """What the last node produces."""
        return self.nodes[-1].outputs[0]

    @property
    def batch_norms(self) -> list[ir.Node]:
        """The BatchNormalization nodes in it."""
        return [node for node in self.nodes if batch_normalization.matches(node)]

    @property
    def is_arithmetic(self) -> bool:
        """Whether it consists of Mul, Add and the like already."""
        return all(node.op_type in arithmetic.OPERATORS for node in self.nodes)


def find_units(nodes: list[ir.Node], scope: Scope, context: Context) -> list[Unit]:
    """The units of a scope.

    Args:
        nodes: Those of the scope, in topological order.
        scope: The scope.
        context: What may be looked at.
    """
    units: list[Unit] = []
    ending: dict[int, Unit] = {}
    for node in nodes:
        found = recognizers.recognize(node, scope, context)
        if not isinstance(found, Recognized):
            continue
        unit = ending.get(id(found.input))
        if unit is not None and _follows(unit, found, context):
            del ending[id(found.input)]
            unit.nodes.append(node)
            unit.affine = found.affine.after(unit.affine)
        else:
            unit = Unit([node], found.input, found.affine)
            units.append(unit)
        unit.overridable.update(dict.fromkeys(found.overridable))
        ending[id(node.outputs[0])] = unit
    return units


def divided(unit: Unit, scope: Scope, context: Context) -> list[Unit]:
    """The same chain as several units, each of which ends with a batch norm, but for the last."""
    parts: list[Unit] = []
    current: Unit | None = None
    rest = len(unit.batch_norms)
    for node in unit.nodes:
        found = recognizers.recognize(node, scope, context)
        assert isinstance(found, Recognized)
        if current is None:
            current = Unit([node], found.input, found.affine)
            parts.append(current)
        else:
            current.nodes.append(node)
            current.affine = found.affine.after(current.affine)
        current.overridable.update(dict.fromkeys(found.overridable))
        if batch_normalization.matches(node):
            rest -= 1
            current = None if rest else current
    return parts


def _follows(unit: Unit, found: Recognized, context: Context) -> bool:
    if other_readers(found.input, found.node, context.model) is not None:
        return False
    first = {axis for axis, n in enumerate(unit.affine.scale.shape) if n > 1}
    second = {axis for axis, n in enumerate(found.affine.scale.shape) if n > 1}
    return first <= second or second <= first
