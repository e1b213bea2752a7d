"""Where other tools produce wrong or invalid models: each row is right here.

Each test is a form that at least one optimizer, exporter or runtime in use gets wrong.
"""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx.checker
import pytest
from graphs import (
    assert_same,
    conv_bn,
    decisions,
    evaluate,
    folded,
    model,
    normal,
    operators,
    run,
    statistics,
    weight,
)
from onnx import helper

import bnopt

CONV = {"W": normal(4, 3, 1, 1)}
IMAGE = "(float[N,3,6,6] x) => (float[N,4,6,6] y)"
BN = "BatchNormalization"
STATS = "g, b, m, v"


def test_training_mode_with_one_output_is_never_folded() -> None:
    text = f"g {IMAGE} {{ c = Conv(x, W) y = {BN}<training_mode = 1>(c, {STATS}) }}"
    proto = model(text, **CONV, **statistics(4))
    assert decisions(proto) == ["training-mode"]
    with pytest.raises(bnopt.RefusalError) as caught:
        bnopt.fold(proto)
    assert [f.code for f in caught.value.findings] == ["training-mode"]


MATMUL_RESHAPE = f"""g (float[4,6] x) => (float[2,6,2] y) {{
    c = MatMul(x, W)
    s = Constant<value_ints = [2, 6, 2]>()
    d = Reshape(c, s)
    y = {BN}(d, {STATS})
}}"""
SQUARE_TRANSPOSE = f"""g (float[N,6] x) => (float[6,6] y) {{
    c = MatMul(x, W)
    d = Transpose<perm = [1, 0]>(c)
    y = {BN}(d, {STATS})
}}"""


@pytest.mark.parametrize("text", [MATMUL_RESHAPE, SQUARE_TRANSPOSE], ids=["reshape", "transpose"])
def test_matmul_then_reshape_or_transpose(text: str) -> None:
    """onnxruntime fuses this wrongly; bnopt leaves it, and the judge sees through onnxruntime."""
    rows = 4 if "4,6" in text else 6
    proto = model(text, W=normal(6, 6), **statistics(6))
    assert decisions(proto) == ["channel-axis"]
    x = normal(rows, 6)
    np.testing.assert_allclose(run(proto, x=x)[0], evaluate(proto, x=x)[0], rtol=1e-4, atol=1e-4)


def test_onnxruntime_crash_is_a_clear_line(tmp_path: Path) -> None:
    """training_mode=1 with two empty optional outputs, which brings onnxruntime down."""
    proto = model(
        f"g {IMAGE} {{ c = Conv(x, W) y = {BN}<training_mode = 1>(c, {STATS}) }}",
        **CONV,
        **statistics(4),
    )
    proto.graph.node[1].output.extend(["", ""])
    assert decisions(proto) == ["training-mode"]
    verdict = bnopt.validate(proto, proto)
    assert verdict.oracle in ("float64", "none", "float64+onnxruntime")
    if verdict.oracle != "float64+onnxruntime":
        assert any("onnxruntime" in note for note in verdict.notes)


@pytest.mark.parametrize("alpha", [1.0, 0.5])
def test_gemm_beta(alpha: float) -> None:
    text = f"""g (float[N,3] x) => (float[N,4] y) {{
        c = Gemm<alpha = {alpha}, beta = 0.25>(x, W, C)
        y = {BN}(c, {STATS})
    }}"""
    proto = model(text, W=normal(3, 4), C=normal(4, seed=2), **statistics(4))
    assert decisions(proto) == ["folded"]
    assert_same(proto, x=normal(5, 3))


def test_conv_whose_output_is_a_graph_output_or_captured() -> None:
    proto = conv_bn()
    proto.graph.output.append(helper.make_tensor_value_info("c", 1, None))
    assert decisions(proto) == ["graph-output"]
    text = f"""g (float[N,3,6,6] x, bool k) => (float[N,4,6,6] y, float[N,4,6,6] z) {{
        c = Conv(x, W)
        y = {BN}(c, {STATS})
        z = If (k) <then_branch = t () => (float[N,4,6,6] p) {{ p = Relu(c) }},
                    else_branch = e () => (float[N,4,6,6] q) {{ q = Neg(c) }}>
    }}"""
    assert decisions(model(text, **CONV, **statistics(4))) == ["captured"]


def test_five_outputs_of_opset_9() -> None:
    text = f"g {IMAGE} {{ c = Conv(x, W) y, p, q, r, s = {BN}(c, {STATS}) }}"
    assert decisions(model(text, 9, **CONV, **statistics(4))) == ["training-mode"]


