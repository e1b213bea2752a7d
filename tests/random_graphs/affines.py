"""Batch norms in every opset's form, and chains of Mul, Add, Sub and Div by constants."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from random_graphs.builder import Builder, Value


def any_affine(b: Builder, x: Value) -> Value:
    """A batch norm or, less often, arithmetic that may or may not be one."""
    if x.rank >= 2 and b.choose.chance(75):
        return batch_norm(b, x)
    for _ in range(b.choose.between(1, 3)):
        x = arithmetic(b, x)
    return x


def batch_norm(b: Builder, x: Value) -> Value:
    """BatchNormalization in inference mode."""
    c = b.choose
    per_activation = b.opset < 9 and c.chance(25)
    shape = x.shape[1:] if per_activation else (x.shape[1],)
    data = statistics = x.dtype
    if x.dtype == TensorProto.FLOAT16 and b.opset >= 14:
        statistics = c.pick((x.dtype, TensorProto.FLOAT))
        data = statistics if b.opset >= 15 else x.dtype
    spread = np.abs(b.normal(shape)) + 0.25
    parameters = [
        b.floats(_scale(b, shape), "gamma", data),
        b.floats(b.normal(shape, c.pick((1, 1, 0))), "beta", data),
        b.floats(b.normal(shape, c.pick((1, 1, 0))), "mean", statistics),
        b.floats(spread, "var", statistics),
    ]
    return b.op(
        "BatchNormalization",
        [x, *parameters],
        x.shape,
        epsilon=c.pick((None, 1e-3, 0.1)),
        momentum=c.pick((None, None, 0.5)),
        spatial=0 if per_activation else None,
    )


def _scale(b: Builder, shape: tuple[int, ...]) -> np.ndarray:
    """Factors: positive, of both signs, or with exact zeros."""
    values = b.normal(shape)
    kind = b.choose.pick(("positive", "positive", "mixed", "mixed", "zeros"))
    if kind == "positive":
        return np.abs(values) + 0.25
    if kind == "zeros":
        return np.where(np.arange(values.size).reshape(shape) % 2, values, 0.0)
    return np.where(values == 0, 1.0, values)


def arithmetic(b: Builder, x: Value) -> Value:
    """Mul, Add, Sub or Div by a constant, on either side, per channel or not at all so."""
    c = b.choose
    op_type = c.pick(("Mul", "Add", "Sub", "Div"))
    shape = _operand_shape(b, x)
    role = {"Mul": "factor", "Div": "divisor"}.get(op_type, "offset")
    if op_type == "Mul":
        array = _scale(b, shape)
    elif op_type == "Div":
        array = np.abs(b.normal(shape)) + 0.5
        array = np.where(b.normal(shape) < 0, -array, array)
    else:
        array = b.normal(shape)
    operand = b.floats(array, role, x.dtype)
    out = np.broadcast_shapes(x.shape, shape)
    # A constant divided by data is not an affine, and may be anything near zero.
    if op_type != "Div" and c.chance(40):
        return b.op(op_type, [operand, x], out, x.dtype)
    return b.op(op_type, [x, operand], out, x.dtype)


def _operand_shape(b: Builder, x: Value) -> tuple[int, ...]:
    """A shape that broadcasts with `x`: along channels, wrong axes, or even enlarging it."""
    c = b.choose
    kind = c.pick(("channel", "channel", "channel", "scalar", "last", "axis", "axes", "larger"))
    if kind == "scalar" or x.rank == 0:
        return c.pick(((), (1,)))
    if kind == "last":
        return (x.shape[-1],)
    kept = {1 if x.rank > 1 else 0}
    if kind == "axis":
        kept = {c.between(0, x.rank - 1)}
    if kind == "axes":
        kept = {c.between(0, x.rank - 1), c.between(0, x.rank - 1)}
    shape = tuple(n if axis in kept else 1 for axis, n in enumerate(x.shape))
    if kind == "larger" and x.growable:
        if c.chance(50) and x.rank < 4:
            return (c.pick((1, 2)), *shape)
        return tuple(2 if n == 1 else m for n, m in zip(x.shape, shape, strict=True))
    # Leading ones may be left out.
    while shape[0] == 1 and len(shape) > 1 and c.chance(50):
        shape = shape[1:]
    return shape
