"""Models that normalise by batches against training-mode batch norm in numpy, in double."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from graphs import conv_bn, model, normal, statistics

from bnopt.algebra.base import Context
from bnopt.calibration.batch_mode import batch_mode
from bnopt.calibration.moments import Moments
from bnopt.calibration.ordinary import make_ordinary
from bnopt.errors import RefusalError

OPSETS = [7, 8, 9, 13, 14, 15, 17, 18, 21, 23]


def batched(proto, feed, provider="cpu"):
    """The model's own outputs, and the moments by site, of a copy in batch mode."""
    graph = ir.from_proto(proto)
    slots, kept = make_ordinary(graph, Context.of(graph))
    assert not kept
    before = ir.to_proto(graph)
    made = batch_mode(graph, slots, provider=provider, keep_outputs=True)
    assert ir.to_proto(graph) == before
    copy = ir.to_proto(made.model)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        copy.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    found = dict(zip(names, session.run(None, feed), strict=True))
    moments = {}
    for slot, place in zip(slots, made.places, strict=True):
        (site,) = place.sites
        assert site == slot.site
        shift = found[place.shift].reshape(-1)
        count = int(found[place.size]) // shift.size
        moments[slot.name] = Moments.about(shift, count, found[place.total], found[place.squares])
    outputs = [found[output.name] for output in proto.graph.output]
    lean = batch_mode(graph, slots, provider=provider).model
    assert [value.name for value in lean.graph.outputs] == names[len(outputs) :]
    return outputs, moments


def normalised(x, gamma, beta, epsilon=1e-5):
    """Batch norm as in training, in double."""
    axes = tuple(axis for axis in range(x.ndim) if axis != 1)
    shape = [1, -1] + [1] * (x.ndim - 2)
    gamma, beta = (np.asarray(v, np.float64).reshape(shape) for v in (gamma, beta))
    x = x.astype(np.float64)
    # An attribute holds single precision.
    variance, epsilon = x.var(axes, keepdims=True), float(np.float32(epsilon))
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(
        variance + float(np.float32(epsilon))
    ) * gamma + beta


def convolved(x, weight):
    """Conv without padding, in double, for any number of spatial axes."""
    spatial = x.ndim - 2
    windows = np.lib.stride_tricks.sliding_window_view(
        x.astype(np.float64), weight.shape[2:], axis=tuple(range(2, x.ndim))
    )
    axes = list(range(2 + spatial, 2 + 2 * spatial))
    return np.moveaxis(
        np.tensordot(windows, weight.astype(np.float64), ([1, *axes], [1, *range(2, x.ndim)])),
        -1,
        1,
    )


