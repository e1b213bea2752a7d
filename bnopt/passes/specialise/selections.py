"""A `Where` whose condition is known and uniform is its live operand.

Exact when the output has the shape of the live operand: condition and dead operand must broadcast
to it, so each of their dimensions, counted from the right, is 1 or the live operand's, which must
be known. Both operands are of one type by the operator's specification (Where-9, -16).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir

from bnopt.graph.constants import Constant, Constants
from bnopt.graph.operators import is_standard, operand
from bnopt.graph.scopes import label, scopes
from bnopt.graph.types import Types
from bnopt.passes.specialise.dismantle import drop_dead
from bnopt.passes.specialise.naming import NameCounts, rename

_Dims = tuple[int | None, ...]


def settle_selections(model: ir.Model, choose: Callable[[Constant], bool]) -> tuple[str, ...]:
    """Replace each `Where` of known condition that `choose` agrees to, in place.

    Returns:
        A label per `Where` that is gone.
    """
    types = Types(model)
    constants = Constants(model, types)
    found: list[tuple[ir.Node, int]] = []
    for scope in scopes(model):
        for node in scope.graph:
            if node.op_type == "Where" and is_standard(node, model):
                condition = constants.resolve(operand(node, 0))
                if condition is not None and choose(condition):
                    live = _live(node, condition, types)
                    found += [] if live is None else [(node, live)]
    names = NameCounts(model)
    for node, live in found:
        _replace(node, live, names)
    return tuple(label(node) for node, _ in found)


def _live(node: ir.Node, condition: Constant, types: Types) -> int | None:
    array = condition.array()
    if array.dtype != np.bool_ or array.size == 0 or array.min() != array.max():
        return None
    index = 1 if array.flat[0] else 2
    live, dead = operand(node, index), operand(node, 3 - index)
    if live is None or dead is None:
        return None
    shape, other = types.of(live).dims, types.of(dead).dims
    fits = _broadcasts_to(condition.shape, shape) and _broadcasts_to(other, shape)
    return index if fits else None


def _broadcasts_to(dims: _Dims | None, shape: _Dims | None) -> bool:
    if dims is None or shape is None or len(dims) > len(shape):
        return False
    pairs = zip(reversed(dims), reversed(shape), strict=False)
    return all(dim == 1 or (dim is not None and dim == size) for dim, size in pairs)


def _replace(node: ir.Node, live: int, names: NameCounts) -> None:
    old, new = node.outputs[0], node.inputs[live]
    graph = node.graph
    assert graph is not None
    assert new is not None
    loose = [value for value in node.inputs if value is not None]
    if old.is_graph_output():
        # The live operand may have a name of its own to keep.
        copy = ir.Node("", "Identity", inputs=[new])
        graph.insert_before(node, copy)
        new, name = copy.outputs[0], old.name or ""
        new.type, new.shape = old.type, old.shape
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        old.name = None
        rename(new, name)
    else:
        old.replace_all_uses_with(new)
        names.forget_name(old.name)
    names.forget_name(node.name)
    graph.remove(node, safe=True)
    drop_dead(loose, names)