def test_is_test_0_of_opset_6() -> None:
    text = f"g {IMAGE} {{ c = Conv(x, W) y = {BN}<is_test = 0>(c, {STATS}) }}"
    assert decisions(model(text, 6, **CONV, **statistics(4))) == ["training-mode"]


def test_spatial_0() -> None:
    text = f"g {IMAGE} {{ c = Conv(x, W) y = {BN}<spatial = 0>(c, {STATS}) }}"
    stats = {k: np.abs(normal(4, 6, 6, seed=i)) for i, k in enumerate("gbmv")}
    assert decisions(model(text, 7, **CONV, **stats)) == ["channel-axis"]


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_conv_with_float32_statistics(kind: str) -> None:
    dtype = np.dtype(np.float16 if kind == "float16" else ml_dtypes.bfloat16)
    proto = conv_bn(kind, dtype, opset=22, **statistics(4, np.float32))
    result, _ = folded(proto)
    assert operators(result) == ["Conv"]
    assert {weight(result, t.name).dtype for t in result.graph.initializer} == {dtype}
    onnx.checker.check_model(result, full_check=True)
    x = normal(2, 3, 8, 8, dtype=dtype)
    expected = evaluate(
        conv_bn(**{k: v.astype(np.float32) for k, v in _weights(proto).items()}),
        x=x.astype(np.float32),
    )[0]
    wide = {k: v.astype(np.float32) for k, v in _weights(result).items()}
    text = "g (float[N,3,8,8] x) => (float[N,4,6,6] y) { y = Conv(x, W, B) }"
    new = model(text, W=wide.pop("W"), B=next(iter(wide.values())))
    step = float(ml_dtypes.finfo(dtype).eps)
    np.testing.assert_allclose(
        evaluate(new, x=x.astype(np.float32))[0],
        expected,
        rtol=0,
        atol=8 * step * float(np.abs(expected).max()),
    )


def _weights(proto: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {t.name: weight(proto, t.name) for t in proto.graph.initializer}


def test_explicit_empty_bias_name() -> None:
    proto = conv_bn()
    proto.graph.node[0].input.append("")
    assert decisions(proto) == ["folded"]
    assert_same(proto, x=normal(2, 3, 8, 8))


def test_no_weight_computing_nodes_are_left() -> None:
    result, _ = folded(conv_bn())
    assert len(result.graph.node) == 1
    assert len(result.graph.initializer) == 2


def test_constant_value_floats_is_float32() -> None:
    text = f"""g {IMAGE} {{
        o = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>()
        c = Conv(x, W)
        y = {BN}(c, o, b, m, v)
    }}"""
    proto = model(text, **CONV, **statistics(4))
    result, _ = folded(proto)
    assert {t.data_type for t in result.graph.initializer} == {onnx.TensorProto.FLOAT}
    assert_same(proto, x=normal(2, 3, 6, 6))


def test_fp16_scale_that_overflows_while_the_product_does_not() -> None:
    """gamma 300 over sqrt(0 + 1e-5) is 94868, beyond float16; times the weight 0.01 it is 949."""
    proto = conv_bn(
        "float16",
        np.float16,
        W=np.full((4, 3, 3, 3), 0.01, np.float16),
        g=np.full(4, 300, np.float16),
        v=np.zeros(4, np.float16),
        m=np.zeros(4, np.float16),
    )
    result, _ = folded(proto)
    assert operators(result) == ["Conv"]
    assert np.isfinite(weight(result, "W").astype(np.float32)).all()
    x = np.full((1, 3, 8, 8), 0.01, np.float16)
    assert np.isfinite(run(result, x=x)[0].astype(np.float32)).all()


@pytest.mark.parametrize(
    ("replace", "epsilon", "reason"),
    [
        ({"v": np.array([1, 0, 1, 1], np.float32)}, 0.0, "negative-variance"),
        ({"v": np.array([1, -0.5, 1, 1], np.float32)}, 1e-5, "negative-variance"),
        ({"v": np.array([1, np.nan, 1, 1], np.float32)}, 1e-5, "non-finite"),
        ({"m": np.array([1, np.nan, 1, 1], np.float32)}, 1e-5, "non-finite"),
    ],
)
def test_statistics_without_a_root(replace: dict, epsilon: float, reason: str) -> None:
    text = f"g {IMAGE} {{ c = Conv(x, W) y = {BN}<epsilon = {epsilon}>(c, {STATS}) }}"
    proto = model(text, **CONV, **{**statistics(4), **replace})
    assert decisions(proto) == [reason]
    with pytest.raises(bnopt.RefusalError) as caught:
        bnopt.fold(proto)
    assert [f.code for f in caught.value.findings] == [reason]
