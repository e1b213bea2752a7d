"""Moments that onnxruntime computed against numpy's of the same tensors."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import conv_bn, model, normal, run, statistics
from hypothesis import example, given, settings
from hypothesis import strategies as st
from measuring import assert_moments, showing, tap

from bnopt import io
from bnopt.algebra.base import Context
from bnopt.calibration import runner
from bnopt.calibration.gather import gather
from bnopt.calibration.taps import Tap, tapped
from bnopt.errors import DataError, ExecutionError

NETWORK = """g (float[N,3,9,9] x, float[N,7] t, float[N,5,7] u)
    => (float[N,5,3,3] y, float[N,2] z, float[N,5,6] w) {
    c = Conv<strides = [2, 2]>(x, W)  r = Relu(c)  d = Add(r, B)  e = Conv(d, V)  y = Relu(e)
    f = MatMul(t, M)  h = Add(f, A)  i = Relu(h)  z = MatMul(i, L)
    j = MatMul(u, M)  k = Add(j, A)  w = Relu(k) }"""


@pytest.mark.slow
@settings(max_examples=8)
@example(opset=12, samples=3, offset=30.0, seed=1)
@example(opset=13, samples=3, offset=30.0, seed=2)
@example(opset=17, samples=3, offset=30.0, seed=3)
@example(opset=18, samples=3, offset=30.0, seed=4)
@given(
    opset=st.integers(7, 22),
    samples=st.integers(1, 20),
    offset=st.sampled_from([0.0, 30.0, -3000.0]),
    seed=st.integers(0, 99),
)
def test_small_networks_at_every_opset(opset, samples, offset, seed) -> None:
    proto = model(
        NETWORK,
        opset,
        W=normal(4, 3, 3, 3, seed=seed),
        B=normal(4, 1, 1) + np.float32(offset),
        V=normal(5, 4, 2, 2),
        M=normal(7, 6, seed=seed),
        A=normal(6) + np.float32(offset),
        L=normal(6, 2),
    )
    x = normal(samples, 3, 9, 9, seed=seed)
    feed = {"x": x, "t": x.reshape(samples, -1)[:, :7], "u": x.reshape(samples, -1)[:, 7:42]}
    feed["u"] = feed["u"].reshape(samples, 5, 7)
    places = {"c": 1, "d": 1, "e": 1, "f": 1, "h": 1, "j": 2, "k": 2}
    graph = ir.from_proto(proto)
    found = gather(graph, [tap(graph, *place) for place in places.items()], [feed])
    assert found.samples == samples
    assert found.notes == ()
    values = run(showing(proto, *places), **feed)
    for (name, axis), array in zip(places.items(), values, strict=True):
        assert_moments(found.moments[name], array, axis)


def test_samples_are_cut_into_feeds_and_chunks(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(runner, "CHUNK_BYTES", 9 * 768)
    proto, x = conv_bn(), normal(43, 3, 8, 8)
    np.savez(tmp_path / "d.npz", x=x)
    graph = ir.from_proto(proto)
    steps = []
    found = gather(
        graph, [tap(graph, "c")], tmp_path / "d.npz", progress=lambda *step: steps.append(step)
    )
    assert_moments(found.moments["c"], run(showing(proto, "c"), x=x)[0])
    assert found.samples == found.moments["c"].samples == 43
    # A step is a shard of four feeds; with such small chunks each feed is one by itself.
    assert steps == [("measure", 0, 43), ("measure", 32, 43), ("measure", 43, 43)]
    less = gather(graph, [tap(graph, "c")], tmp_path / "d.npz", max_samples=5)
    assert less.samples == 5
    assert "first 5 of 43" in less.notes[0]


def test_a_fixed_batch_and_samples_that_do_not_fill_one(tmp_path) -> None:
    proto = model("g (float[4,3] x) => (float[4,2] y) { y = MatMul(x, W) }", W=normal(3, 2))
    x = normal(10, 3)
    np.savez(tmp_path / "d.npz", x=x)
    graph = ir.from_proto(proto)
    found = gather(graph, [tap(graph, "y")], tmp_path / "d.npz")
    assert found.samples == 8
    assert_moments(found.moments["y"], x[:8] @ normal(3, 2))
    assert "2 samples do not fill a batch" in found.notes[0]


def test_half_precision() -> None:
    proto, x = conv_bn("float16", np.float16), normal(8, 3, 8, 8, dtype=np.float16)
    graph = ir.from_proto(proto)
    found = gather(graph, [tap(graph, "c")], [{"x": x}])
    assert_moments(found.moments["c"], run(showing(proto, "c"), x=x)[0])


def test_double_precision() -> None:
    text = "g (double[N,3,4] x) => (double[N,3,5] y) { y = MatMul(x, W) }"
    proto, x = model(text, W=normal(4, 5, dtype=float)), normal(8, 3, 4, dtype=float)
    graph = ir.from_proto(proto)
    found = gather(graph, [tap(graph, "y")], [{"x": x}])
    assert_moments(found.moments["y"], run(proto, x=x)[0], rtol=1e-12)


def test_a_small_variance_on_a_large_mean() -> None:
    # The mean, 20001, is not a sum that single precision can hold; the deviations are exact.
    proto = model("g (float[N,2,32,32] x) => (float[N,2,32,32] y) { y = Identity(x) }")
    x = (20001 + np.random.default_rng(0).integers(-1, 2, (8, 2, 32, 32)) / 64).astype(np.float32)
    graph = ir.from_proto(proto)
    found = gather(graph, [Tap("x", graph.graph.inputs[0], 1)], [{"x": x}])
    exact = x.astype(np.float64)
    np.testing.assert_allclose(found.moments["x"].mean, exact.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.moments["x"].variance, exact.var((0, 2, 3)), rtol=1e-6)


def test_one_tensor_is_reduced_once_for_each_axis() -> None:
    graph = ir.from_proto(conv_bn())
    taps = [tap(graph, "c", 1, "a"), tap(graph, "c", 1, "b"), tap(graph, "c", 2, "rows")]
    copy = tapped(Context.of(graph), taps)
    assert [place.sites for place in copy.places] == [("a", "b"), ("rows",)]
    found = gather(graph, taps, [{"x": normal(2, 3, 8, 8)}])
    assert found.moments["a"] == found.moments["b"]
    assert len(found.moments["rows"].mean) == 6


def test_the_last_tensor_comes_first_so_that_tensors_are_freed_early() -> None:
    graph = ir.from_proto(conv_bn())
    copy = tapped(Context.of(graph), [tap(graph, "c"), tap(graph, "y")])
    assert [place.sites for place in copy.places] == [("y",), ("c",)]


def test_only_what_the_taps_need_is_computed_and_the_model_is_only_read() -> None:
    proto = model(
        """g (float[N,3] x, bool flag) => (float[N,3] y, float[N,3] z) {
        a = Add(x, A)  c = If(flag) <then_branch = t () => (float[N,3] p) { p = Mul(a, M) },
          else_branch = e () => (float[N,3] q) { q = Neg(x) }>
        y = Relu(c)  z = Custom(x, K) }""",
        A=normal(3),
        M=normal(3),
        K=normal(3),
    )
    graph = ir.from_proto(proto)
    before = graph.graph.outputs[0]
    copy = tapped(Context.of(graph), [tap(graph, "c")]).model
    assert [n.op_type for n in copy.graph][:2] == ["Add", "If"]
    assert not {"Custom", "Relu"} & {node.op_type for node in copy.graph}
    assert set(copy.graph.initializers) == {"A", "M"}
    assert [v.name for v in copy.graph.inputs] == ["x", "flag"]
    assert ir.to_proto(graph) == ir.to_proto(ir.from_proto(proto))
    assert graph.graph.outputs[0] is before
    # onnxruntime does not know Custom; without it the model runs.
    x = normal(4, 3)
    found = gather(graph, [tap(graph, "c")], [{"x": x, "flag": np.array(True)}])
    assert_moments(found.moments["c"], (x + normal(3)) * normal(3))


def test_what_lies_in_a_body_or_has_no_rank_is_left_out() -> None:
    graph = ir.from_proto(
        model(
            """g (float[N,3] x, bool flag, int64[K] s) => (float[N,3] y, float[A,B] z) {
            y = If(flag) <then_branch = t () => (float[N,3] p) { p = Neg(x) },
              else_branch = e () => (float[N,3] q) { q = Abs(x) }>
            r = Reshape(x, s) z = Neg(r) }"""
        )
    )
    body = graph.graph[0].attributes["then_branch"].as_graph()
    taps = [Tap("inner", body[0].outputs[0], 1), tap(graph, "r"), tap(graph, "y")]
    found = gather(
        graph, taps, [{"x": normal(2, 3), "flag": np.array(True), "s": np.array([3, 2])}]
    )
    assert set(found.moments) == {"y"}
    assert found.notes == (
        "1 batch norm in a subgraph or function cannot be measured from outside",
        "1 batch norm not measured: the rank of the input is not known",
    )
    nothing = gather(graph, taps[:2], [{}])
    assert (nothing.samples, nothing.moments, nothing.notes) == (0, {}, found.notes)


def test_a_vector_has_nothing_to_reduce() -> None:
    graph = ir.from_proto(model("g (float[N] x) => (float[N] y) { y = Neg(x) }"))
    found = gather(graph, [tap(graph, "y", 0)], [{"x": normal(3)}])
    assert found.moments == {}
    assert len(found.notes) == 1


def test_an_opset_without_broadcasting_is_left_out() -> None:
    graph = ir.from_proto(model("g (float[N,3] x) => (float[N,3] y) { y = Neg(x) }", opset=6))
    found = gather(graph, [tap(graph, "y")], [{"x": normal(2, 3)}])
    assert found.moments == {}
    assert "operator set 6" in found.notes[0]


def test_numbers_that_are_not_finite_are_left_out() -> None:
    graph = ir.from_proto(
        model("g (float[N,3] x) => (float[N,3] y, float[N,3] z) { y = Log(x) z = Abs(x) }")
    )
    x = normal(5, 3)
    found = gather(graph, [tap(graph, "y"), tap(graph, "z")], [{"x": x}])
    assert set(found.moments) == {"z"}
    assert found.notes == ("1 of 2 inputs of batch norms are not finite or empty",)


def test_a_model_of_one_batch_size_is_run_sample_by_sample(tmp_path) -> None:
    proto = model(
        "g (float[N,6] x) => (float[A,2] y) <int64[2] s = {1, 6}> { r = Reshape(x, s)"
        " y = MatMul(r, W) }",
        W=normal(6, 2),
    )
    x = normal(9, 6)
    np.savez(tmp_path / "d.npz", x=x)
    graph = ir.from_proto(proto)
    found = gather(graph, [tap(graph, "y")], tmp_path / "d.npz")
    assert_moments(found.moments["y"], x @ normal(6, 2))
    assert found.samples == 9
    assert found.notes[0].startswith("measured one sample at a time: ")


def test_a_model_that_does_not_load_is_one_line() -> None:
    graph = ir.from_proto(
        model(
            "g (float[N,3,4,4] x) => (float[N,2,4,4] y) { c = Custom(x)  y = Conv(c, W) }",
            W=normal(2, 3, 1, 1),
        )
    )
    with pytest.raises(ExecutionError, match=r"^onnxruntime: .*Custom") as error:
        gather(graph, [tap(graph, "y")], [{"x": normal(2, 3, 4, 4)}])
    assert "\n" not in error.value.message


def test_data_that_does_not_fit() -> None:
    graph = ir.from_proto(conv_bn())
    with pytest.raises(DataError, match="missing input x"):
        gather(graph, [tap(graph, "c")], [{"z": normal(2)}])


def test_external_data(tmp_path) -> None:
    proto = conv_bn(W=normal(40, 3, 3, 3), **statistics(40))
    proto.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 40
    path, x = tmp_path / "m.onnx", normal(3, 3, 8, 8)
    (values,) = run(showing(proto, "c"), x=x)
    onnx.save(proto, path, save_as_external_data=True, location="m.data", size_threshold=0)
    graph = io.load(path).model
    found = gather(graph, [tap(graph, "c")], [{"x": x}])
    assert_moments(found.moments["c"], values)
