"""What hosts take in numbers: quantized weights, computed integers, recurrent layers, tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from graphs import assert_same, decisions, folded, model, normal, operators, run, statistics

IMAGE = "float[2,4,6,6]"
W = normal(4, 4, 1, 1)
Q = np.ones((4, 4, 1, 1), np.int8)
BN = "y = BatchNormalization(c, g, b, m, v)"


def signed(negative: bool, channels: int = 4) -> dict[str, np.ndarray]:
    """Statistics with scales that are positive, or of both signs."""
    stats = statistics(channels)
    sign = np.where(np.arange(channels) % 2, -1, 1) if negative else 1
    return {**stats, "g": (np.abs(stats["g"]) * sign).astype(np.float32)}


def integers(kind: Any, *shape: int) -> np.ndarray:
    """Numbers that have mirror images around zero points near the middle."""
    middle = 128 if kind == np.uint8 else 0
    rng = np.random.default_rng(3)
    return (middle + rng.integers(-100, 101, shape)).astype(kind)


@pytest.mark.parametrize("kind", [np.int8, np.uint8])
@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("zero", [None, 3])
@pytest.mark.parametrize(
    "nodes",
    [
        "w = {dq}(Q, s{z}) c = Conv(x, w, b)",
        "w = {dq}(Q, s{z}) c = Conv<group = 2>(x, w)",
        "w = {dq}(Q, s{z}) f = GlobalAveragePool(x) e = Flatten(f) c = Gemm<transB = 1>(e, w)",
        "w = {dq}(Q, s{z}) f = GlobalAveragePool(x) e = Flatten(f) c = MatMul(e, w)",
    ],
)
def test_quantized_weights(
    kind: Any, negative: bool, per_channel: bool, zero: int | None, nodes: str
) -> None:
    flat_host, columns = "Flatten" in nodes, "MatMul" in nodes
    shape = (4, 4) if flat_host else (4, 2 if "group" in nodes else 4, 3, 3)
    count = 4 if per_channel else 1
    middle = 128 if kind == np.uint8 else 0
    weights: dict[str, Any] = {"Q": integers(kind, *shape)}
    weights["s"] = np.linspace(0.01, 0.02, count, dtype=np.float32)
    if zero is not None:
        weights["z"] = (middle + zero * np.arange(1, count + 1) % 7).astype(kind)
    if not per_channel:
        weights = {name: a.reshape(()) if name != "Q" else a for name, a in weights.items()}
    dq = f"DequantizeLinear<axis = {1 if columns else 0}>"
    target = "float[2,4]" if flat_host else "float[2,4,4,4]"
    text = nodes.format(dq=dq, z="" if zero is None else ", z")
    proto = model(f"g ({IMAGE} x) => ({target} y) {{ {text} {BN} }}", **weights, **signed(negative))
    result, plan = folded(proto)
    mirrored = not (negative and zero is None and kind == np.uint8)
    assert ("BatchNormalization" not in operators(result)) == mirrored
    if mirrored:
        # The integers stay what they are, up to their signs.
        assert "DequantizeLinear" in operators(result)
        assert plan.sites[0].decision.into == "c"
    assert_same(proto, x=normal(2, 4, 6, 6))


def test_a_quantized_bias_becomes_a_plain_one() -> None:
    text = f"""g ({IMAGE} x) => (float[2,4,4,4] y) {{
        w = DequantizeLinear(Q, s) a = DequantizeLinear(B, t) c = Conv(x, w, a) {BN} }}"""
    weights = {
        "Q": integers(np.int8, 4, 4, 3, 3),
        "s": np.float32(0.01),
        "B": np.array([1000, -2000, 30, 4], np.int32),
        "t": np.float32(0.001),
    }
    proto = model(text, **weights, **statistics(4))
    assert decisions(proto) == ["folded"]
    assert operators(folded(proto)[0]) == ["DequantizeLinear", "Conv"]
    assert_same(proto, x=normal(2, 4, 6, 6))


def test_a_batch_norm_ahead_of_a_quantized_weight() -> None:
    text = f"""g ({IMAGE} x) => (float[2,4,4,4] y) {{
        c = BatchNormalization(x, g, b, m, v) w = DequantizeLinear<axis = 1>(Q, s)
        y = Conv(c, w) }}"""
    weights = {
        "Q": integers(np.int8, 4, 4, 3, 3),
        "s": np.linspace(0.01, 0.02, 4, dtype=np.float32),
    }
    proto = model(text, **weights, **signed(True))
    assert decisions(proto) == ["folded"]
    assert_same(proto, x=normal(2, 4, 6, 6))


@pytest.mark.parametrize("zero", [None, 5])
@pytest.mark.parametrize("axis", [None, 1, -3])
@pytest.mark.parametrize("shifted", [True, False])
def test_integers_that_are_computed(zero: int | None, axis: int | None, shifted: bool) -> None:
    count = () if axis is None else (4,)
    weights: dict[str, Any] = {
        "s": np.linspace(0.1, 0.2, 4, dtype=np.float32)[: len(count) * 3 + 1]
    }
    weights["s"] = weights["s"].reshape(count)
    if zero is not None:
        weights["z"] = np.full(count, zero, np.int8)
    chosen = "" if axis is None else f"<axis = {axis}>"
    dq = f"DequantizeLinear{chosen}(x, s{'' if zero is None else ', z'})"
    stats = signed(False)
    if not shifted:
        stats |= {"b": np.zeros(4, np.float32), "m": np.zeros(4, np.float32)}
    text = f"g (int8[2,4,6,6] x) => ({IMAGE} y) {{ c = {dq} {BN} }}"
    proto = model(text, **weights, **stats)
    result, _ = folded(proto)
    assert operators(result) == ["DequantizeLinear", *(["Add"] if shifted else [])]
    assert_same(proto, x=(40 * normal(2, 4, 6, 6)).astype(np.int8))


@pytest.mark.parametrize(
    ("nodes", "source"),
    [
        ("c = DequantizeLinear<output_dtype = 1>(x, s)", "int8[2,4,6,6]"),
        ("w = DequantizeLinear<output_dtype = 1>(Q, s) c = Conv(x, w)", IMAGE),
    ],
)
def test_a_scale_of_another_type_than_the_output(nodes: str, source: str) -> None:
    """What is added behind must be of the output's type."""
    weights: dict[str, Any] = {"s": np.float16(0.5)} | ({"Q": Q} if "Q" in nodes else {})
    text = f"g ({source} x) => ({IMAGE} y) {{ {nodes} {BN} }}"
    proto = model(text, 23, 11, **weights, **signed(False))
    onnx.checker.check_model(proto, full_check=True)
    onnx.checker.check_model(folded(proto)[0], full_check=True)


