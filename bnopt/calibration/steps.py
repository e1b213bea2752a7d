"""Steps that keep a tensor an affine of x, once the moments of x are given as numbers.

    x -> [Cast] -> Transpose -> Mul(., a) -> Add(., b)

Add, Sub, Mul and Div take one such tensor, and moments or constants; Transpose moves it. A Cast
that comes before all arithmetic stands for a Cast of x; any other would round in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx_ir as ir


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A value that is such an affine.

    Attributes:
        value: The value.
        source: The step before; None for x itself.
        order: The axes of x in the order in which the value has them.
        is_moved_only: Whether there is no arithmetic between x and the value.
        is_cast: Whether x was cast on the way.
        takes_moments: Whether the node of the value reads a moment.
    """

    value: ir.Value
    source: Step | None
    order: tuple[int, ...]
    is_moved_only: bool
    is_cast: bool
    takes_moments: bool


def first_step(value: ir.Value, rank: int) -> Step:
    """The value x of a rank."""
    return Step(value, None, tuple(range(rank)), True, False, False)


def next_step(
    node: ir.Node,
    operands: list[ir.Value],
    steps: Mapping[int, Step],
    moments: Collection[int],
) -> Step | None:
    """What a node makes of an affine of x, if it is one again.

    Args:
        node: The node.
        operands: Those of its inputs that are no constants.
        steps: By the identity of the value.
        moments: The identities of the values that are computed from moments alone.
    """
    data = [value for value in operands if id(value) not in moments]
    if len(data) != 1 or id(data[0]) not in steps:
        return None
    one, value = steps[id(data[0])], node.outputs[0]
    if node.op_type in ("Add", "Sub", "Mul", "Neg") or (
        node.op_type == "Div"
        and node.inputs[0] is data[0]  # not a condition: no quotient by x looks like an affine
    ):
        return Step(value, one, one.order, False, one.is_cast, len(operands) > 1)
    if node.op_type == "Identity":
        return Step(value, one, one.order, one.is_moved_only, one.is_cast, False)
    if node.op_type == "Cast" and one.is_moved_only:
        return Step(value, one, one.order, True, True, False)
    if node.op_type == "Transpose":
        perm = node.attributes.get("perm")
        moved = range(len(one.order))[::-1] if perm is None else perm.as_ints()
        if sorted(moved) == list(range(len(one.order))):
            order = tuple(one.order[axis] for axis in moved)
            return Step(value, one, order, one.is_moved_only, one.is_cast, False)
    return None


def last_of(found: Iterable[Step]) -> list[Step]:
    """Of some steps, those that take a moment and that no other one that does follows."""
    last = {id(one): one for one in found if one.takes_moments}
    for one in list(last.values()):
        source = one.source
        while source is not None:
            last.pop(id(source), None)
            source = source.source
    return list(last.values())
