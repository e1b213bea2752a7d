"""Two Transposes that stood around a batch norm, and undo each other once it is gone.

BatchNormalization wants its channels in axis 1, so exporters of channels-last frameworks move them
there and back for it alone.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx_ir as ir

from bnopt.graph.edits import Editor


def drop_pairs(editor: Editor, values: Iterable[ir.Value]) -> int:
    """Remove Transposes that give back what they were given, in place.

    Exact where the second permutation is the inverse of the first and nobody else reads what stands
    between them.

    Args:
        editor: Of the model.
        values: What removed batch norms read.

    Returns:
        How many pairs went.
    """
    count = 0
    for value in values:
        between = editor.current(value)
        first, readers = between.producer(), [use.node for use in between.uses()]
        if first is None or len(readers) != 1 or between.is_graph_output():
            continue
        second: ir.Node = readers[0]
        if second.graph is not first.graph or second.outputs[0].is_graph_output():
            continue
        there, back = _permutation(first), _permutation(second)
        if there and back and [there[axis] for axis in back] == sorted(there):
            source = first.inputs[0]
            assert source is not None
            editor.remove_chain([first, second], source, takes_name=False)
            count += 1
    return count


def _permutation(node: ir.Node) -> list[int]:
    """How a Transpose permutes axes; empty for other nodes, and where nobody says."""
    if node.op_type != "Transpose" or node.domain not in ("", "ai.onnx"):
        return []
    perm = node.attributes.get("perm")
    # A function may leave it to its caller.
    return [] if perm is None or perm.is_ref() else list(perm.as_ints())