@pytest.mark.parametrize(("operator", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize("shifted", [True, False])
def test_recurrent_layers(
    operator: str, gates: int, bias: bool, direction: str, shifted: bool
) -> None:
    """The batch norm works on [batch, features, time]; the layer reads [time, batch, features]."""
    hidden, both = 3, 2 if direction == "bidirectional" else 1
    weights = {
        "W": normal(both, gates * hidden, 4, seed=2),
        "R": normal(both, gates * hidden, hidden, seed=3),
    }
    if bias:
        weights["B"] = normal(both, 2 * gates * hidden, seed=4)
    stats = signed(True)
    if not shifted:
        stats |= {"b": np.zeros(4, np.float32), "m": np.zeros(4, np.float32)}
    text = f"""g (float[2,4,5] x) => (float[5,{both},2,3] y) {{
        c = BatchNormalization(x, g, b, m, v) t = Transpose<perm = [2, 0, 1]>(c)
        y = {operator}<hidden_size = 3, direction = "{direction}">(t, W, R{", B" if bias else ""})
    }}"""
    proto = model(text, **weights, **stats)
    assert decisions(proto) == ["folded"]
    assert operators(folded(proto)[0]) == ["Transpose", operator]
    assert_same(proto, x=normal(2, 4, 5))


@pytest.mark.parametrize(
    ("axis", "table", "output", "perm"),
    [
        (0, (7, 4), (2, 3, 4), (0, 2, 1)),
        (-2, (7, 4), (2, 3, 4), (1, 2, 0)),
        (1, (4, 7), (4, 2, 3), (1, 0, 2)),
        (2, (4, 5, 7), (4, 5, 2, 3), (2, 0, 1, 3)),
        (1, (5, 7, 4), (5, 2, 3, 4), (0, 3, 1, 2)),
    ],
)
def test_embeddings(
    axis: int, table: tuple[int, ...], output: tuple[int, ...], perm: tuple[int, ...]
) -> None:
    """The transpose puts the four features where the batch norm looks for them."""
    dims = [output[i] for i in perm]
    text = f"""g (int64[2,3] i) => (float{dims} y) {{
        e = Gather<axis = {axis}>(T, i) c = Transpose<perm = {list(perm)}>(e) {BN} }}"""
    proto = model(text, T=normal(*table), **signed(True))
    assert decisions(proto) == ["folded"]
    assert operators(folded(proto)[0]) == ["Gather", "Transpose"]
    assert_same(proto, i=np.random.default_rng(0).integers(0, 7, (2, 3)))


def test_global_normalization_of_early_tensorflow() -> None:
    """No runtime knows it; what is folded is compared with the formula in float64."""
    stats = {name: a.astype(np.float32) for name, a in signed(True).items()}
    for scaled in (0, 1):
        text = f"""g (float[2,4,6,6] x) => (float[2,6,6,4] y) {{
            a = Conv(x, W) c = Transpose<perm = [0, 2, 3, 1]>(a)
            y = BatchNormWithGlobalNormalization
                <variance_epsilon = 0.001, scale_after_normalization = {scaled}>
                (c, m, v, b, g) }}"""
        result, plan = folded(model(text, W=W, **stats))
        assert [site.form for site in plan.sites] == ["decomposed"]
        assert operators(result) == ["Conv", "Transpose"]
        x = normal(2, 4, 6, 6)
        wide = {name: a.astype(np.float64) for name, a in stats.items()}
        plain = np.einsum("oi,nihw->nhwo", W[:, :, 0, 0].astype(np.float64), x)
        normed = (plain - wide["m"]) / np.sqrt(wide["v"] + np.float32(0.001))
        expected = normed * (wide["g"] if scaled else 1) + wide["b"]
        (actual,) = run(result, x=x)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
