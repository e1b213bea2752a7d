"""Dropout in training mode: a model exported in training mode has it too, and it makes noise.

A Dropout with `training_mode` true zeroes numbers at random, so what stands behind it has other
moments than in inference, and no two runs agree. In inference mode it is the identity. Before
operator set 12 that is the only mode it has, but for `is_test=0` before 7.
"""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.graph.edits import Editor
from bnopt.graph.operators import get_int, is_standard, operand, since_version
from bnopt.graph.scopes import label, scopes

_TRAINING = 2


def switch_off(model: ir.Model, context: Context) -> list[str]:
    """Put every Dropout that is in training mode into inference mode, in place.

    One whose mode depends on an input is left: the caller says what it is.

    Args:
        model: Edited.
        context: Of `model`; no longer valid afterwards.

    Returns:
        Their names.
    """
    editor = Editor(model)
    names: list[str] = []
    for scope in scopes(model):
        for node in scope.graph:
            if node.op_type != "Dropout" or not is_standard(node, model):
                continue
            version = since_version("Dropout", scope.opset) or 0
            mode = context.constants.resolve(operand(node, _TRAINING))
            if version >= 12 and mode is not None and bool(mode.array().reshape(-1)[:1].any()):
                value = node.inputs[_TRAINING]
                node.resize_inputs(_TRAINING)
                editor.drop_unread([value] if value is not None else [])
            elif version < 7 and get_int(node, "is_test", 0) == 0:
                node.attributes["is_test"] = ir.AttrInt64("is_test", 1)
            else:
                continue
            names.append(label(node))
    return names
