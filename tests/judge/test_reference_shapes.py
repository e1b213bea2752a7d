"""Convolutions of the float64 reference against onnxruntime, over all their attributes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnopt.judge.ops import conv
from bnopt.judge.reference import evaluate
from bnopt.runtime.process import Worker


@pytest.fixture(scope="module")
def worker():
    with Worker(timeout=120) as worker:
        yield worker


def _compare(worker, folder, node, x, w, b):
    feed = {"x": x, "w": w, "b": b}
    inputs = [onnx.helper.make_tensor_value_info(k, 1, v.shape) for k, v in feed.items()]
    outputs = [onnx.helper.make_empty_tensor_value_info("y")]
    graph = onnx.helper.make_graph([node], "g", inputs, outputs)
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8
    )
    path = folder / "node.onnx"
    onnx.save(model, path)
    (theirs,) = worker.call("bnopt.runtime.session:run", str(path), [feed]).outputs
    (ours,) = evaluate(str(path), [feed]).outputs
    assert ours["y"].dtype == np.float64
    np.testing.assert_allclose(ours["y"], theirs["y"], rtol=1e-4, atol=1e-4)


@st.composite
def _geometry(draw):
    rank = draw(st.integers(1, 3))
    each = lambda low, high: draw(  # noqa: E731 - a strategy in one line
        st.lists(st.integers(low, high), min_size=rank, max_size=rank)
    )
    return {
        "rank": rank,
        "group": draw(st.sampled_from([1, 2, 4])),
        "kernel": each(1, 3),
        "strides": each(1, 3),
        "dilations": each(1, 2),
        "pads": each(0, 2) + each(0, 2),
        "auto_pad": draw(
            st.sampled_from(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
        ),
        "extra": each(0, 2),
        "size": each(5, 8),
    }


@settings(max_examples=40)
@given(geometry=_geometry())
def test_conv_against_onnxruntime(worker, tmp_path_factory, geometry):
    g = geometry
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, *g["size"])).astype(np.float32)
    w = rng.normal(size=(8, 4 // g["group"], *g["kernel"])).astype(np.float32)
    attributes = {"strides": g["strides"], "dilations": g["dilations"], "group": g["group"]}
    if g["auto_pad"] == "NOTSET":
        attributes["pads"] = g["pads"]
    else:
        # onnxruntime refuses SAME with dilations.
        attributes |= {"auto_pad": g["auto_pad"], "dilations": [1] * g["rank"]}
    node = onnx.helper.make_node("Conv", ["x", "w", "b"], ["y"], **attributes)
    _compare(
        worker, tmp_path_factory.mktemp("c"), node, x, w, rng.normal(size=8).astype(np.float32)
    )


@settings(max_examples=40)
@given(geometry=_geometry())
def test_conv_transpose_against_onnxruntime(worker, tmp_path_factory, geometry):
    g = geometry
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, *g["size"])).astype(np.float32)
    w = rng.normal(size=(4, 3, *g["kernel"])).astype(np.float32)
    strides = g["strides"]
    extra = [min(e, s - 1) for e, s in zip(g["extra"], strides, strict=True)]
    attributes = {"strides": strides, "group": g["group"], "output_padding": extra}
    if g["auto_pad"] in ("NOTSET", "VALID"):
        attributes["dilations"] = g["dilations"]
        attributes["pads"] = [min(p, 1) for p in g["pads"]]
    else:
        attributes["auto_pad"] = g["auto_pad"]
        # SAME of a kernel smaller than the stride pads by a negative amount; runtimes disagree.
        w = np.concatenate([w] * 3, axis=2) if g["rank"] == 1 else w
        if any(k < s + e for k, s, e in zip(w.shape[2:], strides, extra, strict=True)):
            attributes = {"strides": [1] * g["rank"], "group": g["group"]}
    if any(p > k - 1 for p, k in zip(attributes.get("pads", []), [*w.shape[2:]] * 2, strict=False)):
        attributes.pop("pads")
    node = onnx.helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], **attributes)
    bias = rng.normal(size=3 * g["group"]).astype(np.float32)
    _compare(worker, tmp_path_factory.mktemp("t"), node, x, w, bias)


def test_tiles_do_not_show(monkeypatch, tmp_path, worker):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 4, 13, 9)).astype(np.float32)
    w = rng.normal(size=(4, 4, 3, 3)).astype(np.float32)
    monkeypatch.setattr(conv, "_TILE_BYTES", 6000)
    node = onnx.helper.make_node(
        "Conv", ["x", "w", "b"], ["y"], strides=[2, 1], pads=[1, 0, 2, 1], dilations=[2, 1]
    )
    _compare(worker, tmp_path, node, x, w, rng.normal(size=4).astype(np.float32))
