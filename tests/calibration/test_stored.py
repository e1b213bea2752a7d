"""Batch norms written out with constants that can still be told apart."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model, normal, operators, run, statistics

from bnopt.algebra.base import Context
from bnopt.calibration.slots import Slot
from bnopt.calibration.written_out import make_nodes
from bnopt.passes.prepare import prepare
from bnopt.rules import View

SHARED = Path(os.environ.get("BNOPT_SHARED", Path(__file__).resolve().parents[3] / "shared"))
FORMS = SHARED / "forms"
EPSILON = np.array(1e-3, np.float32)
X = normal(3, 4, 5, 6, seed=9)

ROOT = "t = Add(v, e)  r = Sqrt(t)"
FORMULAS = {
    "scaled": f"{ROOT} i = Reciprocal(r)  a = Mul(i, g)  c = Mul(m, a)  k = Sub(b, c) "
    "z = Mul(x, a)  y = Add(z, k)",
    "divided": f"{ROOT} d = Sub(x, m)  n = Div(d, r)  s = Mul(n, g)  y = Add(s, b)",
    "gamma first": f"{ROOT} d = Sub(x, m)  n = Mul(d, g)  s = Div(n, r)  y = Add(s, b)",
    "epsilon first": "t = Add(e, v)  r = Sqrt(t)  d = Sub(x, m)  y = Div(d, r)",
    "mean first": f"{ROOT} n = Neg(m)  d = Add(n, x)  y = Div(d, r)",
    "moved": f"{ROOT} h = Transpose<perm = [0, 2, 3, 1]>(x)  l = Reshape(m, f)  o = Reshape(r, f) "
    "d = Sub(h, l)  y = Div(d, o)",
}
SEPARATE = [name for name in FORMULAS if name != "mean first"]


def graph(
    body: str, opset: int = 17, sizes: str = "N,4,H,W", **replace: np.ndarray
) -> onnx.ModelProto:
    given = {k: v.reshape(1, 4, 1, 1) for k, v in statistics(4).items()}
    given |= {"e": EPSILON, "f": np.array([4]), **replace}
    given["u"] = np.full((1, 4, 1, 1), EPSILON)
    used = {
        k: v for k, v in given.items() if f" {k})" in body or f"({k}," in body or f"({k})" in body
    }
    return model(f"g (float[{sizes}] x) => (float[?,?,?,?] y) {{ {body} }}", opset, **used)


def nodes_of(
    proto: onnx.ModelProto, *, keep_overridable: bool = False
) -> tuple[onnx.ModelProto, list[Slot]]:
    rewritten = ir.from_proto(onnx.ModelProto.FromString(proto.SerializeToString()))
    context = Context.of(rewritten, keep_overridable=keep_overridable)
    slots, kept = make_nodes(rewritten, context)
    assert kept == []
    return ir.to_proto(rewritten), slots


def assert_same(proto: onnx.ModelProto, result: onnx.ModelProto, **feeds: np.ndarray) -> None:
    for expected, actual in zip(run(proto, **feeds), run(result, **feeds), strict=True):
        size = float(np.abs(expected).max())
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * size)


@pytest.mark.parametrize("name", SEPARATE)
def test_is_a_node_with_its_numbers(name: str) -> None:
    proto = graph(FORMULAS[name])
    before = ir.from_proto(proto)
    sites = [norm.site for norm in View.of(before, Context.of(before)).norms]
    result, (slot,) = nodes_of(proto)
    onnx.checker.check_model(result, full_check=True)
    assert_same(proto, result, x=X)
    assert "Sqrt" not in operators(result)
    numbers = statistics(4)
    np.testing.assert_array_equal(slot.mean, numbers["m"])
    np.testing.assert_array_equal(slot.variance, numbers["v"])
    assert slot.epsilon == float(EPSILON)
    assert (slot.form, slot.rewritten) == ("decomposed", False)
    # A chain that a Transpose cuts has no site of its own.
    assert sites in ([slot.site], [])
    if name == "scaled":
        np.testing.assert_array_equal(slot.gamma, numbers["g"])
        np.testing.assert_array_equal(slot.beta, numbers["b"])


def test_constants_that_an_exporter_has_merged() -> None:
    """Before training mean and beta are zeros, variance and gamma ones: two constants are left."""
    zeros, ones = np.zeros((1, 4, 1, 1), np.float32), np.ones((1, 4, 1, 1), np.float32)
    body = FORMULAS["scaled"].replace("Sub(b,", "Sub(m,").replace("Mul(i, g)", "Mul(i, v)")
    proto = graph(body, m=zeros, v=ones)
    result, (slot,) = nodes_of(proto)
    assert_same(proto, result, x=X)
    np.testing.assert_array_equal(slot.gamma, np.ones(4))
    np.testing.assert_array_equal(slot.variance, np.ones(4))


def test_the_bias_before_is_not_the_mean() -> None:
    body = "x = Add(w, h) " + FORMULAS["scaled"]
    proto = graph(body, h=normal(1, 4, 1, 1))
    proto.graph.input[0].name = "w"
    result, (slot,) = nodes_of(proto)
    assert operators(result) == ["Add", "BatchNormalization"]
    np.testing.assert_array_equal(slot.mean, statistics(4)["m"])


KEPT = {
    "negated mean": FORMULAS["mean first"],
    "no mean": f"{ROOT} z = Div(x, r)  y = Add(z, b)",
    "root computed": "d = Sub(x, m)  n = Div(d, v)  y = Add(n, b)",
    "epsilon added": "r = Sqrt(v)  d = Sub(x, m)  y = Div(d, r)",
    "root bounded": f"{ROOT} o = Max(r, g)  d = Sub(x, m)  y = Div(d, o)",
    "an epsilon for each channel": "t = Add(v, u)  r = Sqrt(t)  d = Sub(x, m)  y = Div(d, r)",
    "twice": f"{ROOT} d = Sub(x, m)  n = Div(d, r)  i = Reciprocal(r)  o = Mul(d, i) "
    "y = Concat<axis = 1>(n, o)",
    "root in half precision": f"{ROOT} o = Cast<to = 10>(r)  l = Cast<to = 1>(o)  d = Sub(x, m) "
    "y = Div(d, l)",
    "cast": f"{ROOT} d = Sub(x, m)  o = Cast<to = 10>(r)  k = Cast<to = 10>(d)  n = Div(k, o) "
    "y = Cast<to = 1>(n)",
}


@pytest.mark.parametrize("name", KEPT)
def test_cannot_be_told_apart(name: str) -> None:
    proto = graph(KEPT[name])
    result, slots = nodes_of(proto)
    assert slots == []
    assert operators(result) == operators(proto)


def test_two_means() -> None:
    """Either half could be the mean that the other is a shift of."""
    body = f"{ROOT} o = Sub(x, m)  d = Sub(o, m)  y = Div(d, r)"
    _, slots = nodes_of(graph(body))
    # The nearest is: the other stays in front, as the bias of a convolution would.
    assert [slot.input.name for slot in slots] == ["o"]


def test_single_numbers() -> None:
    """0.5 and 0.001 may be variance and epsilon, or not."""
    one = np.full((1, 1, 1, 1), 0.5, np.float32)
    proto = graph(FORMULAS["divided"], sizes="N,1,H,W", v=one, m=one, g=one, b=one)
    assert nodes_of(proto)[1] == []


def test_lengths_that_are_not_known() -> None:
    assert nodes_of(graph(FORMULAS["divided"], sizes="N,C,H,W"))[1] == []


def test_older_than_the_operator() -> None:
    assert nodes_of(graph(FORMULAS["divided"], opset=8))[1] == []


def test_a_mean_that_the_caller_may_set() -> None:
    proto = graph(FORMULAS["divided"])
    proto.graph.input.append(
        onnx.helper.make_tensor_value_info("m", onnx.TensorProto.FLOAT, [1, 4, 1, 1])
    )
    assert nodes_of(proto, keep_overridable=True)[1] == []
    assert len(nodes_of(proto)[1]) == 1


def switched() -> list[Path]:
    found = sorted(FORMS.glob("tensorflow/*.onnx")) if FORMS.is_dir() else []
    return [path for path in found if b"is_training" in path.read_bytes()]


FILES = switched()


@pytest.mark.forms
@pytest.mark.skipif(not FILES, reason=f"no framework exports at {FORMS}")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_exports_in_inference(path: Path) -> None:
    """A switch that was set to inference leaves the constants that TensorFlow had."""
    proto = onnx.load(path)
    flags = {v.name: False for v in proto.graph.input if v.type.tensor_type.elem_type == 9}
    rewritten = ir.from_proto(proto)
    prepare(rewritten, set_inputs=flags)
    separate = any(node.op_type == "Add" and is_root(node) for node in rewritten.graph)
    slots, _ = make_nodes(rewritten, Context.of(rewritten))
    assert bool(slots) == separate
    if not slots:
        return
    known = np.load(path.with_name(f"{path.stem.partition('__')[0]}.npz"))
    for slot in slots:
        for kinds, numbers in ((("mean", "avg"), slot.mean), (("var",), slot.variance)):
            saved = [known[key] for key in known if any(f"moving_{kind}" in key for kind in kinds)]
            assert any(np.array_equal(numbers, one) for one in saved)
    x = next(known[key] for key in known if key.startswith("in__") and known[key].ndim > 1)
    (name,) = {value.name for value in proto.graph.input} - set(flags)
    given = {flag: np.array(False) for flag in flags}
    result = ir.to_proto(rewritten)
    for expected, actual in zip(
        run(proto, **{name: x}, **given), run(result, **{name: x}), strict=True
    ):
        size = float(np.abs(expected).max())
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * size)


def is_root(node: ir.Node) -> bool:
    return any(reader.op_type == "Sqrt" for reader, _ in node.outputs[0].uses())
