"""Applying a plan: mechanical, in place, in the plan's order."""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from bnopt.algebra.base import NewOperand
from bnopt.graph.edits import Editor
from bnopt.graph.ir_version import raise_ir_version
from bnopt.passes.moves import Keep, Move, Remove, Rewrite, Step
from bnopt.passes.plan import Plan
from bnopt.passes.transposes import drop_pairs


def apply(model: ir.Model, plan: Plan) -> tuple[str, ...]:
    """Carry out `plan` on the very `model` it was made for.

    Returns:
        Notes for the report: shared weights that were copied, inputs that were removed.
    """
    if not plan.moves:
        return ()
    editor = Editor(model)
    notes = list(raise_ir_version(model))
    for move in plan.moves:
        _apply_move(editor, move)
    for value in plan.renamed:
        editor.rename(value)
    removed = [move.input for move in plan.moves if isinstance(move, Remove)]
    if pairs := drop_pairs(editor, removed):
        notes.append(f"pairs of Transposes for a batch norm alone, removed: {pairs}")
    copied = [m for move in plan.moves if isinstance(move, Rewrite) for m in move.copied]
    if copied:
        total = sum(nbytes for _, nbytes in copied)
        names = ", ".join(dict.fromkeys(f"'{name}'" for name, _ in copied))
        notes.append(f"shared constants copied ({total} bytes more at most): {names}")
    if editor.removed_inputs:
        names = ", ".join(f"'{name}'" for name in editor.removed_inputs)
        notes.append(f"inputs with default values that were folded in and removed: {names}")
    remaining = {value.name for value in model.graph.inputs}
    frozen = [f"'{name}'" for name in plan.overridable if name in remaining]
    if frozen:
        notes.append(
            "inputs that other nodes still read, but whose default values are folded in where a "
            f"batch norm read them: {', '.join(frozen)}"
        )
    return tuple(notes)


def _apply_move(editor: Editor, move: Move) -> None:
    if isinstance(move, Rewrite):
        _set_operands(editor, move.node, move.operands)
        for name in move.drop_attributes:
            move.node.attributes.pop(name, None)
        for new in move.set_attributes:
            node = new.node or move.node
            node.attributes[new.name] = ir.AttrInt64(new.name, new.value)
        if move.add_after is not None:
            editor.add_after(move.node, move.add_after.build(), move.add_after.base)
    elif isinstance(move, Remove):
        editor.remove_chain(move.nodes, move.input, takes_name=move.takes_name)
    elif isinstance(move, Keep):
        _set_operands(editor, move.batch_norm, move.operands)
        editor.keep_one(move.nodes, move.input, move.batch_norm)
    else:
        made = [_make(editor, move.nodes[-1], step) for step in move.steps]
        editor.replace_chain(move.nodes, move.input, made)


def _set_operands(editor: Editor, node: ir.Node, operands: Iterable[NewOperand]) -> None:
    for new in operands:
        editor.set_operand(new.node or node, new.index, new.build(), new.base)


def _make(editor: Editor, anchor: ir.Node, step: Step) -> ir.Node:
    constants = [(constant.build(), constant.base) for constant in step.constants]
    attributes = [
        ir.AttrInt64(name, value) if isinstance(value, int) else ir.AttrInt64s(name, value)
        for name, value in step.attributes
    ]
    return editor.new_node(anchor, step.op_type, constants, attributes)
