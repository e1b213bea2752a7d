"""One property for every carrier: what is folded past it equals the original in float64.

A batch norm is put behind the carrier and a host ahead of it, and the other way round, over random
shapes, axes and signs. Equal lengths are likely, so that a wrong axis does not show in the shapes
only. Whether an affine passes is for the carrier to say; if it does, the numbers must not change.
Some must pass, so that refusing everything is no way out.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import onnx
import pytest
from graphs import folded, model, normal, operators, statistics
from hypothesis import given, settings
from hypothesis import strategies as st
from random_graphs.reference import evaluate as all_values

DOUBLE = np.float64
Draw = st.DataObject


@dataclass
class Piece:
    """Some nodes from `c` to `d`, and the shape and constants of the rest of the graph."""

    text: str
    shape: list[int]
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    opset: int = 17


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def pick(data: Draw, *options):
    return data.draw(st.sampled_from(options))


def dims(data: Draw, rank: int) -> list[int]:
    # Few lengths, so that many are equal.
    return [data.draw(st.sampled_from([2, 4])) for _ in range(rank)]


def transpose(data: Draw) -> Piece:
    shape = dims(data, 4)
    perm = data.draw(st.permutations(range(4)))
    chosen = "" if perm[::-1] == [0, 1, 2, 3] else f"<perm = {list(perm)}>"
    return Piece(f"d = Transpose{chosen}(c)", shape)


def reshape(data: Draw) -> Piece:
    shape = dims(data, 4)
    n, c, h, w = shape
    target = pick(
        data,
        [n, c, h * w],
        [n, c * h * w],
        [n * c, h, w],
        [n, c, 1, h, w],
        [n, h, c, w],
        [n, -1, w],
    )
    return Piece("d = Reshape(c, s)", shape, {"s": ints(*target)})


def flatten(data: Draw) -> Piece:
    return Piece(f"d = Flatten<axis = {pick(data, 1, 2, 3, -1)}>(c)", dims(data, 4))


def squeeze(data: Draw) -> Piece:
    shape = dims(data, 4)
    axis = pick(data, 1, 2, 3)
    shape[axis] = 1
    if data.draw(st.booleans()):
        return Piece("d = Squeeze(c, s)", shape, {"s": ints(pick(data, axis, axis - 4))})
    return Piece("d = Squeeze(c)", shape)


def unsqueeze(data: Draw) -> Piece:
    return Piece("d = Unsqueeze(c, s)", dims(data, 3), {"s": ints(pick(data, 0, 1, 2, 3, -1))})


def concat(data: Draw) -> Piece:
    shape, axis = dims(data, 4), pick(data, 1, 2, -1, -3)
    other = list(shape)
    other[axis] = data.draw(st.integers(1, 3))
    order = pick(data, "c, k", "k, c")
    return Piece(
        f"d = Concat<axis = {axis}>({order})", shape, {"k": normal(*other, dtype=DOUBLE, seed=8)}
    )


def split(data: Draw) -> Piece:
    shape, axis = dims(data, 4), pick(data, 1, 2, -1)
    shape[axis] = 4
    first = data.draw(st.integers(1, 3))
    order = pick(data, ("d", "e"), ("e", "d"))
    return Piece(
        f"{order[0]}, {order[1]} = Split<axis = {axis}>(c, s) e2 = Neg(e)",
        shape,
        {"s": ints(first, 4 - first)},
    )


def slice_(data: Draw) -> Piece:
    shape, axis = dims(data, 4), pick(data, 1, 2, 3, -3)
    shape[axis] = 4
    start, end, step = pick(
        data, (1, 3, 1), (0, 9, 2), (3, -9, -1), (-3, -1, 1), (2, -(1 << 62), -2)
    )
    return Piece(
        "d = Slice(c, s, e, a, t)",
        shape,
        {"s": ints(start), "e": ints(end), "a": ints(axis), "t": ints(step)},
    )


def pad(data: Draw) -> Piece:
    mode = pick(data, "constant", "reflect", "edge")
    pads = [0] * 8
    pads[data.draw(st.integers(1, 3))] = 1
    pads[4 + data.draw(st.integers(1, 3))] = 1
    weights = {"s": ints(*pads), "p": np.array(pick(data, 0.0, 0.5))}
    return Piece(f'd = Pad<mode = "{mode}">(c, s, p)', dims(data, 4), weights)


def average_pool(data: Draw) -> Piece:
    pads = pick(data, [0, 0, 0, 0], [1, 0, 0, 1])
    count, ceil = data.draw(st.integers(0, 1)), data.draw(st.integers(0, 1))
    chosen = (
        f"kernel_shape = [2, 2], pads = {pads}, count_include_pad = {count}, ceil_mode = {ceil}"
    )
    return Piece(f"d = AveragePool<{chosen}>(c)", dims(data, 4))


def max_pool(data: Draw) -> Piece:
    pads = pick(data, [0, 0, 0, 0], [1, 0, 0, 1])
    return Piece(f"d = MaxPool<kernel_shape = [2, 2], pads = {pads}>(c)", dims(data, 4))


def global_pool(data: Draw) -> Piece:
    return Piece(f"d = {pick(data, 'GlobalAveragePool', 'GlobalMaxPool')}(c)", dims(data, 4))


def reduce(data: Draw) -> Piece:
    axes = pick(data, [2, 3], [1], [-1], [0, 2])
    keep = data.draw(st.integers(0, 1))
    operator = pick(data, "ReduceMean", "ReduceMax")
    return Piece(f"d = {operator}<axes = {axes}, keepdims = {keep}>(c)", dims(data, 4))


def activation(data: Draw) -> Piece:
    text = pick(
        data, "Relu(c)", "LeakyRelu<alpha = 0.3>(c)", "LeakyRelu<alpha = -2.0>(c)", "PRelu(c, s)"
    )
    return Piece(f"d = {text}", dims(data, 4), {"s": np.array([0.25])})


def resize(data: Draw) -> Piece:
    mode = pick(data, "nearest", "linear", "cubic")
    transform = pick(data, "asymmetric", "half_pixel", "align_corners")
    scales = np.array([1, 1, 2, 2] if data.draw(st.booleans()) else [1, 1.2, 1, 1], np.float32)
    chosen = f'mode = "{mode}", coordinate_transformation_mode = "{transform}"'
    return Piece(f"d = Resize<{chosen}>(c, , s)", dims(data, 4), {"s": scales})


def depth_to_space(data: Draw) -> Piece:
    shape = dims(data, 4)
    shape[1] = 8
    return Piece(f'd = DepthToSpace<blocksize = 2, mode = "{pick(data, "DCR", "CRD")}">(c)', shape)


def space_to_depth(data: Draw) -> Piece:
    return Piece("d = SpaceToDepth<blocksize = 2>(c)", dims(data, 4))


def tile(data: Draw) -> Piece:
    repeats = [1, 1, 1, 1]
    repeats[data.draw(st.integers(1, 3))] = 2
    return Piece("d = Tile(c, s)", dims(data, 4), {"s": ints(*repeats)})


def expand(data: Draw) -> Piece:
    shape = dims(data, 4)
    shape[pick(data, 1, 2, 3)] = 1
    target = [n if n > 1 else 2 for n in shape]
    return Piece("d = Expand(c, s)", shape, {"s": ints(*pick(data, target, [2, *target], [1]))})


def sum_of_two(data: Draw) -> Piece:
    """Of two convolutions, or of one and a value that is broadcast."""
    shape = dims(data, 4)
    operator, order = pick(data, "Add", "Sub", "Sum"), pick(data, "c, e", "e, c")
    other = pick(data, "e = Conv(x0, K)", "e = ReduceMean<axes = [2, 3]>(x0)", "e = Relu(x0)")
    weights = {"K": normal(shape[1], shape[1], 1, 1, dtype=DOUBLE, seed=5)}
    return Piece(f"{other} d = {operator}({order})", shape, weights)


def nothing(data: Draw) -> Piece:
    return Piece(
        f"d = {pick(data, 'Identity(c)', 'Dropout(c)', 'Cast<to = 11>(c)')}", dims(data, 4)
    )


CARRIERS = {
    f.__name__: f
    for f in (
        transpose,
        reshape,
        flatten,
        squeeze,
        unsqueeze,
        concat,
        split,
        slice_,
        pad,
        average_pool,
        max_pool,
        global_pool,
        reduce,
        activation,
        resize,
        depth_to_space,
        space_to_depth,
        tile,
        expand,
        sum_of_two,
        nothing,
    )
}


def evaluate(proto: onnx.ModelProto, **feeds: np.ndarray) -> list[np.ndarray]:
    values = all_values(proto, feeds)
    return [values[output.name] for output in proto.graph.output]


def trained(data: Draw, channels: int) -> dict[str, np.ndarray]:
    """Statistics with scales that are positive, of both signs, zero once, or all the same."""
    stats = statistics(channels, DOUBLE)
    kind = pick(data, "positive", "positive", "both", "zero", "same")
    stats["g"] = np.abs(stats["g"])
    if kind == "both":
        stats["g"] *= np.where(np.arange(channels) % 2, -1, 1)
    if kind == "zero":
        stats["g"][0] = 0
    if kind == "same":
        stats = {name: np.full_like(array, array[0]) for name, array in stats.items()}
    return stats


def check(proto: onnx.ModelProto, x: np.ndarray) -> bool:
    """Compare; whether all batch norms went."""
    result, _ = folded(proto)
    onnx.checker.check_model(result, full_check=True)
    for expected, actual in zip(evaluate(proto, x=x), evaluate(result, x=x), strict=True):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)
    return "BatchNormalization" not in operators(result)


def shape_of(piece: Piece) -> list[int]:
    """The shape of `d`."""
    text = f"g (double{piece.shape} x0) => (double d) {{ c = Identity(x0) {piece.text} }}"
    proto = without_shape(model(text, piece.opset, **piece.weights))
    return list(evaluate(proto, x0=np.ones(piece.shape))[0].shape)


def without_shape(proto: onnx.ModelProto) -> onnx.ModelProto:
    for output in proto.graph.output:
        output.type.tensor_type.ClearField("shape")
    return proto


@pytest.mark.parametrize("name", CARRIERS)
def test_behind_a_carrier(name: str) -> None:
    """Host, carrier, batch norm."""
    passed = []

    @settings(max_examples=60)
    @given(st.data())
    def property_(data: Draw) -> None:
        piece = CARRIERS[name](data)
        rank, channels = len(piece.shape), piece.shape[1]
        shape = shape_of(piece)
        if len(shape) < 2:
            return
        stats = trained(data, shape[1])
        host = "c = Conv(x, W, B) x0 = Identity(x)" if rank > 2 else "c = Gemm(x, W, B)"
        text = f"""g (double{piece.shape} x) => (double{shape} y) {{
            {host} {piece.text} y = BatchNormalization(d, g, b, m, v) }}"""
        weights = {
            "W": normal(channels, channels, *[1] * (rank - 2), dtype=DOUBLE),
            "B": normal(channels, dtype=DOUBLE, seed=2),
            **piece.weights,
            **stats,
        }
        proto = model(text, piece.opset, **weights)
        passed.append(check(proto, normal(*piece.shape, dtype=DOUBLE, seed=3)))

    property_()
    assert any(passed)


@pytest.mark.parametrize("name", CARRIERS)
def test_ahead_of_a_carrier(name: str) -> None:
    """Batch norm, carrier, host."""
    passed = []

    @settings(max_examples=60)
    @given(st.data())
    def property_(data: Draw) -> None:
        piece = CARRIERS[name](data)
        shape = shape_of(piece)
        if len(shape) < 2:
            return
        stats = trained(data, piece.shape[1])
        rank = len(shape)
        host = pick(data, "y = MatMul(d, W)", "y = Conv(d, V)" if rank > 2 else "y = Gemm(d, W)")
        text = f"""g (double{piece.shape} x) => (double y) {{
            c = BatchNormalization(x, g, b, m, v) x0 = Identity(x) {piece.text} {host} }}"""
        weights = {
            "W": normal(shape[-1], 3, dtype=DOUBLE),
            "V": normal(2, shape[1], *[1] * (rank - 2), dtype=DOUBLE),
            **piece.weights,
            **stats,
        }
        proto = model(text, piece.opset, **weights)
        output = evaluate(without_shape(proto), x=np.ones(piece.shape))[0]
        proto = model(text.replace("(double y)", f"(double{list(output.shape)} y)"), **weights)
        passed.append(check(proto, normal(*piece.shape, dtype=DOUBLE, seed=3)))

    property_()
    assert any(passed) or name in ("sum_of_two", "concat")
