"""Every reason to keep a batch norm: a graph that has it, and nothing of that graph is changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import assert_same, conv_bn, decisions, folded, model, normal, statistics
from onnx import helper

from bnopt.reasons import REASONS

BN = "y = BatchNormalization(c, g, b, m, v)"
IMAGE = "(float[N,3,6,6] x) => (float[N,4,6,6] y)"


def image(body: str, opset: int = 17, domains: str = "", **weights: Any) -> onnx.ModelProto:
    """A graph from x [N,3,6,6] to y [N,4,6,6] with weights W [4,3,1,1] and g, b, m, v."""
    every = {"W": normal(4, 3, 1, 1), **statistics(4), **weights}
    used = {k: a for k, a in every.items() if a is not None}
    return model(f"g {IMAGE} {{ {body} }}", opset, domains=domains, **used)


def same(
    body: str, opset: int = 17, rank: int = 4, domains: str = "", **weights: Any
) -> onnx.ModelProto:
    """A graph from x to y, both [N,4,...] of `rank`."""
    dims = ",".join(["N", "4", "H", "V"][:rank])
    stats = {**statistics(4), **weights}
    text = f"g (float[{dims}] x) => (float[{dims}] y) {{ {body} }}"
    return model(text, opset, domains=domains, **stats)


def with_output(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    proto.graph.output.append(helper.make_tensor_value_info(name, 1, None))
    return proto


def captured() -> onnx.ModelProto:
    return model(
        """g (float[N,3,6,6] x, bool k) => (float[N,4,6,6] y, float[N,4,6,6] z) {
            c = Conv(x, W)
            y = BatchNormalization(c, g, b, m, v)
            z = If (k) <
                then_branch = t () => (float[N,4,6,6] p) { p = Relu(c) },
                else_branch = e () => (float[N,4,6,6] q) { q = Neg(y) }>
        }""",
        W=normal(4, 3, 1, 1),
        **statistics(4),
    )


def other_scope() -> onnx.ModelProto:
    return model(
        """g (float[N,3,6,6] x, bool k) => (float[N,4,6,6] z) {
            c = Conv(x, W)
            z = If (k) <
                then_branch = t () => (float[N,4,6,6] p) { p = BatchNormalization(c, g, b, m, v) },
                else_branch = e () => (float[N,4,6,6] q) { q = Neg(c) }>
        }""",
        W=normal(4, 3, 1, 1),
        **statistics(4),
    )


def two_inputs(body: str) -> onnx.ModelProto:
    text = f"g (float[N,4,6,6] x, float[N,4,6,6] z) => (float[N,4,6,6] y) {{ {body} }}"
    return model(text, **statistics(4))


def flat(body: str) -> onnx.ModelProto:
    """One feature that a bias broadcasts to four."""
    text = f"g (float[N,3] x) => (float[N,4] y) {{ {body} }}"
    return model(text, W=normal(3, 1), A=normal(4), **statistics(4))


def mixed_types(body: str, **weights: Any) -> onnx.ModelProto:
    """No valid model; nothing may be assumed about what it means."""
    dims = "N,3" if "Gemm" in body else "N,3,6,6"
    out = dims.replace("3", "4", 1)
    text = f"g (float[{dims}] x) => (float[{out}] y) {{ {body} }}"
    return model(text, **weights, **statistics(4))


def unknown_attribute() -> onnx.ModelProto:
    proto = conv_bn()
    proto.graph.node[1].attribute.append(helper.make_attribute("is_test", 1))
    return proto


def annotated(proto: onnx.ModelProto, name: str, shape: list[int | None]) -> onnx.ModelProto:
    """With a value_info that nothing vouches for."""
    proto.graph.value_info.append(helper.make_tensor_value_info(name, 1, shape))
    return proto


def without_shape(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same, but nobody says what rank its input has."""
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    return proto


def attribute_of_a_function() -> onnx.ModelProto:
    """Epsilon is the caller's to choose."""
    functions = """
    <domain: "f", opset_import: ["": 17]>
    Block <e> (x) => (y) {
        o = Constant<value = float[4] {1, 1, 1, 1}>()
        K = Constant<value = float[4,3,1,1] {1,2,3,4,5,6,7,8,9,10,11,12}>()
        c = Conv(x, K)
        y = BatchNormalization<epsilon: float = @e>(c, o, o, o, o)
    }
    """
    text = "g (float[N,3,6,6] x) => (float[N,4,6,6] y) { y = f.Block<e = 0.1>(x) }"
    return model(text, functions=functions, domains=', "f": 1')


