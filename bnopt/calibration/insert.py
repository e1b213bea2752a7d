"""Putting a BatchNormalization node in the place of a formula."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir

from bnopt.algebra.rounding import round_array
from bnopt.calibration.slots import Array
from bnopt.graph.edits import Editor


def insert(
    editor: Editor,
    nodes: Sequence[ir.Node],
    source: ir.Value,
    *,
    axis: int,
    order: Sequence[int],
    gamma: Array,
    beta: Array,
    epsilon: float,
    dtype: np.dtype[Any],
    name: str,
    mean: Array | None = None,
    variance: Array | None = None,
    cast: bool = False,
) -> ir.Node:
    """Replace `nodes`, whose last one gives the result, by a batch norm of `source`.

    A BatchNormalization normalises along axis 1; where the channels are elsewhere, Transposes move
    them there and back.

    Args:
        editor: Of the model.
        nodes: A chain, first to last; all of them go.
        source: What is normalised.
        axis: Its channel axis.
        order: For each axis of the result, the axis of `source` that it is.
        gamma: Scale parameter, [C].
        beta: Shift parameter, [C].
        epsilon: Added to the variance.
        dtype: Of the node's input and of all its parameters.
        name: What to name its parameters after.
        mean: [C]; None for 0.
        variance: [C]; None for 1.
        cast: Whether `source` has another type, and is to be cast first.

    Returns:
        The BatchNormalization node.
    """
    last = nodes[-1]
    channels = gamma.size
    vectors = (
        (gamma, "scale"),
        (beta, "bias"),
        (np.zeros(channels) if mean is None else mean, "mean"),
        (np.ones(channels) if variance is None else variance, "variance"),
    )
    norm = editor.new_node(
        last,
        "BatchNormalization",
        [(ir.tensor(round_array(numbers, dtype)), f"{name}_{base}") for numbers, base in vectors],
        [ir.AttrFloat32("epsilon", epsilon)],
    )
    ahead = [0, axis, *(other for other in range(1, len(order)) if other != axis)]
    behind = [ahead.index(other) for other in order]
    made = [norm]
    if ahead != sorted(ahead):
        made.insert(0, editor.new_node(last, "Transpose", (), [ir.AttrInt64s("perm", ahead)]))
    if cast:
        to = ir.AttrInt64("to", ir.DataType.from_numpy(dtype))
        made.insert(0, editor.new_node(last, "Cast", (), [to]))
    if behind != sorted(behind):
        made.append(editor.new_node(last, "Transpose", (), [ir.AttrInt64s("perm", behind)]))
    editor.replace_chain(nodes, source, made)
    return norm
