"""Every condition of a carrier, by a node that does not fulfil it: it says no, and says why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import pytest
from asking import affine, carry, only_shift, reason
from graphs import assert_same, evaluate, folded, model, normal, operators, statistics

from bnopt.algebra.affine import Affine
from bnopt.algebra.double_double import DoubleDouble

IMAGE = "float[2,4,6,6]"
ALONG_1 = affine(1, 4, 1, 1, shift=(1, 4, 1, 1))
ALONG_3 = affine(1, 1, 1, 6, shift=(1, 1, 1, 6))
SCALE = affine(1, 4, 1, 1)
NEGATIVE = affine(1, 4, 1, 1, negative=True)


class Case(NamedTuple):
    """A node from `c` to `d`, and the affine behind or ahead of it that is refused."""

    reason: str
    node: str
    ways: str
    asked: Affine = ALONG_1
    source: str = IMAGE
    target: str = "float"
    index: int = 0
    opset: int = 17
    weights: Mapping[str, Any] = MappingProxyType({})
    inputs: str = ""
    functions: str = ""


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


BOTH = "behind ahead"
CASES = [
    # The operator itself.
    Case(
        "unknown-operator",
        "d = Relu(c)",
        BOTH,
        SCALE,
        functions='<domain: "", opset_import: ["": 17]>\nRelu (x) => (y) { y = Neg(x) }',
    ),
    Case("unknown-attribute", "d = Transpose<permutation = [0, 1]>(c)", BOTH),
    Case("unknown-opset", "d = Relu(c)", BOTH, SCALE, opset=99),
    Case("not-linear", "d = PRelu(k, c)", "ahead", SCALE, index=1, inputs=f", {IMAGE} k"),
    # Relu and its kin.
    Case("not-linear", "d = Relu(c)", BOTH),
    Case("sign", "d = LeakyRelu(c)", BOTH, NEGATIVE),
    # Concat.
    Case(
        "not-carried",
        "d = Concat<axis = 1>(c, k)",
        BOTH,
        affine(1, 6, 1, 1),
        inputs=", float[2,C,6,6] k",
    ),
    Case(
        "not-carried", "d = Concat<axis = 1>(c, k)", BOTH, affine(1, 6, 1, 1), inputs=", float[2] k"
    ),
    Case(
        "not-carried",
        "s = u.Strange(c) d = Concat<axis = 1>(c, s)",
        BOTH,
        affine(1, 6, 1, 1),
    ),
    Case(
        "shape-mismatch",
        "d = Concat<axis = 1>(c, k)",
        "behind",
        affine(1, 5, 1, 1),
        inputs=", float[2,2,6,6] k",
    ),
    # DepthToSpace and SpaceToDepth.
    Case("not-carried", "d = DepthToSpace<blocksize = 2>(c)", BOTH, affine(1, 1, 1, 2)),
    Case("not-carried", "d = SpaceToDepth<blocksize = 2>(c)", BOTH, affine(1, 1, 2, 1)),
    Case("shape-mismatch", "d = DepthToSpace<blocksize = 2>(c)", "ahead", affine(1, 6, 1, 1)),
    Case("not-carried", "d = DepthToSpace<blocksize = 2>(c)", "ahead", affine(1, 4, 1, 1)),
    # Dropout and Cast.
    Case("not-carried", "d, e = Dropout(c) f = Not(e)", BOTH),
    Case("not-carried", "d = Dropout(c)", BOTH, opset=6),
    Case("not-carried", "d = Dropout(c, , t)", BOTH, inputs=", bool t"),
    Case("not-carried", "d = Dropout(c, , t)", BOTH, weights={"t": np.bool_(True)}),
    Case("not-carried", "d = Cast<to = 10>(c)", BOTH),
    Case("not-carried", "s = u.Strange(c) d = Cast<to = 1>(s)", BOTH),
    # Pad.
    Case("not-carried", "d = Pad(c, s)", BOTH, ALONG_3, weights={"s": ints(*[0] * 7, 1)}),
    Case(
        "not-carried",
        'd = Pad<mode = "edge">(c, s)',
        BOTH,
        ALONG_3,
        weights={"s": ints(*[0] * 7, 1)},
    ),
    Case(
        "not-carried",
        "d = Pad(c, s, p)",
        BOTH,
        weights={"s": ints(*[0] * 7, 1)},
        inputs=", float p",
    ),
    Case("padding", "d = Pad(c, s)", BOTH, weights={"s": ints(*[0] * 7, 1)}),
    Case(
        "padding",
        "d = Pad<pads = [0, 0, 0, 0, 0, 0, 0, 1]>(c)",
        "behind",
        only_shift(1, 1, 1, 1),
        opset=10,
    ),
    Case(
        "overflow",
        "d = Pad(c, s)",
        "behind",
        Affine.from_shift(affine(1, 1, 1, 1).scale, 1e300).after(
            Affine.from_shift(affine(1, 1, 1, 1).scale)
        ),
        weights={"s": ints(*[0] * 7, 1)},
    ),
    Case("not-carried", "d = Pad(c, s)", BOTH, inputs=", int64[8] s"),
    Case("shape-mismatch", "d = Pad(c)", BOTH, SCALE),
    Case(
        "not-carried",
        "d = Pad(c, s, , a)",
        BOTH,
        opset=18,
        weights={"s": ints(0, 1)},
        inputs=", int64[1] a",
    ),
    Case("shape-mismatch", "d = Pad(c, s)", BOTH, SCALE, weights={"s": ints(0, 0)}),
    Case(
        "data-type",
        "s = u.Strange(c) d = Pad(s, t)",
        BOTH,
        SCALE,
        weights={"t": ints(*[0] * 7, 1)},
    ),
    # Pooling.
    Case("not-carried", "d = AveragePool<kernel_shape = [2, 2]>(c)", BOTH, ALONG_3),
    Case("not-carried", "d = GlobalAveragePool(c)", "ahead", ALONG_3),
    *[
        Case(
            "not-linear",
            f"d = AveragePool<kernel_shape = [2, 2], count_include_pad = 1, {how}>(c)",
            BOTH,
        )
        for how in ("pads = [0, 1, 0, 0]", 'auto_pad = "SAME_UPPER"', "ceil_mode = 1")
    ],
    Case("not-carried", "d, e = MaxPool<kernel_shape = [2, 2]>(c) f = Neg(e)", BOTH),
    Case("sign", "d = MaxPool<kernel_shape = [2, 2]>(c)", BOTH, NEGATIVE),
    Case("not-carried", "d = MaxPool<kernel_shape = [2, 2]>(c)", BOTH, affine(1, 1, 1, 6)),
    Case("sign", "d = GlobalMaxPool(c)", BOTH, NEGATIVE),
    Case("unknown-rank", "s = u.Strange(c) d = ReduceMean<axes = [2]>(s)", BOTH),
    Case("not-carried", "d = ReduceMean(c, a)", BOTH, opset=18, inputs=", int64[1] a"),
    Case("not-carried", "d = ReduceMean<axes = [1]>(c)", BOTH),
    Case("not-carried", "d = ReduceMax(c)", "ahead", SCALE),
    Case("sign", "d = ReduceMax<axes = [2]>(c)", BOTH, NEGATIVE),
    # Reshape, Flatten, Squeeze, Unsqueeze.
    Case(
        "unknown-rank",
        "s = u.Strange(c) d = Reshape(s, t)",
        BOTH,
        affine(1, 4, 1),
        weights={"t": ints(2, 4, 36)},
    ),
    Case(
        "unknown-rank",
        "s = u.Strange(c) d = Reshape(s, t) z = Conv(d, K)",
        BOTH,
        weights={"t": ints(2, 4, 6, -1)},
    ),
    Case("unknown-rank", "d = Reshape(c, t)", BOTH, inputs=", int64[K] t"),
    Case("not-carried", "d = Flatten(c)", "ahead", ALONG_3, "float[2,4,H,6]"),
    Case("not-carried", "d = Flatten(c)", "behind", affine(1, 144), "float[2,4,H,W]"),
    Case("unknown-rank", "s = u.Strange(c) d = Squeeze(s, t)", BOTH, weights={"t": ints(2)}),
    Case("unknown-rank", "d = Unsqueeze(c, t)", BOTH, inputs=", int64[K] t"),
    Case("not-carried", "d = Squeeze(c, t)", BOTH, SCALE, inputs=", int64[K] t"),
    Case("not-carried", "d = Squeeze(c)", BOTH, SCALE, "float[2,4,H,1]"),
    Case("not-carried", "d = Squeeze(c, t)", "ahead", weights={"t": ints(1)}),
    Case(
        "not-carried", "d = Unsqueeze(c, t)", "behind", affine(1, 2, 1, 1), weights={"t": ints(1)}
    ),
    # Sums.
    Case("residual", "d = Add(c, k)", "ahead", inputs=f", {IMAGE} k"),
    Case(
        "residual",
        "d = Add<broadcast = 1>(c, k)",
        "behind",
        opset=6,
        inputs=f", {IMAGE} k",
    ),
    Case("unknown-rank", "s = u.Strange(c) d = Add(c, s)", "behind"),
    Case("unknown-rank", "d = Add(, c)", "behind"),
    Case("residual", "d = Add(c, k)", "behind", inputs=", float[2,1,6,6] k"),
    Case("residual", "d = Add(c, k)", "behind", inputs=", float[2,C,6,6] k"),
    Case(
        "residual",
        "d = Add(c, k)",
        "behind",
        only_shift(1, 4, 1, 6),
        "float[2,1,1,6]",
        inputs=", float[1,4,1,1] k",
    ),
    # Resize.
    *[
        Case(
            "not-carried",
            f"d = Resize<{how}>(c, , s)",
            BOTH,
            opset=18,
            weights={"s": np.array([1, 1, 2, 2], np.float32)},
        )
        for how in (
            'mode = "cubic"',
            'coordinate_transformation_mode = "tf_crop_and_resize"',
            'coordinate_transformation_mode = "tf_half_pixel_for_nn"',
            "antialias = 1",
            "exclude_outside = 1",
        )
    ],
    Case(
        "not-carried",
        'd = Resize<keep_aspect_ratio_policy = "not_larger", axes = [2, 3]>(c, , , s)',
        BOTH,
        opset=18,
        weights={"s": ints(12, 12)},
    ),
    Case(
        "not-carried",
        "d = Resize(c, , s)",
        BOTH,
        ALONG_3,
        weights={"s": np.array([1, 1, 1, 1.1], np.float32)},
    ),
    Case("not-carried", "d = Resize(c, , s)", BOTH, inputs=", float[4] s"),
    Case("not-carried", "d = Resize(c, , , s)", BOTH, inputs=", int64[4] s"),
    Case("not-carried", "s = u.Strange(c) d = Resize(s, , , t)", BOTH, inputs=", int64[4] t"),
    Case(
        "not-carried",
        "s = u.Strange(c) d = Resize(s, , , t)",
        BOTH,
        weights={"t": ints(2, 4, 12, 12)},
    ),
    Case("not-carried", "d = Resize(c, , , s)", BOTH, inputs=", int64[3] s"),
    Case(
        "not-carried",
        "s = u.Strange(c) d = Resize(s, , , t) z = Conv(d, K)",
        BOTH,
        inputs=", int64[4] t",
    ),
    # Split.
    Case("not-carried", "d, e = Split<axis = 1>(c)", BOTH, source="float[2,C,6,6]"),
    Case("not-carried", "s = u.Strange(c) d, e = Split<axis = 1>(s)", BOTH),
    Case(
        "not-carried",
        "d, e = Split<axis = 4>(c) z = Conv(d, K) w = Conv(e, K)",
        BOTH,
        affine(1, 1, 1, 1, 4),
    ),
    Case("shape-mismatch", "d, e = Split<axis = 1>(c)", "ahead", affine(1, 3, 1, 1)),
    # Slice.
    Case(
        "not-carried",
        "d = Slice(c, s, e, a)",
        BOTH,
        weights={"s": ints(1), "e": ints(3)},
        inputs=", int64[1] a",
    ),
    Case(
        "unknown-rank",
        "r = u.Strange(c) d = Slice(r, s, e)",
        "behind",
        weights={"s": ints(0, 1), "e": ints(9, 3)},
    ),
    *[
        Case(
            "not-carried", "d = Slice(c, s, e, a, t)", BOTH, weights=dict(w), inputs=f", {dynamic}"
        )
        for dynamic, w in {
            "int64[1] s": {"e": ints(3), "a": ints(1), "t": ints(1)},
            "int64[1] e": {"s": ints(1), "a": ints(1), "t": ints(1)},
            "int64[1] t": {"s": ints(1), "a": ints(1), "e": ints(3)},
        }.items()
    ],
    Case(
        "shape-mismatch",
        "d = Slice(c, s, e, a)",
        BOTH,
        weights={"s": ints(0, 1), "e": ints(9), "a": ints(0, 1)},
    ),
    Case("shape-mismatch", "d = Slice(c, , e, a)", BOTH, weights={"e": ints(3), "a": ints(1)}),
    Case("shape-mismatch", "d = Slice(c, s, , a)", BOTH, weights={"s": ints(1), "a": ints(1)}),
    Case(
        "shape-mismatch",
        "d = Slice(c, s, e, a, t)",
        BOTH,
        weights={"s": ints(0, 1), "e": ints(9, 3), "a": ints(0, 1), "t": ints(1)},
    ),
    Case(
        "not-carried",
        "d = Slice(c, s, e, a)",
        "behind",
        affine(1, 2, 1, 1),
        "float[2,C,6,6]",
        weights={"s": ints(1), "e": ints(3), "a": ints(1)},
    ),
    Case(
        "shape-mismatch",
        "d = Slice(c, s, e, a)",
        "behind",
        affine(1, 3, 1, 1),
        weights={"s": ints(1), "e": ints(3), "a": ints(1)},
    ),
    # Tile and Expand.
    Case("unknown-rank", "s = u.Strange(c) d = Tile(s, t)", BOTH, weights={"t": ints(1, 2, 1, 1)}),
    Case("unknown-rank", "d = Expand(c, t)", BOTH, inputs=", int64[K] t"),
    Case(
        "shape-mismatch",
        "d = Tile(c, t)",
        "behind",
        affine(4, 1, 1),
        weights={"t": ints(1, 1, 1, 1)},
    ),
    Case(
        "not-carried",
        "d = Tile(c, t)",
        "behind",
        affine(1, 8, 1, 1),
        weights={"t": ints(1, 2, 1, 1)},
    ),
    Case(
        "not-carried",
        "d = Tile(c, t)",
        "ahead",
        source="float[2,C,6,6]",
        weights={"t": ints(1, 2, 1, 1)},
    ),
    Case("not-carried", "d = Tile(c, t)", "ahead", inputs=", int64[4] t"),
    Case(
        "unknown-rank",
        "s = u.Strange(c) d = Tile(s, t) z = Conv(d, K)",
        BOTH,
        inputs=", int64[4] t",
    ),
    Case(
        "shape-mismatch",
        "d = Expand(c, t) z = Conv(d, K)",
        "ahead",
        affine(1, 4, 1, 1, 1),
        "float[2,4,6,6,6]",
        inputs=", int64[L] t",
    ),
    Case(
        "not-carried",
        "d = Expand(c, t)",
        "ahead",
        affine(1, 8, 1, 1),
        "float[2,C,6,6]",
        weights={"t": ints(1, 8, 1, 1)},
    ),
    Case(
        "not-carried",
        "d = Expand(c, t) z = Conv(d, K)",
        "ahead",
        weights={"t": ints(2, 6, 6, 6), "K": np.ones((2, 6, 1, 1), np.float32)},
    ),
    # Transpose.
    Case("shape-mismatch", "d = Transpose<perm = [0, 2, 1]>(c)", BOTH),
]


@pytest.mark.parametrize(
    ("case", "way"),
    [
        pytest.param(case, way, id=f"{case.node} {way}")
        for case in CASES
        for way in case.ways.split()
    ],
)
def test_refused(case: Case, way: str) -> None:
    text = f"({case.source} c{case.inputs}) => ({case.target} d) {{ {case.node} }}"
    answer = carry(
        text,
        way,
        case.asked,
        case.index,
        opset=case.opset,
        functions=case.functions,
        domains=', "u": 1',
        **{"K": np.ones((2, 4, 1, 1), np.float32), **case.weights},
    )
    assert reason(answer) == case.reason


# What does pass, in numbers.


def passes_by(
    way: str, nodes: str, opset: int = 17, *, shifted: bool = True, **weights: Any
) -> list[str]:
    """The operators that are left of a convolution, these nodes from `c` to `d` and a batch norm.

    The batch norm stands behind them, or the convolution does.
    """
    stats = statistics(4)
    stats["g"] = np.abs(stats["g"])
    if not shifted:
        stats |= {"b": np.zeros(4, np.float32), "m": np.zeros(4, np.float32)}
    norm = "BatchNormalization({}, g, b, m, v)"
    first, last = ("Conv(x, K)", norm) if way == "behind" else (norm.format("x"), "Conv({}, K)")
    text = f"""g (float[2,4,6,6] x) => (float[N,C,H,V] y) {{
        c = {first} {nodes} y = {last.format("d")} }}"""
    proto = model(text, opset, K=normal(4, 4, 1, 1), **weights, **stats)
    assert_same(proto, x=normal(2, 4, 6, 6))
    return operators(folded(proto)[0])


@pytest.mark.parametrize("way", ["behind", "ahead"])
@pytest.mark.parametrize(
    ("nodes", "opset", "weights"),
    [
        ("d = Resize(c, , s)", 17, {"s": np.array([1, 1, 2, 1.5], np.float32)}),
        ("d = Resize(c, , s)", 17, {"s": np.array([1, 1, 1.1, 1], np.float32)}),
        ('d = Resize<mode = "linear">(c, , , n)', 17, {"n": ints(2, 4, 9, 5)}),
        ("d = Resize<axes = [3, 2]>(c, , , n)", 18, {"n": ints(9, 5)}),
        ("d = Resize<axes = [-1]>(c, , s)", 18, {"s": np.array([3], np.float32)}),
        # Exporters of opset 11 write operands that hold nothing.
        (
            "d = Resize(c, r, s, n)",
            11,
            {"r": np.zeros(0, np.float32), "s": np.zeros(0, np.float32), "n": ints(2, 4, 9, 5)},
        ),
        ("d = Resize(c, s)", 10, {"s": np.array([1, 1, 2, 1.5], np.float32)}),
        ("d = Upsample(c, s)", 9, {"s": np.array([1, 1, 2, 1.5], np.float32)}),
        ("d = Upsample<scales = [1.0, 1.0, 2.0, 3.0]>(c)", 8, {}),
    ],
)
def test_interpolation(way: str, nodes: str, opset: int, weights: dict[str, Any]) -> None:
    carrier = "Upsample" if "Upsample" in nodes else "Resize"
    left = ["Conv", carrier] if way == "behind" else [carrier, "Conv"]
    assert passes_by(way, nodes, opset, **weights) == left


@pytest.mark.parametrize("way", ["behind", "ahead"])
@pytest.mark.parametrize(("mode", "opset"), [("reflect", 17), ("edge", 17), ("wrap", 19)])
def test_padding_with_the_data_itself_carries_a_shift(way: str, mode: str, opset: int) -> None:
    left = passes_by(way, f'd = Pad<mode = "{mode}">(c, s)', opset, s=ints(*[0] * 7, 1))
    assert left == (["Conv", "Pad"] if way == "behind" else ["Pad", "Conv"])


@pytest.mark.parametrize("way", ["behind", "ahead"])
def test_a_scale_near_one_moves_elements_though_the_length_stays(way: str) -> None:
    """floor(4 * 1.1) is 4, and the channels are what is resized."""
    nodes = "d = Resize(c, , s)"
    left = passes_by(way, nodes, s=np.array([1, 1.1, 1, 1], np.float32))
    assert "BatchNormalization" in left


def test_a_cast_to_a_wider_type_widens_the_range() -> None:
    """What a batch norm makes of float16 numbers in float need not fit float16."""
    text = """g (float16[2,4,6,6] x) => (float[2,4,6,6] y) {
        a = Conv(x, K) c = Cast<to = 1>(a) y = BatchNormalization(c, g, b, m, v) }"""
    stats = {**statistics(4), "g": np.full(4, 1000, np.float32), "v": np.ones(4, np.float32)}
    proto = model(text, K=np.ones((4, 4, 1, 1), np.float16), **stats)
    x = (100 * np.abs(normal(2, 4, 6, 6))).astype(np.float16)
    expected, actual = (evaluate(p, x=x)[0] for p in (proto, folded(proto)[0]))
    assert np.isfinite(expected).all()
    assert np.isfinite(actual).all()


def test_all_affines_are_finite_or_not() -> None:
    one, infinite = (DoubleDouble.of(np.array([n])) for n in (1.0, np.inf))
    assert Affine(one, one).is_finite()
    assert not Affine(infinite, one).is_finite()
    assert not Affine(one, infinite).is_finite()
