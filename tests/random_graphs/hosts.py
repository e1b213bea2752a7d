"""Linear operators with constants: what a batch norm may be folded into, in many spellings."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from random_graphs.builder import Builder, Value


def any_host(b: Builder, x: Value) -> Value:
    """A host that fits the rank of `x`."""
    options = [matmul]
    if x.rank == 2:
        options = [gemm, gemm, gemm, matmul]
    if x.rank in (3, 4):
        options = [conv, conv, conv, matmul]
        if x.growable:
            options.append(conv_transpose)
    if x.rank < 2:
        options = [_unsqueezed]
    return b.choose.pick(options)(b, x)


def pointwise(b: Builder, x: Value, features: int) -> Value:
    """A host that changes nothing but the number of channels, to `features`."""
    if x.rank == 2:
        w = _weight(b, x, (x.shape[1], features), 1, x.shape[1])
        zero = "" if b.opset >= 11 else b.floats(np.zeros(features), "c", x.dtype)
        return b.op("Gemm", [x, w, _bias(b, x, features) or zero], (x.shape[0], features))
    if x.rank in (3, 4):
        shape = (features, x.shape[1], *[1] * (x.rank - 2))
        w = _weight(b, x, shape, 0, x.shape[1])
        return b.op("Conv", [x, w, _bias(b, x, features)], (x.shape[0], features, *x.shape[2:]))
    w = _weight(b, x, (x.shape[-1], features), 1, x.shape[-1])
    return b.op("MatMul", [x, w], (*x.shape[:-1], features))


def conv(b: Builder, x: Value) -> Value:
    """Conv of rank 1 or 2, grouped, depthwise, padded, strided."""
    c, channels, spatial = b.choose, x.shape[1], x.shape[2:]
    group = c.pick([g for g in (1, 1, 1, 2, channels) if channels % g == 0])
    # Equal to another dimension more often than chance would have it.
    features = group * c.pick((1, 2)) if group > 1 else c.pick((1, 2, 3, 4, *x.shape))
    mode = c.pick(("pads", "pads", "none", "SAME_UPPER", "SAME_LOWER", "VALID"))
    strides = [c.pick((1, 1, 2)) for _ in spatial]
    pads = [c.pick((0, 0, 1, 2)) if mode == "pads" else 0 for _ in range(2 * len(spatial))]
    kernel, dilations, out = [], [], []
    for i, (n, stride) in enumerate(zip(spatial, strides, strict=True)):
        if mode.startswith("SAME"):
            kernel.append(c.between(1, 3))
            dilations.append(1)
            out.append(-(-n // stride))
            continue
        room = n + pads[i] + pads[i + len(spatial)]
        kernel.append(c.between(1, min(3, room)))
        dilations.append(2 if 2 * (kernel[i] - 1) + 1 <= room and c.chance(10) else 1)
        out.append((room - dilations[i] * (kernel[i] - 1) - 1) // stride + 1)
    shape = (features, channels // group, *kernel)
    w = _weight(b, x, shape, 0, int(np.prod(shape[1:])))
    return b.op(
        "Conv",
        [x, w, _bias(b, x, features)],
        (x.shape[0], features, *out),
        group=group if group > 1 else None,
        pads=pads if mode == "pads" else None,
        auto_pad=mode if mode not in ("pads", "none") else None,
        strides=strides if any(s > 1 for s in strides) else None,
        dilations=dilations if any(d > 1 for d in dilations) else None,
    )


def conv_transpose(b: Builder, x: Value) -> Value:
    """ConvTranspose with groups, strides, pads and output padding."""
    c, channels, spatial = b.choose, x.shape[1], x.shape[2:]
    group = c.pick([g for g in (1, 1, 2, channels) if channels % g == 0])
    features = c.between(1, 3)
    strides, kernel, extra, begin, end, out = [], [], [], [], [], []
    for n in spatial:
        strides.append(c.pick((1, 2)))
        kernel.append(c.between(1, 3))
        extra.append(1 if strides[-1] > 1 and c.chance(20) else 0)
        full = strides[-1] * (n - 1) + kernel[-1] + extra[-1]
        begin.append(1 if full > 1 and c.chance(30) else 0)
        end.append(1 if full - begin[-1] > 1 and c.chance(30) else 0)
        out.append(full - begin[-1] - end[-1])
    shape = (channels, features, *kernel)
    # Quantized per axis only where the axis is the output's alone.
    w = _weight(b, x, shape, 1 if group == 1 else None, channels)
    features *= group
    return b.op(
        "ConvTranspose",
        [x, w, _bias(b, x, features)],
        (x.shape[0], features, *out),
        group=group if group > 1 else None,
        strides=strides,
        pads=[*begin, *end] if any(begin + end) else None,
        output_padding=extra if any(extra) else None,
    )


def gemm(b: Builder, x: Value) -> Value:
    """Gemm with the data on either side, transposed or not, and a C of any shape."""
    c = b.choose
    right = c.chance(15)
    turned, stored_turned = c.chance(25), c.chance(50)
    inner, outer = x.shape if turned != right else x.shape[::-1]
    other = c.pick((1, 2, 3, 4, outer, inner))
    shape = (inner, other) if not right else (other, inner)
    axis = 0 if right else 1
    if stored_turned:
        shape, axis = shape[::-1], 1 - axis
    w = _weight(b, x, shape, axis, inner)
    rows, columns = (other, outer) if right else (outer, other)
    shapes = [(columns,), (), (1,), (1, columns), (rows, 1), (rows, columns)]
    extra = ""
    if b.opset < 11 or c.chance(60):
        extra = b.floats(b.normal(c.pick(shapes)), "c", x.dtype)
    operands: list[Value | str] = [w, x] if right else [x, w]
    flags = (stored_turned, turned) if right else (turned, stored_turned)
    return b.op(
        "Gemm",
        [*operands, extra],
        (rows, columns),
        x.dtype,
        alpha=c.pick((None, None, 0.5, -2.0)),
        beta=c.pick((None, None, 0.5, -2.0, 0.0)),
        transA=int(flags[0]) or None,
        transB=int(flags[1]) or None,
    )


def matmul(b: Builder, x: Value) -> Value:
    """MatMul with a constant on either side, of rank 2 or 3."""
    c = b.choose
    left = c.chance(40)
    inner, features = x.shape[-2 if left else -1], c.pick((1, 2, 3, 4, *x.shape))
    batch: tuple[int, ...] = ()
    if x.rank <= 3 and c.chance(20):
        batch = (x.shape[0],) if x.rank == 3 else (c.between(1, 2),)
    shape = (features, inner) if left else (inner, features)
    w = _weight(b, x, (*batch, *shape), len(batch) + (0 if left else 1), inner)
    before = np.broadcast_shapes(batch, x.shape[:-2])
    if left:
        return b.op("MatMul", [w, x], (*before, features, x.shape[-1]), x.dtype)
    return b.op("MatMul", [x, w], (*before, x.shape[-2], features), x.dtype)


def _unsqueezed(b: Builder, x: Value) -> Value:
    """A matrix made of a vector or scalar, then a Gemm."""
    matrix = b.op("Reshape", [x, b.integers(1, x.size)], (1, x.size))
    return gemm(b, matrix)


def _weight(
    b: Builder, x: Value, shape: tuple[int, ...], axis: int | None, fan_in: int
) -> Value | str:
    """A weight of the data's type: stored, dequantized, or, rarely, computed from the data."""
    if b.opset >= 10 and b.choose.chance(7):
        return _dequantized(b, x, shape, axis)
    array = b.normal(shape, 1 / np.sqrt(fan_in))
    stored = b.floats(array, "w", x.dtype)
    if b.choose.chance(2):
        return b.op("Sigmoid", [Value(stored, shape, x.dtype)], shape)
    return stored


