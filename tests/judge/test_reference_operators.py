"""The float64 operators against the tests that the onnx package itself ships."""

from __future__ import annotations

import warnings

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bnopt.judge.ops import BEFORE_OPSET_13, OPERATORS
from bnopt.judge.reference import evaluate

REPLACED = {operator.__name__ for operator in (*OPERATORS, *BEFORE_OPSET_13)}
# These cast to 8-bit types, draw random numbers, or have no tensor to compare.
EXCLUDED = ("float8", "int4", "uint4", "int2", "float4", "STRING", "_sequence", "bernoulli")


def _array(value):
    return (
        numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    )


def _cases():
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        cases = [
            case for kind in ("node", "pytorch-operator") for case in load_model_tests(kind=kind)
        ]
    for case in cases:
        if case.model is None or any(word in case.name for word in EXCLUDED):
            continue
        if any(isinstance(value, list) for value in case.data_sets[0][1]):
            continue
        if REPLACED & {node.op_type for node in case.model.graph.node}:
            yield case


@pytest.fixture(scope="module")
def cases():
    return list(_cases())


def test_every_backend_test_of_a_replaced_operator(cases, tmp_path):
    path = tmp_path / "case.onnx"
    wrong, seen = [], set()
    for case in cases:
        onnx.save(case.model, path)
        inputs, outputs = case.data_sets[0]
        names = [value.name for value in case.model.graph.input]
        feed = dict(zip(names, map(_array, inputs), strict=False))
        got = list(evaluate(str(path), [feed]).outputs[0].values())
        for value, expected in zip(got, map(_array, outputs), strict=False):
            # fp16 and bf16 expectations are rounded; float64 truth is not.
            loose = 1e-2 if expected.dtype.itemsize < 4 else 5e-5
            exact = expected.dtype.kind in "biu"
            # A tie may be rounded the other way in float32 than in exact arithmetic.
            limit = 1 if exact and "quantize" in case.name else 0 if exact else loose
            a, b = value.astype(np.float64), expected.astype(np.float64)
            if a.shape != b.shape or not np.allclose(a, b, rtol=loose, atol=limit, equal_nan=True):
                wrong.append(case.name)
        seen |= {node.op_type for node in case.model.graph.node}
    assert wrong == []
    assert len(cases) > 250
    assert REPLACED - seen <= {"CastLike", "LRN", "LpPool", "Softmax", "LogSoftmax"}


def _run(tmp_path, node, opset, ir_version=8, **feed):
    outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
    inputs = [
        onnx.helper.make_tensor_value_info(
            name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
        )
        for name, array in feed.items()
    ]
    graph = onnx.helper.make_graph([node], "g", inputs, outputs)
    opsets = [onnx.helper.make_opsetid("", opset)]
    model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=ir_version)
    path = tmp_path / "node.onnx"
    onnx.save(model, path)
    return list(evaluate(str(path), [feed]).outputs[0].values())


@pytest.fixture
def bn_feed():
    rng = np.random.default_rng(0)
    return {
        "x": rng.normal(2.0, 3.0, (5, 3, 4)),
        "s": rng.normal(1, 1, 3),
        "b": rng.normal(0, 1, 3),
        "m": rng.normal(0, 1, 3),
        "v": rng.uniform(0.5, 2, 3),
    }


def _affine(x, s, b, m, v, epsilon=1e-5):
    s, b, m, v = (p[None, :, None] for p in (s, b, m, v))
    return (x - m) / np.sqrt(v + epsilon) * s + b


@pytest.mark.parametrize(
    ("opset", "attributes", "outputs", "training"),
    [
        (1, {"is_test": 1, "consumed_inputs": [0, 0, 0, 1, 1]}, ["y"], False),
        (6, {"is_test": 1}, ["y"], False),
        (6, {}, ["y"], True),
        (6, {"is_test": 0}, ["y", "rm", "rv", "sm", "sv"], True),
        (7, {}, ["y"], False),
        (7, {}, ["y", "rm", "rv", "sm", "sv"], True),
        (9, {}, ["y"], False),
        (9, {"momentum": 0.7}, ["y", "rm", "rv", "sm", "sv"], True),
        (14, {}, ["y"], False),
        (14, {"training_mode": 1}, ["y"], True),
        (15, {"training_mode": 1, "momentum": 0.7}, ["y", "rm", "rv"], True),
        (15, {"training_mode": 1}, ["y", "", "rv"], True),
    ],
)
def test_batch_normalization_at_every_opset(
    tmp_path, bn_feed, opset, attributes, outputs, training
):
    node = onnx.helper.make_node(
        "BatchNormalization", list(bn_feed), outputs, epsilon=1e-3, **attributes
    )
    got = dict(zip([o for o in outputs if o], _run(tmp_path, node, opset, **bn_feed), strict=True))
    x, s, b, m, v = bn_feed.values()
    if not training:
        np.testing.assert_allclose(got["y"], _affine(x, s, b, m, v, 1e-3), rtol=1e-6)
        return
    mean, var = x.mean(axis=(0, 2)), x.var(axis=(0, 2))
    np.testing.assert_allclose(got["y"], _affine(x, s, b, mean, var, 1e-3), rtol=1e-6)
    keep = float(np.float32(attributes.get("momentum", 0.9)))
    if "rm" in got:
        np.testing.assert_allclose(got["rm"], keep * m + (1 - keep) * mean)
    if "rv" in got:
        np.testing.assert_allclose(got["rv"], keep * v + (1 - keep) * var)
    if "sm" in got:
        np.testing.assert_allclose(got["sm"], mean)