def assert_exact(moments: Moments, x: np.ndarray, rtol: float) -> None:
    exact = Moments.of(x)
    assert moments.count == exact.count
    deviation = np.sqrt(exact.variance)
    assert (np.abs(moments.mean - exact.mean) <= rtol * deviation).all()
    np.testing.assert_allclose(moments.variance, exact.variance, rtol=rtol)


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("spatial", [1, 2, 3])
def test_a_chain_of_three(opset: int, spatial: int, provider: str) -> None:
    # What is made for CUDA are plain operators, which run anywhere.
    dims = ",".join("PQR"[:spatial])
    kernel = (2,) * spatial
    first, second = statistics(4, seed=1, prefix="a"), statistics(3, seed=2, prefix="b")
    third = statistics(3, seed=3, prefix="c")
    near, far = normal(4, 2, *kernel), normal(3, 4, *kernel, seed=4)
    proto = model(
        f"""g (float[N,2,{dims}] x) => (float[N,3,{dims}] z) {{
        c = Conv(x, V)  [one] y = BatchNormalization(c, ag, ab, am, av)  r = Relu(y)
        d = Conv(r, W)  [two] e = BatchNormalization<epsilon = 0.01>(d, bg, bb, bm, bv)
        [three] z = BatchNormalization(e, cg, cb, cm, cv) }}""",
        opset,
        **{"V": near, "W": far, **first, **second, **third},
    )
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    x = normal(5, 2, *(7, 6, 5)[:spatial]) + 3
    (found,), moments = batched(proto, {"x": x}, provider)
    c = convolved(x, near)
    d = convolved(np.maximum(normalised(c, first["ag"], first["ab"]), 0), far)
    e = normalised(d, second["bg"], second["bb"], 0.01)
    expected = normalised(e, third["cg"], third["cb"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)
    for name, values in (("one", c), ("two", d), ("three", e)):
        assert_exact(moments[name], values, 1e-5)


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(
    ("dtype", "kind", "tolerance"),
    [("float", np.float32, 2e-6), ("double", np.float64, 1e-12), ("float16", np.float16, 4e-3)],
)
def test_rank_two(opset: int, dtype: str, kind: type, tolerance: float, provider: str) -> None:
    first, second = statistics(6, kind, prefix="a"), statistics(6, kind, seed=2, prefix="b")
    proto = model(
        f"""g ({dtype}[N,6] x) => ({dtype}[N,6] z) {{
        [one] y = BatchNormalization(x, ag, ab, am, av)  r = Relu(y)
        [two] z = BatchNormalization(r, bg, bb, bm, bv) }}""",
        opset,
        **{**first, **second},
    )
    x = normal(50, 6, dtype=kind)
    (found,), moments = batched(proto, {"x": x}, provider)
    r = np.maximum(normalised(x, first["ag"], first["ab"]), 0)
    assert found.dtype == kind
    expected = normalised(r, second["bg"], second["bb"])
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=2 * tolerance)
    # These are in double, whatever the model is in.
    assert_exact(moments["one"], x, 1e-12)
    assert_exact(moments["two"], r, 2 * tolerance)


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
@pytest.mark.parametrize("opset", [9, 15, 18])
def test_half_precision(opset: int, provider: str) -> None:
    numbers = statistics(4, np.float16)
    weight = normal(4, 3, 3, 3, dtype=np.float16)
    proto = conv_bn("float16", np.float16, opset, W=weight, **numbers)
    x = normal(6, 3, 8, 8, dtype=np.float16)
    (found,), moments = batched(proto, {"x": x}, provider)
    c = convolved(x, weight)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, normalised(c, numbers["g"], numbers["b"]), rtol=0, atol=1e-2)
    (one,) = moments.values()
    assert_exact(one, c, 1e-3)


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
@pytest.mark.parametrize("opset", [7, 9, 15, 18])
@pytest.mark.parametrize("shape", ["N,4,P,Q", "6,4,5,7"])
@pytest.mark.parametrize(
    ("dtype", "kind", "rtol"), [("float", np.float32, 1e-5), ("double", np.float64, 1e-12)]
)
def test_one_tensor_for_two_and_one_behind(
    dtype: str, kind: type, rtol: float, shape: str, opset: int, provider: str
) -> None:
    # onnxruntime writes moments over operands; none may lie where another's still are.
    first, second = statistics(4, kind, prefix="a"), statistics(4, kind, seed=2, prefix="b")
    third = statistics(4, kind, seed=3, prefix="c")
    proto = model(
        f"""g ({dtype}[{shape}] x) => ({dtype}[{shape}] t, {dtype}[{shape}] u) {{
        [one] y = BatchNormalization(x, ag, ab, am, av)
        [two] z = BatchNormalization(x, bg, bb, bm, bv)
        s = Mul(y, z)  u = Sub(y, z)
        [three] t = BatchNormalization(s, cg, cb, cm, cv) }}""",
        opset,
        **{**first, **second, **third},
    )
    x = normal(6, 4, 5, 7, dtype=kind) + kind(2)
    (t, u), moments = batched(proto, {"x": x}, provider)
    y = normalised(x, first["ag"], first["ab"])
    z = normalised(x, second["bg"], second["bb"])
    np.testing.assert_allclose(u, y - z, rtol=0, atol=rtol)
    np.testing.assert_allclose(t, normalised(y * z, third["cg"], third["cb"]), rtol=0, atol=rtol)
    for name, values in (("one", x), ("two", x), ("three", y * z)):
        assert_exact(moments[name], values, rtol)


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
@pytest.mark.parametrize("ratio", [1.0, 1e2, 1e4])
def test_a_small_variance_on_a_large_mean(ratio: float, provider: str) -> None:
    text = """g (float[N,4,56,56] x) => (float[N,4,56,56] y) {
        y = BatchNormalization(x, g, b, m, v) }"""
    x = (normal(8, 4, 56, 56) + ratio).astype(np.float32)
    _, moments = batched(model(text, **statistics(4)), {"x": x}, provider)
    (found,) = moments.values()
    exact = Moments.of(x)
    # What is fused sums in single precision, what is not corrects that.
    allowed = 3e-7 * ratio if provider == "cpu" else 1e-8 * ratio
    assert (np.abs(found.mean - exact.mean) <= allowed).all()
    np.testing.assert_allclose(found.variance, exact.variance, rtol=1e-5)


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
def test_old_statistics_do_not_matter(provider: str) -> None:
    x = normal(5, 3, 8, 8)
    nan = np.full(4, np.nan, np.float32)
    expected, _ = batched(conv_bn(), {"x": x}, provider)
    found, moments = batched(conv_bn(m=nan, v=nan), {"x": x}, provider)
    np.testing.assert_array_equal(found[0], expected[0])
    assert np.isfinite(next(iter(moments.values())).mean).all()