def operator_that_is_a_function() -> onnx.ModelProto:
    """A local function takes the name of an ONNX operator, so Conv means what its body says."""
    functions = """
    <domain: "", opset_import: ["": 17]>
    Conv (x, W) => (y) { y = Neg(x) }
    """
    text = "g (float[N,4,6,6] x) => (float[N,4,6,6] y) { c = Conv(x, W) "
    text += "y = BatchNormalization(c, g, b, m, v) }"
    return model(text, functions=functions, W=normal(4, 4, 1, 1), **statistics(4))


def newer_opset() -> onnx.ModelProto:
    proto = conv_bn()
    proto.opset_import[0].version = onnx.defs.onnx_opset_version() + 1
    return proto


def no_opset() -> onnx.ModelProto:
    """Without an import of the default domain its operators mean nothing."""
    proto = conv_bn()
    proto.opset_import[0].domain = "elsewhere"
    return proto


def quantized(opset: int = 17, axis: int | None = None, **replace: Any) -> onnx.ModelProto:
    """A convolution with a weight of int8."""
    chosen = "" if axis is None else f"<axis = {axis}>"
    weights = {
        "Q": np.ones((4, 3, 1, 1), np.int8),
        "s": np.float32(0.1),
        "z": np.int8(0),
        **replace,
    }
    return image(
        f"w = DequantizeLinear{chosen}(Q, s, z) c = Conv(x, w) {BN}", opset, W=None, **weights
    )


