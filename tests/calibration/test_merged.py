"""Chains of Mul and Add that were batch norms with statistics 0 and 1."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, normal, run

import bnopt
from bnopt.algebra.base import Context
from bnopt.calibration.merged import Merged, make_nodes
from bnopt.errors import RefusalError

FACTOR = np.float32(1 / np.sqrt(1.001))
NCHW = "g (float[N,3,8,8] x) => (float[N,4,6,6] y) { c = Conv(x, W) s = Mul(c, S) y = Add(s, B) }"
NHWC = """g (float[N,3,8,8] x) => (float[N,6,6,4] y) { c = Conv(x, W)
    t = Transpose<perm = [0, 2, 3, 1]>(c) s = Mul(t, S) y = Add(s, B) }"""
X = normal(40, 3, 8, 8)


def chain(text: str = NCHW, scale=FACTOR, opset: int = 17):
    shape = (1, 4, 1, 1) if text == NCHW else (4,)
    scales = np.broadcast_to(np.float32(scale), (4,)).reshape(shape)
    return model(text, opset, W=normal(4, 3, 3, 3), S=np.array(scales), B=normal(4).reshape(shape))


def wanted(form: str, gamma) -> np.ndarray:
    c = run(
        model(
            "g (float[N,3,8,8] x) => (float[N,4,6,6] c) { c = Conv(x, W) }", W=normal(4, 3, 3, 3)
        ),
        x=X,
    )[0]
    c = c.astype(np.float64)
    mean, variance = (f(c, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.var))
    gamma = np.broadcast_to(gamma, (4,)).reshape(1, 4, 1, 1)
    y = gamma * (c - mean) / np.sqrt(variance + 1e-3) + normal(4).reshape(1, 4, 1, 1)
    return y if form == NCHW else y.transpose(0, 2, 3, 1)


@pytest.mark.parametrize("text", [NCHW, NHWC])
def test_numbers_that_show_it(text: str) -> None:
    result = bnopt.calibrate(chain(text), {"x": X})
    assert result.kept == ()
    [layer] = result.layers
    assert (layer.old_mean, layer.old_variance) == ((0.0,) * 4, (1.0,) * 4)
    np.testing.assert_allclose(layer.gamma, 1, rtol=1e-6)
    np.testing.assert_allclose(run(result.model, x=X)[0], wanted(text, 1.0), rtol=1e-4, atol=1e-4)
    assert bnopt.fold(result.model).summary.folded == 1
    assert bnopt.check(result.model, data={"x": X}).ok


@pytest.mark.parametrize("text", [NCHW, NHWC])
def test_a_trained_gamma_has_to_be_said(text: str) -> None:
    gamma = np.array([0.5, 2, 1.5, -1])
    proto = chain(text, gamma * FACTOR)
    with pytest.raises(RefusalError, match="merged-statistics"):
        bnopt.calibrate(proto, {"x": X})
    result = bnopt.calibrate(proto, {"x": X}, assume_never_updated=True)
    np.testing.assert_allclose(run(result.model, x=X)[0], wanted(text, gamma), rtol=1e-4, atol=1e-4)


def test_what_pytorch_adds_to_the_variance() -> None:
    proto = chain(scale=2.0)
    proto.producer_name = "pytorch"
    [layer] = bnopt.calibrate(proto, {"x": X}, assume_never_updated=True).layers
    assert layer.epsilon == pytest.approx(1e-5)


def refused(text: str = NCHW, opset: int = 17, **changes) -> str:
    proto = chain(text, opset=opset)
    graph = ir.from_proto(proto)
    nodes = [node for node in graph.graph if node.op_type in ("Mul", "Add")]
    source = nodes[0].inputs[0]
    parts = {
        "site": "main:y", "name": "y", "nodes": tuple(nodes), "input": source, "axis": 1,
        "scale": np.ones(4), "shift": np.zeros(4), "epsilon": 1e-3, "in_main": True,
    }  # fmt: skip
    slots, kept = make_nodes(graph, Context.of(graph), [Merged(**{**parts, **changes})])
    assert len(slots) + len(kept) == 1
    return kept[0].reason if kept else ""


def test_refusals() -> None:
    assert refused() == ""
    assert refused(in_main=False) == "not-measurable"
    assert refused(opset=8) == "not-measurable"
    assert refused(opset=9) == ""
    assert refused(shift=None) == "merged-statistics"
    assert refused(scale=np.ones(3)) == "merged-statistics"


def test_types() -> None:
    for kind, opset, reason in (
        ("float16", 13, ""),
        ("bfloat16", 13, "data-type"),
        ("bfloat16", 14, ""),
        ("int32", 14, "data-type"),
    ):
        text = f"g ({kind}[N,4] x, {kind}[4] s) => ({kind}[N,4] y) {{ y = Mul(x, s) }}"
        graph = ir.from_proto(model(text, opset))
        [node] = graph.graph
        source = node.inputs[0]
        assert source is not None
        merged = Merged("main:y", "y", (node,), source, 1, np.ones(4), np.zeros(4), 1e-3, True)
        _, kept = make_nodes(graph, Context.of(graph), [merged])
        assert [one.reason for one in kept] == ([reason] if reason else [])