@pytest.mark.parametrize("provider", ["cpu", "cuda"])
def test_a_constant_channel_is_its_shift(provider: str) -> None:
    numbers = statistics(4)
    weight = normal(4, 3, 3, 3)
    weight[2] = 0
    (found,), moments = batched(conv_bn(W=weight, **numbers), {"x": normal(5, 3, 8, 8)}, provider)
    np.testing.assert_allclose(found[:, 2], numbers["b"][2], rtol=1e-6)
    (one,) = moments.values()
    assert one.mean[2] == one.m2[2] == 0


def test_what_only_outputs_need_is_removed() -> None:
    proto = model(
        """g (float[N,4,6] x) => (float[N,4,6] z) {
        y = BatchNormalization(x, g, b, m, v)  z = PRelu(y, K) }""",
        K=normal(4, 6),
        **statistics(4),
    )
    graph = ir.from_proto(proto)
    slots, _ = make_ordinary(graph, Context.of(graph))
    made = batch_mode(graph, slots).model
    assert "PRelu" not in {node.op_type for node in made.graph}
    assert not {"K", "m", "v"} & set(made.graph.initializers)
    assert {"g", "b"} <= set(made.graph.initializers)


def test_only_the_slots_change() -> None:
    text = """g (float[N,4,6] x) => (float[N,4,6] z) {
        [one] y = BatchNormalization(x, g, b, m, v)
        [two] z = BatchNormalization(y, g, b, m, v) }"""
    graph = ir.from_proto(model(text, **statistics(4)))
    slots, _ = make_ordinary(graph, Context.of(graph))
    made = batch_mode(graph, slots[1:])
    (place,) = made.places
    assert place.sites == (slots[1].site,)
    modes = [
        node.attributes["training_mode"].as_int() if "training_mode" in node.attributes else 0
        for node in made.model.graph
        if node.op_type == "BatchNormalization"
    ]
    assert modes == [0, 1]


def test_an_operator_set_without_broadcasting() -> None:
    graph = ir.from_proto(conv_bn())
    slots, _ = make_ordinary(graph, Context.of(graph))
    graph.graph.opset_imports[""] = 6
    with pytest.raises(RefusalError, match="operator set 6 is older than 7"):
        batch_mode(graph, slots)