STATS = "b, m, v"
LATE = f"y = BatchNormalization(d, g, {STATS})"
EXPANDED = np.array([1, 4, 6, 6])
nan = float("nan")
CASES: dict[str, list[onnx.ModelProto]] = {
    "training-mode": [
        image(f"c = Conv(x, W) y, rm, rv = BatchNormalization<training_mode = 1>(c, g, {STATS})"),
        image(f"c = Conv(x, W) y = BatchNormalization<training_mode = 1>(c, g, {STATS})"),
        image(f"c = Conv(x, W) y = BatchNormalization<is_test = 0>(c, g, {STATS})", 6),
        image(f"c = Conv(x, W) y = BatchNormalization(c, g, {STATS})", 6),
        image(f"c = Conv(x, W) y, a, d, e, f = BatchNormalization(c, g, {STATS})", 9),
        image(f"c = Conv(x, W) y, a, d, e, f = BatchNormalization(c, g, {STATS})", 7),
    ],
    "batch-statistics": [
        same(
            """mu = ReduceMean<axes = [0, 2, 3], keepdims = 0>(x)
            k = ReduceMean<axes = [0, 2, 3]>(x) d = Sub(x, k) e = Mul(d, d)
            va = ReduceMean<axes = [0, 2, 3], keepdims = 0>(e)
            y = BatchNormalization(x, g, b, mu, va)"""
        )
    ],
    "dynamic-statistics": [
        model(
            f"""g (float[N,3,6,6] x, float[4] g) => (float[N,4,6,6] y) {{ c = Conv(x, W) {BN} }}""",
            W=normal(4, 3, 1, 1),
            **{k: a for k, a in statistics(4).items() if k != "g"},
        )
    ],
    "non-finite": [
        image(f"c = Conv(x, W) {BN}", v=np.array([1, nan, 1, 1], np.float32)),
        image(f"c = Conv(x, W) {BN}", m=np.array([1, np.inf, 1, 1], np.float32)),
        image(f"c = Conv(x, W) {BN}", g=np.array([1, 1, -np.inf, 1], np.float32)),
        image(f"c = Conv(x, W) {BN}", b=np.array([1, 1, nan, 1], np.float32)),
        image(f"c = Conv(x, W) {BN}", W=np.full((4, 3, 1, 1), nan, np.float32)),
        image(f"c = Conv(x, W, B) {BN}", B=np.full(4, nan, np.float32)),
        image(
            f"c = Conv(x, W) d = Add(c, A) y = BatchNormalization(d, g, {STATS})",
            A=np.full((1, 4, 1, 1), nan, np.float32),
        ),
    ],
    "negative-variance": [
        image(f"c = Conv(x, W) {BN}", v=np.array([1, -1, 1, 1], np.float32)),
        image(
            f"c = Conv(x, W) y = BatchNormalization<epsilon = 0.0>(c, g, {STATS})",
            v=np.array([1, 0, 1, 1], np.float32),
        ),
    ],
    "overflow": [
        conv_bn("double", np.float64, m=np.full(4, 1e300), v=np.full(4, 1e-300), epsilon=0.0),
        conv_bn("double", np.float64, g=np.full(4, 1e300), v=np.full(4, 1e-300), epsilon=0.0),
        conv_bn(
            "float16",
            np.float16,
            W=np.full((4, 3, 3, 3), 6e4, np.float16),
            g=np.full(4, 3, np.float16),
        ),
        conv_bn(
            "float16", np.float16, b=np.full(4, 6e4, np.float16), m=np.full(4, -6e4, np.float16)
        ),
        conv_bn(g=np.full(4, 3e38, np.float32), v=np.full(4, 1e-10, np.float32)),
    ],
    "underflow": [
        conv_bn(
            "float16",
            np.float16,
            g=np.full(4, 1e-6, np.float16),
            b=np.zeros(4, np.float16),
            m=np.zeros(4, np.float16),
        ),
    ],
    "shape-mismatch": [
        image(f"c = Conv(x, W) {BN}", **{k: a.reshape(4, 1) for k, a in statistics(4).items()}),
        image(f"c = Conv(x, W) {BN}", m=normal(3)),
        image(f"c = Conv(x, W) {BN}", W=normal(1, 3, 1, 1)),
        image(f"c = Conv(x, W, B) {BN}", B=normal(1)),
        image(f"c = ConvTranspose(x, W) {BN}", W=normal(3, 1, 1, 1)),
        image(f"c = Conv(x, W) {BN}", g=normal(1, 4)),
        model(  # no batch norm works on vectors
            f"g (float[3] x) => (float[4] y) {{ c = MatMul(x, W) {BN} }}",
            W=normal(3, 4),
            **statistics(4),
        ),
        image(
            f"c = Conv(x, W) d = Add(c, A) y = BatchNormalization(d, g, {STATS})",
            A=normal(1, 2, 1, 1),
        ),
        image(f"c = Conv(x, W) y = BatchNormalization<spatial = 0, is_test = 1>(c, g, {STATS})", 6),
    ],
    "extra-outputs": [
        image(f"c = Conv(x, W) y, rm, rv = BatchNormalization(c, g, {STATS})", 14),
    ],
    "unknown-attribute": [unknown_attribute(), attribute_of_a_function()],
    "unknown-opset": [newer_opset(), no_opset()],
    "data-type": [
        mixed_types(f"c = Conv(x, W, B) {BN}", W=normal(4, 3, 1, 1), B=normal(4, dtype=np.float16)),
        mixed_types(f"c = Gemm(x, W, B) {BN}", W=normal(3, 4), B=normal(4, dtype=np.float16)),
        mixed_types(f"c = Conv(x, W) {BN}", W=np.ones((4, 3, 1, 1), np.int32)),
        image(f"c = Conv(x, W) {BN}", g=np.ones(4, np.int32)),
    ],
    "shared-output": [
        model(  # a local function by the name of Shape reads the numbers
            f"""g (float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] s) {{
                c = Conv(x, W) s = Shape(c) {BN} }}""",
            functions='<domain: "", opset_import: ["": 17]>\nShape (x) => (y) { y = Neg(x) }',
            W=normal(4, 3, 1, 1),
            **statistics(4),
        ),
        image(f"c = Conv(x, W) z = BatchNormalization(c, g, {STATS}) y = Add(z, c)"),
    ],
    "graph-output": [
        with_output(image(f"c = Conv(x, W) {BN}"), "c"),
    ],
    "captured": [captured()],
    "unread": [image(f"c = Conv(x, W) d = BatchNormalization(c, g, {STATS}) y = Conv(x, W)")],
    "graph-input": [same(f"y = BatchNormalization(x, g, {STATS})")],
    "constant-input": [
        same(f"z = BatchNormalization(k, g, {STATS}) y = Add(x, z)", k=normal(1, 4, 1, 1))
    ],
    "other-scope": [other_scope()],
    "dynamic-weight": [
        model(
            f"""g (float[N,3,6,6] x, float[4,3,1,1] W) => (float[N,4,6,6] y) {{
                c = Conv(x, W) {BN} }}""",
            **statistics(4),
        ),
        model(
            f"""g (float[N,3,6,6] x, float[4] B) => (float[N,4,6,6] y) {{
                c = Conv(x, W, B) {BN} }}""",
            W=normal(4, 3, 1, 1),
            **statistics(4),
        ),
        model(  # the constant operand of Gemm owns the rows
            f"g (float[3,4] x) => (float[4,4] y) {{ c = Gemm(W, x) {BN} }}",
            W=normal(4, 3),
            **statistics(4),
        ),
        model(
            f"g (float[2,3] x, float[4] B) => (float[2,4] y) {{ c = Gemm(x, W, B) {BN} }}",
            W=normal(3, 4),
            **statistics(4),
        ),
    ],
    "quantized-weight": [
        quantized(opset=12),  # a scale for each channel came with opset 13
        quantized(Q=np.full((4, 3, 1, 1), -128, np.int8), g=-np.ones(4, np.float32)),
        quantized(s=np.full(3, 0.1, np.float32), z=np.zeros(3, np.int8), axis=1),
        with_output(quantized(), "w"),
    ],
    "channel-axis": [
        model(
            f"g (float[N,4,3] x) => (float[N,4,4] y) {{ c = MatMul(x, W) {BN} }}",
            W=normal(3, 4),
            **statistics(4),
        ),
        model(  # the constant runs along the features, the batch norm along the rows
            f"""g (float[N,4,3] x) => (float[N,4,4] y) {{
                c = MatMul(x, W) d = Add(c, A) y = BatchNormalization(d, g, {STATS}) }}""",
            W=normal(3, 4),
            A=normal(4),
            **statistics(4),
        ),
        image(
            f"c = Conv(x, W) y = BatchNormalization<spatial = 0>(c, g, {STATS})",
            7,
            g=normal(4, 6, 6),
            b=normal(4, 6, 6),
            m=normal(4, 6, 6),
            v=np.abs(normal(4, 6, 6)),
        ),
    ],
    "unknown-rank": [
        without_shape(
            model(
                f"g (float[N,3] x) => (float[N,4] y) {{ c = MatMul(x, W) {BN} }}",
                W=normal(3, 4),
                **statistics(4),
            )
        ),
        annotated(
            without_shape(
                model(
                    f"g (float[N,3] x) => (float[N,4] y) {{ c = MatMul(x, W) {BN} }}",
                    W=normal(3, 4),
                    **statistics(4),
                )
            ),
            "c",
            [None, 4],
        ),
    ],
    "bias-shape": [
        # One output channel that the constant broadcasts to four.
        image(
            f"c = Conv(x, W) d = Add(c, A) y = BatchNormalization(d, g, {STATS})",
            W=normal(1, 3, 1, 1),
            A=normal(1, 4, 1, 1),
        ),
        flat(f"c = Gemm(x, W) d = Add(c, A) y = BatchNormalization(d, g, {STATS})"),
        flat(f"c = MatMul(x, W) d = Add(c, A) y = BatchNormalization(d, g, {STATS})"),
        model(  # a single number, but of rank 3: the rows move to axis 1
            f"""g (float[4,3] x) => (float[1,4,4] y) {{
                c = MatMul(x, W) d = Add(c, A) y = BatchNormalization(d, g, {STATS}) }}""",
            W=normal(3, 4),
            A=normal(1, 1, 1),
            **statistics(4),
        ),
    ],
    "not-linear": [
        same(f"c = Relu(x) {BN}"),
        two_inputs(f"c = Mul(x, z) {BN}"),
    ],
    "residual": [two_inputs(f"c = Add(x, z) {BN}"), two_inputs(f"c = Sub(x, z) {BN}")],
    "not-carried": [
        image(f"a = Conv(x, W) c = ReduceMean<axes = [1]>(a) d = Expand(c, E) {LATE}", E=EXPANDED),
        image(f"a = Conv(x, W) s = Cast<to = 10>(a) d = Cast<to = 1>(s) {LATE}"),
        image(f"a = Conv(x, W) d = Dropout(a, R, T) {LATE}", R=np.float32(0.5), T=np.bool_(True)),
    ],
    "rounded": [
        image(f"c = Conv(x, W) e = BatchNormalization(c, g, {STATS}) y = Floor(e)"),
        image(
            """c = Conv(x, W) d = Mul(c, A) e = Div(d, k) r = Clip(e) i = Cast<to = 7>(r)
            y = Cast<to = 1>(i)""",
            A=normal(1, 4, 1, 1),
            k=np.float32(8),
        ),
    ],
    "sign": [
        image(
            f"a = Conv(x, W) c = MaxPool<kernel_shape = [1, 1]>(a) {BN}", g=-np.ones(4, np.float32)
        ),
    ],
    "padding": [
        model(  # the shift has no scale to be divided by
            f"""g (float[N,4,6,6] x) => (float[N,2,6,6] z) {{
                y = BatchNormalization(x, g, {STATS}) z = Conv<pads = [1, 1, 1, 1]>(y, W) }}""",
            W=normal(2, 4, 3, 3),
            **{**statistics(4), "g": np.array([1, 0, 1, 1], np.float32)},
        ),
    ],
    "unknown-operator": [
        operator_that_is_a_function(),
        image(f"c = u.Conv(x, W) {BN}", domains=', "u": 1'),
        model(  # it hides the rank of all that follows
            f"""g (float[N,3] x) => (float[N,4] y) {{
                r = u.Strange(x) c = MatMul(r, W) {BN} }}""",
            domains=', "u": 1',
            W=normal(3, 4),
            **statistics(4),
        ),
        image(
            f"c = Conv(x, W) d = u.Add(c, A) y = BatchNormalization(d, g, {STATS})",
            A=normal(1, 4, 1, 1),
            domains=', "u": 1',
        ),
        model(
            f"g (float[N,4] x) => (float[N,4] y) {{ c = u.Strange(x) {BN} }}",
            domains=', "u": 1',
            **statistics(4),
        ),
        same("c = u.Strange(x) d = Mul(c, K) y = Add(d, K)", domains=', "u": 1', K=normal(4, 1, 1)),
    ],
    "overridable": [],  # below: it needs an option
}


