"""Operators that an affine may travel past, under conditions that the drawn attributes often break.

Here: those that move or copy elements. Each function answers None where it does not fit the value.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from random_graphs.builder import Builder, Value


def identity(b: Builder, x: Value) -> Value:
    return b.op("Identity", [x], x.shape)


def dropout(b: Builder, x: Value) -> Value:
    if b.opset < 12:
        return b.op("Dropout", [x], x.shape, ratio=b.choose.pick((None, 0.3)))
    ratio = b.constant(np.asarray(0.3, np.float32), "ratio") if b.choose.chance(50) else ""
    mode = b.constant(np.asarray(False), "mode", overridable=False) if b.choose.chance(50) else ""
    return b.op("Dropout", [x, ratio, mode], x.shape)


def transpose(b: Builder, x: Value) -> Value | None:
    if x.rank == 0:
        return None
    if x.rank == 4 and b.choose.chance(40):
        order = list(b.choose.pick(((0, 2, 3, 1), (0, 3, 1, 2))))
    elif b.choose.chance(10):
        return b.op("Transpose", [x], x.shape[::-1])
    else:
        order = [int(i) for i in b.choose.rng().permutation(x.rank)]
    return b.op("Transpose", [x], [x.shape[i] for i in order], perm=order)


def reshape(b: Builder, x: Value) -> Value:
    """Neighbouring axes merged, one axis cut in two, ones inserted; spelled with 0 and -1."""
    c, shape = b.choose, list(x.shape)
    kind = c.pick(("merge", "split", "one", "reorder"))
    if kind == "merge" and x.rank >= 2:
        at = c.between(0, x.rank - 2)
        shape[at : at + 2] = [shape[at] * shape[at + 1]]
    elif kind == "reorder" and x.rank >= 2:
        # The same elements under other axes: nothing that is per channel survives this.
        shape = shape[::-1]
    else:
        at = c.between(0, max(x.rank - 1, 0))
        n = shape[at] if shape else 1
        cut = 2 if kind == "split" and n % 2 == 0 else 1
        shape[at : at + 1] = [cut, n // cut] if c.chance(50) else [n // cut, cut]
    spelled = list(shape)
    if spelled and c.chance(50):
        spelled[c.between(0, len(shape) - 1)] = -1
    for axis in range(min(len(shape), x.rank)):
        if spelled[axis] == x.shape[axis] and c.chance(30):
            spelled[axis] = 0
    return b.op("Reshape", [x, b.integers(*spelled)], shape)


def flatten(b: Builder, x: Value) -> Value | None:
    axis = b.choose.pick((1, 1, 1, *range(x.rank + 1)))
    if axis > x.rank:
        return None
    shape = (int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:])))
    if b.opset >= 11 and axis < x.rank and b.choose.chance(30):
        return b.op("Flatten", [x], shape, axis=axis - x.rank)
    return b.op("Flatten", [x], shape, axis=None if axis == 1 and b.choose.chance(50) else axis)


def _with_axes(
    b: Builder, op_type: str, x: Value, shape: list[int], axes: list[int], since: int, **more: int
) -> Value:
    """A node whose axes are an attribute before opset `since`, and an input from there on."""
    if b.opset < since:
        return b.op(op_type, [x], shape, axes=axes, **more)
    return b.op(op_type, [x, b.integers(*axes)], shape, **more)


def squeeze(b: Builder, x: Value) -> Value | None:
    ones = [axis for axis, n in enumerate(x.shape) if n == 1]
    if not ones:
        return None
    if b.choose.chance(20):
        return b.op("Squeeze", [x], [n for n in x.shape if n != 1])
    axis = b.choose.pick(ones)
    shape = [n for i, n in enumerate(x.shape) if i != axis]
    if b.opset >= 11 and b.choose.chance(30):
        axis -= x.rank
    return _with_axes(b, "Squeeze", x, shape, [axis], 13)


def unsqueeze(b: Builder, x: Value) -> Value | None:
    if x.rank > 4:
        return None
    axis = b.choose.between(0, x.rank)
    shape = [*x.shape[:axis], 1, *x.shape[axis:]]
    if b.opset >= 11 and b.choose.chance(30):
        axis -= x.rank + 1
    return _with_axes(b, "Unsqueeze", x, shape, [axis], 13)


def concat(b: Builder, x: Value) -> Value | None:
    """With itself or with a constant, on either side."""
    if x.rank == 0 or not x.growable:
        return None
    axis = b.choose.pick((min(1, x.rank - 1), *range(x.rank)))
    other: Value | str = x
    more = x.shape[axis]
    if b.choose.chance(50):
        more = b.choose.between(1, 2)
        shape = [more if i == axis else n for i, n in enumerate(x.shape)]
        other = b.floats(b.normal(shape), "part", x.dtype)
    shape = [n + more if i == axis else n for i, n in enumerate(x.shape)]
    parts = [x, other] if b.choose.chance(50) else [other, x]
    return b.op("Concat", parts, shape, x.dtype, axis=axis)


def split(b: Builder, x: Value) -> Value | None:
    """One part is read on, the other only by an output, if at all."""
    axes = [axis for axis, n in enumerate(x.shape) if n > 1]
    if not axes:
        return None
    axis = b.choose.pick((*[a for a in axes if a == 1], *axes))
    n = x.shape[axis]
    first = b.choose.between(1, n - 1)
    shapes = [[k if i == axis else m for i, m in enumerate(x.shape)] for k in (first, n - first)]
    if b.opset < 13:
        parts = b.ops("Split", [x], shapes, axis=axis, split=[first, n - first])
    elif 2 * first == n and b.choose.chance(50):
        count = 2 if b.opset >= 18 else None
        parts = b.ops("Split", [x], shapes, axis=axis, num_outputs=count)
    else:
        parts = b.ops("Split", [x, b.integers(first, n - first)], shapes, axis=axis)
    return b.choose.pick(parts)


def slice_(b: Builder, x: Value) -> Value | None:
    if x.rank == 0:
        return None
    axis = b.choose.pick((min(1, x.rank - 1), *range(x.rank)))
    n = x.shape[axis]
    start = b.choose.between(0, n - 1)
    end = b.choose.between(start + 1, n)
    step = b.choose.pick((1, 1, 2, -1)) if b.opset >= 10 else 1
    shape = list(x.shape)
    shape[axis] = -(-(end - start) // abs(step))
    if step < 0:
        # One before the first element is written as far below -n.
        start, end = end - 1, start - 1 if start else -n - 1
    if b.opset < 10:
        return b.op("Slice", [x], shape, starts=[start], ends=[end], axes=[axis])
    bounds = [b.integers(number) for number in (start, end, axis)]
    if step != 1 or b.choose.chance(30):
        bounds.append(b.integers(step))
    return b.op("Slice", [x, *bounds], shape)


def pad(b: Builder, x: Value) -> Value | None:
    if x.rank == 0 or not x.growable:
        return None
    mode = b.choose.pick((None, "constant", "reflect", "edge"))
    axis = b.choose.pick((x.rank - 1, x.rank - 1, *range(x.rank)))
    most = min(2, x.shape[axis] - 1) if mode == "reflect" else 2
    before, after = b.choose.between(0, most), b.choose.between(0, most)
    shape = [n + before + after if i == axis else n for i, n in enumerate(x.shape)]
    fill = b.choose.pick((None, 0.0, 1.5)) if mode in (None, "constant") else None
    pads = [0] * (2 * x.rank)
    pads[axis], pads[axis + x.rank] = before, after
    if b.opset < 11:
        return b.op("Pad", [x], shape, mode=mode, pads=pads, value=fill)
    value = "" if fill is None else b.floats(np.asarray(fill), "fill", x.dtype)
    if b.opset >= 18 and b.choose.chance(40):
        where = b.integers(axis)
        return b.op("Pad", [x, b.integers(before, after), value, where], shape, mode=mode)
    return b.op("Pad", [x, b.integers(*pads), value], shape, mode=mode)


def depth_to_space(b: Builder, x: Value) -> Value | None:
    if x.rank != 4 or x.shape[1] % 4:
        return None
    n, c, h, w = x.shape
    mode = b.choose.pick((None, "DCR", "CRD")) if b.opset >= 11 else None
    return b.op("DepthToSpace", [x], (n, c // 4, 2 * h, 2 * w), blocksize=2, mode=mode)


def space_to_depth(b: Builder, x: Value) -> Value | None:
    if x.rank != 4 or x.shape[2] % 2 or x.shape[3] % 2:
        return None
    n, c, h, w = x.shape
    return b.op("SpaceToDepth", [x], (n, 4 * c, h // 2, w // 2), blocksize=2)


def tile(b: Builder, x: Value) -> Value | None:
    if x.rank == 0 or not x.growable:
        return None
    axis = b.choose.between(0, x.rank - 1)
    repeats = [2 if i == axis else 1 for i in range(x.rank)]
    shape = [n * k for n, k in zip(x.shape, repeats, strict=True)]
    return b.op("Tile", [x, b.integers(*repeats)], shape)


def expand(b: Builder, x: Value) -> Value | None:
    if b.opset < 8 or not x.growable or not 0 < x.rank < 5:
        return None
    shape = [b.choose.pick((1, 2, 3)) if n == 1 else n for n in x.shape]
    if b.choose.chance(20) and x.rank < 4:
        shape.insert(0, b.choose.pick((1, 2)))
    return b.op("Expand", [x, b.integers(*shape)], shape)


def cast(b: Builder, x: Value) -> Value:
    wider = {
        TensorProto.FLOAT16: (TensorProto.FLOAT, TensorProto.DOUBLE),
        TensorProto.FLOAT: (TensorProto.DOUBLE, TensorProto.FLOAT16),
        TensorProto.DOUBLE: (TensorProto.DOUBLE, TensorProto.DOUBLE, TensorProto.FLOAT),
    }
    to = b.choose.pick(wider[x.dtype])
    return b.op("Cast", [x], x.shape, to, to=to)


def resize(b: Builder, x: Value) -> Value | None:
    """Resize and Upsample, which the specification let take each other's place."""
    if x.rank != 4 or not x.growable:
        return None
    n, c, h, w = x.shape
    scales = np.asarray([1, 1, b.choose.pick((2, 1)), 2], np.float32)
    mode = b.choose.pick(("nearest", "linear"))
    if b.opset < 9:
        shape = (n, c, h * int(scales[2]), 2 * w)
        return b.op("Upsample", [x], shape, mode=mode, scales=[float(s) for s in scales])
    if b.opset < 10:
        given = b.constant(scales, "scales", overridable=False)
        return b.op("Upsample", [x, given], (n, c, h * int(scales[2]), 2 * w), mode=mode)
    if b.opset < 11:
        return None
    mode = b.choose.pick(("nearest", "linear", "cubic"))
    if b.choose.chance(15):
        # Between the channels: nothing that is per channel survives this.
        scales = np.asarray([1, 2, 1, 1], np.float32)
    factors = [int(s) for s in scales]
    shape = [m * k for m, k in zip(x.shape, factors, strict=True)]
    modes = ("half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel")
    attributes = {"mode": mode, "coordinate_transformation_mode": b.choose.pick(modes)}
    if mode == "nearest":
        attributes["nearest_mode"] = b.choose.pick(("floor", "round_prefer_floor"))
    # Optional from opset 13 on, required as an empty tensor before.
    roi = "" if b.opset >= 13 else b.constant(np.zeros(0, np.float32), "roi", overridable=False)
    if b.choose.chance(40):
        empty = b.constant(np.zeros(0, np.float32), "none", overridable=False)
        sizes: list[Value | str] = [x, roi, "" if b.opset >= 13 else empty, b.integers(*shape)]
        return b.op("Resize", sizes, shape, **attributes)
    given = b.constant(scales, "scales", overridable=False)
    return b.op("Resize", [x, roi, given], shape, **attributes)


ALL = (
    identity,
    dropout,
    transpose,
    transpose,
    reshape,
    reshape,
    flatten,
    squeeze,
    unsqueeze,
    concat,
    split,
    slice_,
    pad,
    depth_to_space,
    space_to_depth,
    tile,
    expand,
    cast,
    resize,
)
