"""Division of whole numbers, which tf2onnx rounds towards zero and TensorFlow downwards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from bnopt.frontends.tensorflow import library

_OLDEST = 10
"""The operator set that brought Mod."""


def floor_mod(ctx: Any, node: Any, *_: object) -> None:
    """`FloorMod`, whose result has the sign of the divisor, as that of ONNX's Mod.

    Args:
        ctx: tf2onnx's graph.
        node: Inputs x and y; others than whole numbers are left to tf2onnx.

    Raises:
        ValueError: The operator set has no Mod.
    """
    if _is_whole(ctx, node):
        node.type = "Mod"
    else:
        library.load("tf2onnx.onnx_opset.math").FloorMod.version_7(ctx, node)


def floor_div(ctx: Any, node: Any, *_: object) -> None:
    """`FloorDiv`: what is left over goes first, so that there is nothing to round.

    Args:
        ctx: tf2onnx's graph.
        node: Inputs x and y; others than whole numbers are left to tf2onnx.

    Raises:
        ValueError: The operator set has no Mod.
    """
    if not _is_whole(ctx, node):
        library.load("tf2onnx.onnx_opset.math").FloorDiv.version_6(ctx, node)
        return
    x, y = node.input
    dtype = ctx.get_dtype(x)
    rest = ctx.make_node("Mod", [x, y], dtypes=[dtype]).output[0]
    whole = ctx.make_node("Sub", [x, rest], dtypes=[dtype]).output[0]
    node.type = "Div"
    ctx.replace_inputs(node, [whole, y])


HANDLERS: dict[str, tuple[Callable[..., None], list[str]]] = {
    "FloorDiv": (floor_div, []),
    "FloorMod": (floor_mod, []),
}


def _is_whole(ctx: Any, node: Any) -> bool:
    dtype = library.load("tf2onnx.utils").map_onnx_to_numpy_type(ctx.get_dtype(node.input[0]))
    whole = bool(np.issubdtype(dtype, np.integer))
    if whole and ctx.opset < _OLDEST:
        raise ValueError(f"'{node.name}' divides whole numbers, which needs opset {_OLDEST}")
    return whole
