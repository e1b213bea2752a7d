"""Operators that compute with the data: pools and reductions, activations, products of two values.

The first table holds what an affine may pass under conditions, the second what it never passes.
"""

from __future__ import annotations

import numpy as np

from random_graphs.builder import Builder, Value


def relu(b: Builder, x: Value) -> Value:
    return b.op("Relu", [x], x.shape)


def leaky_relu(b: Builder, x: Value) -> Value:
    return b.op("LeakyRelu", [x], x.shape, alpha=b.choose.pick((None, 0.3, 2.0, -0.5, 0.0)))


def prelu(b: Builder, x: Value) -> Value | None:
    if x.rank < 2:
        return None
    shape = b.choose.pick(((x.shape[1], *[1] * (x.rank - 2)), (1,)))
    return b.op("PRelu", [x, b.floats(b.normal(shape), "slope", x.dtype)], x.shape)


def neg(b: Builder, x: Value) -> Value:
    return b.op("Neg", [x], x.shape)


def _pool(b: Builder, x: Value, op_type: str, **attributes: int | None) -> Value | None:
    if x.rank not in (3, 4):
        return None
    c, spatial = b.choose, x.shape[2:]
    mode = c.pick(("pads", "none", "SAME_UPPER", "SAME_LOWER", "VALID"))
    kernel, strides, begin, end, out = [], [], [], [], []
    for n in spatial:
        strides.append(c.pick((1, 2)))
        kernel.append(c.between(1, min(3, n)))
        # A window must see something, hence less padding than kernel.
        limit = kernel[-1] - 1 if mode == "pads" else 0
        begin.append(c.between(0, min(1, limit)))
        end.append(c.between(0, min(1, limit)))
        room = n + begin[-1] + end[-1]
        same = mode.startswith("SAME")
        out.append(-(-n // strides[-1]) if same else (room - kernel[-1]) // strides[-1] + 1)
    return b.op(
        op_type,
        [x],
        (*x.shape[:2], *out),
        kernel_shape=kernel,
        strides=strides,
        pads=[*begin, *end] if mode == "pads" else None,
        auto_pad=mode if mode not in ("pads", "none") else None,
        **attributes,
    )


def average_pool(b: Builder, x: Value) -> Value | None:
    return _pool(b, x, "AveragePool", count_include_pad=b.choose.pick((None, 1)))


def max_pool(b: Builder, x: Value) -> Value | None:
    return _pool(b, x, "MaxPool")


def global_pool(b: Builder, x: Value) -> Value | None:
    if x.rank < 3:
        return None
    op_type = b.choose.pick(("GlobalAveragePool", "GlobalMaxPool"))
    return b.op(op_type, [x], (*x.shape[:2], *[1] * (x.rank - 2)))


def reduce(b: Builder, x: Value) -> Value | None:
    if x.rank == 0:
        return None
    c = b.choose
    op_type = c.pick(("ReduceMean", "ReduceMean", "ReduceSum", "ReduceMax"))
    last = list(range(2, x.rank)) if x.rank > 2 and c.chance(50) else []
    axes = last or sorted({c.between(0, x.rank - 1) for _ in range(c.between(1, 2))})
    keep = c.pick((None, 1, 0, 0))
    shape = [1 if i in axes else n for i, n in enumerate(x.shape)]
    if keep == 0:
        shape = [n for i, n in enumerate(x.shape) if i not in axes]
    given = [axis - x.rank for axis in axes] if b.opset >= 11 and c.chance(30) else axes
    if b.opset < (13 if op_type == "ReduceSum" else 18):
        return b.op(op_type, [x], shape, axes=given, keepdims=keep)
    return b.op(op_type, [x, b.integers(*given)], shape, keepdims=keep)


def sigmoid(b: Builder, x: Value) -> Value:
    return b.op(b.choose.pick(("Sigmoid", "Tanh", "Abs")), [x], x.shape)


def exp(b: Builder, x: Value) -> Value:
    """Of something between -1 and 1, or the numbers lose their meaning."""
    return b.op("Exp", [b.op("Tanh", [x], x.shape)], x.shape)


def clip(b: Builder, x: Value) -> Value:
    if b.opset < 11:
        return b.op("Clip", [x], x.shape, min=b.choose.pick((None, -0.5)), max=0.5)
    low = b.floats(np.asarray(-0.5), "low", x.dtype) if b.choose.chance(50) else ""
    return b.op("Clip", [x, low, b.floats(np.asarray(0.5), "high", x.dtype)], x.shape)


def softmax(b: Builder, x: Value) -> Value | None:
    if x.rank == 0:
        return None
    return b.op("Softmax", [x], x.shape, axis=b.choose.between(0, x.rank - 1))


def squared(b: Builder, x: Value) -> Value:
    """A value combined with itself, or with its own gate."""
    op_type = b.choose.pick(("Mul", "Add", "Sub"))
    other = x if b.choose.chance(50) else b.op("Sigmoid", [x], x.shape)
    return b.op(op_type, [x, other], x.shape)


CONDITIONAL = (
    relu,
    relu,
    leaky_relu,
    leaky_relu,
    prelu,
    neg,
    average_pool,
    average_pool,
    max_pool,
    max_pool,
    global_pool,
    reduce,
    reduce,
)
OPAQUE = (sigmoid, exp, clip, softmax, squared)