def overridable(ir_version: int) -> onnx.ModelProto:
    proto = conv_bn()
    proto.ir_version = ir_version
    for tensor in proto.graph.initializer:
        shape = list(tensor.dims)
        proto.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, shape)
        )
    return proto


@pytest.mark.parametrize(
    ("reason", "index"), [(r, i) for r, protos in CASES.items() for i in range(len(protos))]
)
def test_reason(reason: str, index: int) -> None:
    proto = CASES[reason][index]
    result, plan = folded(proto)
    assert [site.decision.reason for site in plan.sites] == [reason]
    assert plan.sites[0].decision.message
    assert not plan.moves
    assert result == ir.to_proto(
        ir.from_proto(onnx.ModelProto.FromString(proto.SerializeToString()))
    )


@pytest.mark.parametrize("reader", ["shared-output", "graph-output"])
def test_a_bias_in_front_of_a_batch_norm_that_stays_is_merged_into_it(reader: str) -> None:
    """The value before both has another reader; the two affines become one all the same."""
    proto = image(
        f"c = Conv(x, W) d = Add(c, A) z = BatchNormalization(d, g, {STATS}) y = Tanh(z)",
        A=normal(1, 4, 1, 1),
    )
    name = "c"
    if reader == "shared-output":
        name = "e"
        proto.graph.node.append(helper.make_node("Sigmoid", ["c"], ["e"]))
    proto.graph.output.append(helper.make_tensor_value_info(name, 1, ["N", 4, 6, 6]))
    assert decisions(proto) == [reader]
    result, _ = folded(proto)
    assert "Add" not in [node.op_type for node in result.graph.node]
    assert_same(proto, x=normal(2, 3, 6, 6))


def test_every_reason_is_documented_and_tested() -> None:
    assert set(CASES) == set(REASONS)


@pytest.mark.parametrize("ir_version", [3, 8])
def test_keep_overridable(ir_version: int) -> None:
    proto = overridable(ir_version)
    assert decisions(proto, keep_overridable=True) == ["overridable"]
    assert decisions(proto) == ["folded"]


def test_only_the_weight_may_be_overridden() -> None:
    proto = conv_bn()
    proto.graph.input.append(helper.make_tensor_value_info("W", 1, [4, 3, 3, 3]))
    assert decisions(proto, keep_overridable=True) == ["overridable"]
    assert decisions(proto) == ["folded"]
