"""Batch norms that stay, written as Mul and Add or as a depthwise convolution."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import folded, model, normal, operators, run, statistics
from planning import BN, IMAGE, NO_WAY_AHEAD, PAST_A_RELU, X, graph, in_half

from bnopt.findings import Kept, Lowered, Merged


@pytest.mark.parametrize("lower", ["mul-add", "depthwise-conv"])
@pytest.mark.parametrize(
    ("replace", "left"),
    [
        ({}, {"mul-add": ["Mul", "Add"], "depthwise-conv": ["Conv"]}),
        (
            {"b": np.zeros(4, np.float32), "m": np.zeros(4, np.float32)},
            {"mul-add": ["Mul"], "depthwise-conv": ["Conv"]},
        ),
    ],
)
def test_lowered(lower: str, replace: dict[str, Any], left: dict[str, list[str]]) -> None:
    proto = graph(f"c = Abs(x) {BN}", **replace)
    result, plan = folded(proto, lower=lower)
    assert operators(result) == ["Abs", *left[lower]]
    decision = plan.sites[0].decision
    assert isinstance(decision, Lowered)
    assert decision.into == " and ".join(left[lower])
    onnx.checker.check_model(result, full_check=True)
    for expected, actual in zip(run(proto, x=X), run(result, x=X), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)
    if lower == "depthwise-conv":
        assert list(result.graph.node[1].input)[2:] == [] or len(result.graph.node[1].input) == 3


@pytest.mark.parametrize("lower", ["mul-add", "depthwise-conv"])
def test_lowered_as_the_affine_that_others_made_of_it(lower: str) -> None:
    proto = graph(PAST_A_RELU, **NO_WAY_AHEAD)
    result, plan = folded(proto, lower=lower)
    assert isinstance(plan.sites[0].decision, Lowered)
    assert isinstance(plan.sites[1].decision, Merged)
    for expected, actual in zip(run(proto, x=X), run(result, x=X), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


def not_lowered(proto: onnx.ModelProto, lower: str) -> str:
    result, plan = folded(proto, lower=lower)
    before = ir.to_proto(ir.from_proto(proto))
    assert operators(result) == operators(before)
    decision = plan.sites[0].decision
    assert isinstance(decision, Kept)
    return decision.message.partition("not lowered: ")[2]


@pytest.mark.parametrize("lower", ["mul-add", "depthwise-conv"])
def test_not_lowered(lower: str) -> None:
    """Where a constant would not have the numbers or the type that it should have."""
    alone = "c = Abs(x) y = BatchNormalization(c, g, b, m, v)"
    tiny = in_half(alone, {"g": 1e-4, "v": 100}, {})
    assert "is exact above" in not_lowered(tiny, lower)
    large = in_half(alone, {"m": 6e4, "b": 6e4, "g": -1}, {})
    assert "would reach" in not_lowered(large, lower)
    # Nobody says of what type the data are, and from opset 15 on the parameters may be of others.
    hidden = f"s = u.Strange(x) {BN.replace('(c', '(s')} z = Conv(y, W)"
    proto = graph(hidden, f"{IMAGE} y, float z")
    proto.graph.output[0].type.tensor_type.ClearField("elem_type")
    assert "is not known" in not_lowered(proto, lower)


def test_integers_are_not_lowered() -> None:
    text = f"g (int32[2,4,6,6] x) => (int32[2,4,6,6] y) {{ c = Abs(x) {BN} }}"
    for lower in ("mul-add", "depthwise-conv"):
        assert "type" in not_lowered(model(text, **statistics(4)), lower)


def test_what_is_written_out_already_is_not_lowered_to_that() -> None:
    proto = graph("c = Abs(x) d = Mul(c, k) y = Add(d, k)", k=normal(4, 1, 1))
    _, plan = folded(proto, lower="mul-add")
    assert [type(site.decision) for site in plan.sites] == [Kept]
    assert not plan.moves


def test_no_mul_before_opset_7() -> None:
    proto = graph(f"c = Abs(x) {BN.replace('(', '<is_test = 1>(', 1)}", opset=6)
    assert "opset 7" in not_lowered(proto, "mul-add")


def test_no_depthwise_convolution_on_vectors_or_along_other_axes() -> None:
    flat = model(f"g (float[2,4] x) => (float[2,4] y) {{ c = Abs(x) {BN} }}", **statistics(4))
    assert "axis 1" in not_lowered(flat, "depthwise-conv")
    along = graph("c = Abs(x) y = Mul(c, k)", k=normal(6))
    assert "axis 1" in not_lowered(along, "depthwise-conv")
    both = graph("c = Abs(x) d = BatchNormalization(c, g, b, m, v) y = Add(d, k)", k=normal(6))
    assert "axis 1" in not_lowered(both, "depthwise-conv")


def test_one_channel_and_data_of_who_knows_how_many() -> None:
    text = f"g (float[N,C,H,V] x) => (float[N,C,H,V] y) {{ c = Abs(x) {BN} }}"
    assert "axis 1" in not_lowered(model(text, **statistics(1)), "depthwise-conv")
    result, _ = folded(model(text, **statistics(4)), lower="depthwise-conv")
    assert operators(result) == ["Abs", "Conv"]


def test_lowered_past_what_the_type_of_a_mul_holds() -> None:
    """Merged, gamma still fits; as a Mul the scale would not."""
    nodes = """a = Abs(x) d = BatchNormalization(a, g, b, m, v) r = Relu(d)
        y = BatchNormalization(r, hg, hb, hm, hv)"""
    proto = in_half(nodes, {"g": 0.5, "v": 1e4, "b": 0.5}, {"g": 1e-2})
    x = (100 * normal(2, 4, 6, 6)).astype(np.float16)
    (expected,) = run(proto, x=x)
    (actual,) = run(folded(proto, lower="mul-add")[0], x=x)
    scale = float(np.abs(expected.astype(np.float64)).max())
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-2 * scale)
