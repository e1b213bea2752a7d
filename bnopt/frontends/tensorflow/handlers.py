"""Batch norms that tf2onnx cannot convert, or converts to other numbers than TensorFlow's.

`HANDLERS` is for tf2onnx's `custom_op_handlers`. Each handler writes an ordinary
`BatchNormalization`, channels first, so that rules and folding meet the form they know.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bnopt.frontends.tensorflow import library, recompose

_FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def with_global_normalization(ctx: Any, node: Any, *_: object) -> None:
    """`BatchNormWithGlobalNormalization`, which TensorFlow defines on NHWC only.

    Args:
        ctx: tf2onnx's graph.
        node: Inputs t [N, H, W, C], m, v, beta, gamma [C]; attributes `variance_epsilon` and
            `scale_after_normalization`, without which gamma is not used.
    """
    t, mean, variance, beta, gamma = node.input
    epsilon = node.get_attr_value("variance_epsilon")
    if not node.get_attr_value("scale_after_normalization"):
        gamma = _ones(ctx, node)
    data = _transposed(ctx, t, _channels_first(4), ctx.get_dtype(t))
    statistics = [mean, variance]
    _replace(ctx, node, data, [gamma, beta, *statistics], epsilon=epsilon, channels_last=True)


def fused(ctx: Any, node: Any, *_: object) -> None:
    """`FusedBatchNorm*`: in training mode with the statistics of the batch, as graph nodes.

    tf2onnx writes an inference batch norm for training mode where `exponential_avg_factor` is not
    1. TensorFlow normalises with the population variance of the batch whatever that factor is: it
    only mixes the other outputs, which are what the moving statistics become.

    Args:
        ctx: tf2onnx's graph.
        node: Inputs x [N, ..., C] or [N, C, ...], scale, offset, mean, variance [C].

    Raises:
        ValueError: Another output than y is read in training mode, or x has no rank.
    """
    if not node.get_attr_value("is_training", True):
        library.load("tf2onnx.onnx_opset.nn").BatchNorm.version_9(ctx, node)
        return
    for output in node.output[1:]:
        if ctx.find_output_consumers(output):
            raise ValueError(
                f"'{node.name}' is a {node.type} in training mode whose batch statistics are read "
                f"as '{output}'"
            )
    x, scale, offset = node.input[:3]
    shape, dtype = ctx.get_shape(x), ctx.get_dtype(scale)
    if shape is None:
        raise ValueError(f"'{node.name}' is a {node.type} whose input has no rank")
    rank, channels_last = len(shape), not node.data_format.startswith("NC")
    if _is_layer_norm(ctx, x, shape) and not channels_last and ctx.get_dtype(x) == dtype:
        epsilon = node.get_attr_value("epsilon", 1e-4)
        _replace(ctx, node, x, [scale, offset], epsilon=epsilon, operator="InstanceNormalization")
        return
    if ctx.get_dtype(x) != dtype:
        # Half precision: TensorFlow computes in the statistics' type, too.
        x = _made(ctx, "Cast", [x], dtype, shape, to=dtype)
    if channels_last:
        x = _transposed(ctx, x, _channels_first(rank), dtype)
    statistics = _batch_statistics(ctx, x, rank)
    epsilon = node.get_attr_value("epsilon", 1e-4)
    _replace(
        ctx, node, x, [scale, offset, *statistics], epsilon=epsilon, channels_last=channels_last
    )


def recomposed(ctx: Any, node: Any, *_: object) -> None:
    """A batch norm that `recompose` has marked; any other node of its kind stays what it is.

    Args:
        ctx: tf2onnx's graph.
        node: Inputs x, gamma, beta, mean and variance [C]; attributes of the mark.
    """
    axis = node.get_attr_value(recompose.AXIS)
    if axis is None:
        library.load("tf2onnx.onnx_opset.tensor").IdentityN.version_1(ctx, node)
        return
    x, *operands = node.input
    epsilon = node.get_attr_value(recompose.EPSILON)
    shape, dtype = ctx.get_shape(x), ctx.get_dtype(x)
    channels_last = axis != 1
    if channels_last:
        x = _transposed(ctx, x, _channels_first(len(shape)), dtype)
    _replace(ctx, node, x, operands, epsilon=epsilon, channels_last=channels_last)


HANDLERS: dict[str, tuple[Callable[..., None], list[str]]] = {
    "BatchNormWithGlobalNormalization": (with_global_normalization, []),
    **{name: (fused, []) for name in _FUSED},
    recompose.NODE: (recomposed, []),
}


def _is_layer_norm(ctx: Any, x: str, shape: Sequence[int]) -> bool:
    """Whether x [1, N, ...] is samples that were made channels, as Keras 2 computes layer norm.

    Of one sample the statistics of the batch are those of the sample.
    """
    made = ctx.get_node_by_output(x)
    return shape[0] == 1 and made is not None and made.type == "Reshape"


def _batch_statistics(ctx: Any, x: str, rank: int) -> tuple[str, str]:
    """Mean and population variance, each [C], of x [N, C, ...]."""
    builder = library.load("tf2onnx.graph_builder").GraphBuilder(ctx)
    axes = [0, *range(2, rank)]
    kept = builder.make_reduce_mean({"data": x, "axes": axes, "keepdims": True})
    mean = builder.make_squeeze({"data": kept, "axes": axes})
    apart = ctx.make_node("Sub", [x, kept]).output[0]
    square = ctx.make_node("Mul", [apart, apart]).output[0]
    return mean, builder.make_reduce_mean({"data": square, "axes": axes, "keepdims": False})


def _replace(
    ctx: Any,
    node: Any,
    data: str,
    operands: Sequence[str],
    *,
    epsilon: float,
    channels_last: bool = False,
    operator: str = "BatchNormalization",
) -> None:
    """Put a normalization in the place of a node; only the node's first output stays.

    Args:
        ctx: tf2onnx's graph.
        node: The node.
        data: What to normalise, channels first, of the operands' type.
        operands: scale, offset, mean and variance; scale and offset if `operator` has no others.
        epsilon: What the variance gets.
        channels_last: How the node's readers want it.
        operator: Of ONNX.
    """
    y = node.output[0]
    shape, dtype, operand_dtype = ctx.get_shape(y), ctx.get_dtype(y), ctx.get_dtype(data)
    steps: list[tuple[str, dict[str, Any]]] = [(operator, {"epsilon": epsilon})]
    if channels_last:
        steps.append(("Transpose", {"perm": _channels_last(len(ctx.get_shape(data)))}))
    if dtype != operand_dtype:
        steps.append(("Cast", {"to": dtype}))
    make_name = library.load("tf2onnx.utils").make_name
    ctx.remove_node(node.name)
    value, more = data, list(operands)
    for index, (step, attributes) in enumerate(steps):
        last = index == len(steps) - 1
        # The first takes the node's name, and its output too, by which findings call a batch norm.
        name = make_name(node.name) if index else node.name
        made = ctx.make_node(
            step,
            [value, *more],
            attr=attributes,
            name=name,
            outputs=[y if last else name],
            shapes=[shape] if last else None,
            dtypes=[dtype if last else operand_dtype],
        )
        value, more = made.output[0], []


def _ones(ctx: Any, node: Any) -> str:
    """A constant [C] of ones, in the type of the node's data."""
    utils = library.load("tf2onnx.utils")
    lengths = [(ctx.get_shape(name) or [-1])[-1] for name in node.input]
    channels = max(lengths)
    if channels < 0:
        raise ValueError(f"'{node.name}' is a {node.type} of an unknown number of channels")
    dtype = utils.map_onnx_to_numpy_type(ctx.get_dtype(node.input[0]))
    return ctx.make_const(utils.make_name(node.name), np.ones(channels, dtype)).output[0]


def _transposed(ctx: Any, value: str, perm: Sequence[int], dtype: int) -> str:
    shape = ctx.get_shape(value)
    moved = None if shape is None else [shape[axis] for axis in perm]
    return _made(ctx, "Transpose", [value], dtype, moved, perm=list(perm))


def _made(
    ctx: Any,
    operator: str,
    inputs: Sequence[str],
    dtype: int,
    shape: Sequence[int] | None,
    **attributes: Any,
) -> str:
    shapes = None if shape is None else [list(shape)]
    return ctx.make_node(
        operator, list(inputs), attr=attributes, shapes=shapes, dtypes=[dtype]
    ).output[0]


def _channels_first(rank: int) -> list[int]:
    return [0, rank - 1, *range(1, rank - 1)]


def _channels_last(rank: int) -> list[int]:
    return [0, *range(2, rank), 1]