def _dequantized(b: Builder, x: Value, shape: tuple[int, ...], axis: int | None) -> Value:
    c = b.choose
    kind = c.pick((np.int8, np.uint8))
    info = np.iinfo(kind)
    rng = c.rng()
    quantized = rng.integers(info.min, info.max, shape, endpoint=True).astype(kind)
    per_axis = axis is not None and b.opset >= 13 and c.chance(60)
    count = (shape[axis or 0],) if per_axis else ()
    scale = np.asarray(rng.uniform(0.002, 0.02, count), np.float32)
    operands = [
        b.constant(quantized, "q", overridable=False),
        b.constant(scale, "qscale", overridable=False),
    ]
    if kind is np.uint8 or c.chance(50):
        zero = np.asarray(rng.integers(info.min, info.max, count, endpoint=True), kind)
        operands.append(b.constant(zero, "qzero", overridable=False))
    where = axis if per_axis else None
    w = b.op("DequantizeLinear", operands, shape, TensorProto.FLOAT, axis=where)
    if x.dtype == TensorProto.FLOAT:
        return w
    return b.op("Cast", [w], shape, x.dtype, to=x.dtype)


def _bias(b: Builder, x: Value, features: int) -> str:
    """A bias, or the empty name: both spellings of none, for it is dropped at the end."""
    return b.floats(b.normal((features,)), "bias", x.dtype) if b.choose.chance(50) else ""
