"""One property for every host: in float64 the folded graph equals the original, whatever the shape.

The graphs are of type double, so folding may cost no more than the last bits, and the reference
implementation shows any wrong axis, group, sign or attribute as an error of order one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import assert_same, evaluate, folded, model, normal, operators, statistics
from hypothesis import given, settings
from hypothesis import strategies as st

from bnopt.algebra import hosts
from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Context, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.graph.scopes import scopes

DOUBLE = np.float64
small = st.integers(1, 3)


def assert_exact(proto: onnx.ModelProto, x: np.ndarray, *, left: int = 0) -> None:
    """All batch norms fold but `left`, and nothing changes beyond rounding."""
    result, _ = folded(proto)
    assert operators(result).count("BatchNormalization") == left
    for expected, actual in zip(evaluate(proto, x=x), evaluate(result, x=x), strict=True):
        assert actual.shape == expected.shape
        # The bound of float64 rounding errors, with the scale of what is summed.
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)


def attributes(**values: Any) -> str:
    inner = ", ".join(f"{k} = {v}" for k, v in values.items())
    return f"<{inner}>" if inner else ""


@settings(max_examples=40)
@given(st.data())
def test_conv(data: st.DataObject) -> None:
    spatial = data.draw(st.integers(1, 3))
    group, per_in, per_out = data.draw(small), data.draw(small), data.draw(small)
    kernel = data.draw(st.integers(1, 2))
    pad = data.draw(st.integers(0, 1))
    channels = group * per_out
    weights = {"W": normal(channels, per_in, *[kernel] * spatial, dtype=DOUBLE)}
    bias = data.draw(st.booleans())
    if bias:
        weights["B"] = normal(channels, dtype=DOUBLE, seed=2)
    dims = ",".join("abcde"[: spatial + 2])
    text = f"""g (double[{dims}] x) => (double[{dims}] y) {{
        c = Conv {attributes(group=group, pads=[pad] * 2 * spatial)} (x, W{", B" if bias else ""})
        y = BatchNormalization(c, g, b, m, v)
    }}"""
    proto = model(text, **weights, **statistics(channels, DOUBLE))
    assert_exact(proto, normal(2, group * per_in, *[4] * spatial, dtype=DOUBLE))


@settings(max_examples=25)
@given(st.data())
def test_conv_transpose(data: st.DataObject) -> None:
    # float32 on onnxruntime: the reference implementation knows no groups here.
    spatial = data.draw(st.integers(1, 2))
    group, per_in, per_out = data.draw(small), data.draw(small), data.draw(small)
    stride = data.draw(st.integers(1, 2))
    channels = group * per_out
    weights = {"W": normal(group * per_in, per_out, *[2] * spatial)}
    bias = data.draw(st.booleans())
    if bias:
        weights["B"] = normal(channels, seed=2)
    dims = ",".join("abcde"[: spatial + 2])
    text = f"""g (float[{dims}] x) => (float[{dims}] y) {{
        c = ConvTranspose {attributes(group=group, strides=[stride] * spatial)}
            (x, W{", B" if bias else ""})
        y = BatchNormalization(c, g, b, m, v)
    }}"""
    proto = model(text, **weights, **statistics(channels))
    assert operators(folded(proto)[0]) == ["ConvTranspose"]
    assert_same(proto, x=normal(2, group * per_in, *[3] * spatial))


@settings(max_examples=60)
@given(st.data())
def test_gemm(data: st.DataObject) -> None:
    m, k, n = data.draw(small), data.draw(small), data.draw(st.integers(1, 4))
    trans_a, trans_b = data.draw(st.integers(0, 1)), data.draw(st.integers(0, 1))
    alpha, beta = (
        data.draw(st.sampled_from([1.0, -0.5, 2.0])),
        data.draw(st.sampled_from([1.0, 0.5])),
    )
    shape = data.draw(st.sampled_from([None, (), (1,), (n,), (1, n), (m, 1), (m, n)]))
    weights = {"B": normal(*((n, k) if trans_b else (k, n)), dtype=DOUBLE)}
    if shape is not None:
        weights["C"] = normal(*shape, dtype=DOUBLE, seed=2).reshape(shape)
    given_attributes = attributes(transA=trans_a, transB=trans_b, alpha=alpha, beta=beta)
    text = f"""g (double[a,c] x) => (double[M,N] y) {{
        c = Gemm {given_attributes} (x, B{"" if shape is None else ", C"})
        y = BatchNormalization(c, g, b, m, v)
    }}"""
    proto = model(text, **weights, **statistics(n, DOUBLE))
    x = normal(*((k, m) if trans_a else (m, k)), dtype=DOUBLE)
    assert_exact(proto, x)
    assert operators(folded(proto)[0]) == ["Gemm"]


@pytest.mark.parametrize("opset", [1, 6])
def test_gemm_before_opset_7(opset: int) -> None:
    # Its bias broadcasts only if told to. No runtime runs these; the checker must accept them.
    text = """g (float[M,3] x) => (float[M,4] y) {
        c = Gemm <broadcast = 1> (x, B, C)
        y = BatchNormalization <is_test = 1> (c, g, b, m, v)
    }"""
    weights = {"B": normal(3, 4), "C": normal(1, seed=3), **statistics(4)}
    proto = model(text, opset, ir_version=3, **weights)
    result, _ = folded(proto)
    assert operators(result) == ["Gemm"]
    assert {a.name: a.i for a in result.graph.node[0].attribute} == {"broadcast": 1}


@pytest.mark.parametrize("opset", [6, 7])
def test_an_add_needs_broadcasting(opset: int) -> None:
    """Before opset 7 an Add of a vector is no valid node, and no runtime would say so."""
    attribute = "<is_test = 1>" if opset < 7 else ""
    text = f"""g (float[M,3] x) => (float[M,4] y) {{
        c = MatMul(x, W) y = BatchNormalization{attribute}(c, g, b, m, v) }}"""
    result, _ = folded(model(text, opset, W=normal(3, 4), **statistics(4)))
    expected = ["MatMul", "Add"] if opset >= 7 else ["MatMul", "BatchNormalization"]
    assert operators(result) == expected


@settings(max_examples=60)
@given(st.data())
def test_matmul(data: st.DataObject) -> None:
    """Either operand constant, any ranks: folded where the operand owns axis 1, else refused."""
    n = data.draw(st.integers(1, 3))
    x_rank, w_rank = data.draw(st.integers(2, 4)), data.draw(st.integers(2, 4))
    right = data.draw(st.booleans())
    # Square on purpose: equal lengths must not make the wrong axis look right.
    x, w = normal(*[n] * x_rank, dtype=DOUBLE), normal(*[n] * w_rank, dtype=DOUBLE, seed=2)
    rank = max(x_rank, w_rank)
    text = f"""g (double[{",".join("abcd"[:x_rank])}] x) => (double[{",".join("pqrs"[:rank])}] y) {{
        c = MatMul({"x, W" if right else "W, x"})
        y = BatchNormalization(c, g, b, m, v)
    }}"""
    axis = 1 - (rank - w_rank)
    # A batch norm of one channel varies along no axis, so every operand owns it.
    owns = n == 1 or (axis >= 0 and axis != (w_rank - 2 if right else w_rank - 1))
    assert_exact(model(text, W=w, **statistics(n, DOUBLE)), x, left=0 if owns else 1)


@given(st.data())
def test_constant_offset_on_top_of_a_host(data: st.DataObject) -> None:
    host = data.draw(st.sampled_from(["Conv", "MatMul", "Gemm"]))
    flat = host != "Conv"
    shape = data.draw(
        st.sampled_from([(), (1,), (1, 4), (4,)] if flat else [(), (1, 4, 1, 1), (4, 1, 1)])
    )
    bias = data.draw(st.sampled_from(["Add(c, a)", "Add(a, c)", "Sub(c, a)", "Sub(a, c)"]))
    weights = {
        "W": normal(3, 4, dtype=DOUBLE) if flat else normal(4, 3, 1, 1, dtype=DOUBLE),
        "a": np.asarray(normal(*shape, dtype=DOUBLE, seed=5)),
    }
    dims = "N,C" if flat else "N,C,H,W"
    text = f"""g (double[{dims}] x) => (double[{dims.replace("C", "D")}] y) {{
        c = {host}(x, W)
        d = {bias}
        y = BatchNormalization(d, g, b, m, v)
    }}"""
    proto = model(text, **weights, **statistics(4, DOUBLE))
    assert_exact(proto, normal(*((2, 3) if flat else (2, 3, 2, 2)), dtype=DOUBLE))
    assert operators(folded(proto)[0]) == (["MatMul", "Add"] if host == "MatMul" else [host])


@given(st.integers(2, 4))
def test_batch_norms_in_a_row(count: int) -> None:
    lines = "\n".join(
        f"x{i + 1} = BatchNormalization(x{i}, p{i}g, p{i}b, p{i}m, p{i}v)" for i in range(count)
    )
    weights = {"W": normal(4, 3, 1, 1, dtype=DOUBLE)}
    for i in range(count):
        weights |= statistics(4, DOUBLE, seed=i, prefix=f"p{i}")
    behind_conv = (
        f"g (double[N,3,H,W] x) => (double[N,4,H,W] x{count}) {{ x0 = Conv(x, W)\n{lines} }}"
    )
    assert_exact(model(behind_conv, **weights), normal(2, 3, 2, 2, dtype=DOUBLE))
    alone = f"g (double[N,4,H,W] x) => (double[N,4,H,W] x{count}) {{ x0 = Relu(x)\n{lines} }}"
    weights.pop("W")
    assert_exact(model(alone, **weights), normal(2, 4, 2, 2, dtype=DOUBLE), left=1)


def test_offset_before_opset_7_has_its_own_broadcast() -> None:
    text = """g (float[N,3,4,4] x) => (float[N,4,4,4] y) {
        c = Conv(x, W)
        d = Add <broadcast = 1, axis = 1> (c, a)
        y = BatchNormalization <is_test = 1> (d, g, b, m, v)
    }"""
    stats = statistics(4)
    weights = {"W": normal(4, 3, 1, 1), "a": normal(4, seed=3), **stats}
    result, _ = folded(model(text, opset=6, ir_version=3, **weights))
    assert operators(result) == ["Conv"]
    new = {t.name: onnx.numpy_helper.to_array(t) for t in result.graph.initializer}
    scale = stats["g"] / np.sqrt(stats["v"] + 1e-5)
    bias = (weights["a"] - stats["m"]) * scale + stats["b"]
    np.testing.assert_allclose(new[result.graph.node[0].input[2]], bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("host", ["Conv", "ConvTranspose", "Gemm"])
@pytest.mark.parametrize("side", ["after", "before"])
def test_a_host_takes_affines_along_its_own_feature_axis_only(host: str, side: str) -> None:
    """Batch norm always asks for axis 1; an affine carried past a Transpose asks for others."""
    rank = 2 if host == "Gemm" else 4
    x = f"float[{','.join('4' * rank)}]"
    text = f"g ({x} x) => ({x} c) {{ c = {host}(x, W) }}"
    graph = ir.from_proto(model(text, W=normal(4, 4) if rank == 2 else normal(4, 4, 1, 1)))
    (scope,) = scopes(graph)
    for axis in range(rank):
        for part in (Affine.from_scale, Affine.from_shift):
            if part is Affine.from_shift and side == "after":
                continue  # what no bias can hold becomes an Add
            shape = [4 if i == axis else 1 for i in range(rank)]
            affine = part(DoubleDouble.of(normal(*shape)))
            asked = {"after": None, "before": None, side: affine}
            request = Request(graph.graph.node(0), **asked, scope=scope, context=Context.of(graph))
            answer = hosts.absorb(request)
            reason = answer.reason if isinstance(answer, Refusal) else None
            allowed = axis == 1
            if host == "ConvTranspose" and side == "before" and part is Affine.from_shift:
                assert reason == ("padding" if allowed else "channel-axis")
            else:
                assert reason == (None if allowed else "channel-axis")