def test_batch_normalization_without_spatial(tmp_path, bn_feed):
    rng = np.random.default_rng(1)
    feed = {"x": bn_feed["x"]} | {name: rng.uniform(0.5, 2, (3, 4)) for name in "sbmv"}
    node = onnx.helper.make_node("BatchNormalization", list(feed), ["y"], is_test=1, spatial=0)
    (y,) = _run(tmp_path, node, 6, **feed)
    x, s, b, m, v = feed.values()
    np.testing.assert_allclose(y, (x - m) / np.sqrt(v + 1e-5) * s + b, rtol=1e-9)


def test_lrn_sums_over_channels_not_samples(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 7, 3, 3))
    node = onnx.helper.make_node("LRN", ["x"], ["y"], size=3, alpha=0.5, beta=0.75, bias=1.0)
    (y,) = _run(tmp_path, node, 13, x=x)
    total = (x[:, 2:5] ** 2).sum(axis=1)
    np.testing.assert_allclose(y[:, 3], x[:, 3] / (1 + 0.5 / 3 * total) ** 0.75, rtol=1e-6)


@pytest.mark.parametrize("op_type", ["Softmax", "LogSoftmax"])
def test_softmax_before_opset_13_flattens(tmp_path, op_type):
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    (y,) = _run(tmp_path, onnx.helper.make_node(op_type, ["x"], ["y"]), 7, x=x)
    y = np.exp(y) if op_type == "LogSoftmax" else y
    np.testing.assert_allclose(y.reshape(2, -1).sum(axis=1), 1.0)
    (y,) = _run(tmp_path, onnx.helper.make_node(op_type, ["x"], ["y"]), 13, x=x)
    y = np.exp(y) if op_type == "LogSoftmax" else y
    np.testing.assert_allclose(y.sum(axis=-1), 1.0)


def test_lp_pool(tmp_path):
    x = np.random.default_rng(0).normal(size=(1, 1, 4, 4))
    node = onnx.helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2, 2], p=3, strides=[2, 2])
    (y,) = _run(tmp_path, node, 18, x=x)
    assert y[0, 0, 0, 0] == pytest.approx((np.abs(x[0, 0, :2, :2]) ** 3).sum() ** (1 / 3))


@pytest.mark.parametrize("spatial", [(), (5,), (5, 2), (5, 2, 3)], ids=len)
def test_global_max_pool_takes_the_maximum_of_each_channel(tmp_path, spatial):
    x = np.random.default_rng(0).normal(size=(2, 3, *spatial)) - 10
    (y,) = _run(tmp_path, onnx.helper.make_node("GlobalMaxPool", ["x"], ["y"]), 7, x=x)
    assert y.shape == (2, 3, *(1 for _ in spatial))
    np.testing.assert_array_equal(y.reshape(2, 3), x.reshape(2, 3, -1).max(axis=2))


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("nearest", [1, 1, 1, 4, 4, 4]), ("linear", [1, 2, 3, 4, 4, 4])],
)
def test_upsample_reads_from_the_coordinate_over_the_scale(tmp_path, mode, expected):
    x = np.array([1.0, 4.0]).reshape(1, 1, 2, 1) * np.ones((1, 1, 1, 2))
    seven = onnx.helper.make_node("Upsample", ["x"], ["y"], mode=mode, scales=[1.0, 1.0, 3.0, 1.0])
    nine = onnx.helper.make_node("Upsample", ["x", "s"], ["y"], mode=mode)
    scales = np.array([1, 1, 3, 1], np.float32)
    for y in (*_run(tmp_path, seven, 7, x=x), *_run(tmp_path, nine, 9, x=x, s=scales)):
        np.testing.assert_allclose(y, np.array(expected).reshape(1, 1, 6, 1) * np.ones(2))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample_is_what_onnxruntime_computes(tmp_path, mode):
    ort = pytest.importorskip("onnxruntime")
    x = np.random.default_rng(0).normal(size=(2, 3, 3, 5)).astype(np.float32)
    node = onnx.helper.make_node("Upsample", ["x"], ["y"], mode=mode, scales=[1.0, 1.0, 2.0, 2.5])
    (y,) = _run(tmp_path, node, 7, x=x)
    session = ort.InferenceSession(tmp_path / "node.onnx", providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(y, session.run(None, {"x": x})[0], atol=1e-6)


def test_upsample_of_integers_stays_exact(tmp_path):
    x = np.array([[2**62 + 1, 3]])
    node = onnx.helper.make_node("Upsample", ["x"], ["y"], scales=[1.0, 2.0])
    (y,) = _run(tmp_path, node, 7, x=x)
    np.testing.assert_array_equal(y, x.repeat(2, axis=1))
