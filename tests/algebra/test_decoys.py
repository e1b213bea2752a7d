"""What looks like a batch norm written out and is none, and what is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import assert_same, decisions, model, normal, statistics

from bnopt import passes
from bnopt.algebra.base import Context
from bnopt.algebra.decoys import is_decomposed_batch_norm
from bnopt.algebra.units import find_units
from bnopt.graph.scopes import scopes

EPS = np.float32(1e-5)
TOKENS = "float[2,5,4]"
IMAGE = "float[2,4,6,6]"
HALF = np.float32(0.5)


def sites(proto: onnx.ModelProto) -> list[tuple[str, str]]:
    """Form and decision of every site."""
    plan = passes.plan(ir.from_proto(proto))
    return [(site.form, type(site.decision).__name__) for site in plan.sites]


def graph(nodes: str, shape: str, opset: int = 17, **weights: Any) -> onnx.ModelProto:
    every = {"two": np.float32(2), "eps": EPS, "G": normal(4), "B": normal(4, seed=2), **weights}
    return model(f"g ({shape} x) => ({shape} y) {{ {nodes} }}", opset, **every)


def tail(source: str) -> str:
    """A gain and an offset, and a MatMul that could take both."""
    return f"p = Mul({source}, G) q = Add(p, B) y = MatMul(q, W)"


# torch writes LayerNorm with Pow and Div; TensorFlow with a squared difference, Rsqrt as Sqrt and
# Reciprocal, and the gain multiplied with the inverse root first.
TORCH_LAYER_NORM = """
    m = ReduceMean<axes = [-1]>(x) d = Sub(x, m) s = Pow(d, two) v = ReduceMean<axes = [-1]>(s)
    e = Add(v, eps) r = Sqrt(e) n = Div(d, r)
"""
TENSORFLOW_LAYER_NORM = """
    m = ReduceMean<axes = [2]>(x) d = Sub(x, m) s = Mul(d, d) v = ReduceMean<axes = [2]>(s)
    e = Add(v, eps) r = Sqrt(e) i = Reciprocal(r)
    k = Mul(i, G) a = Mul(x, k) b = Mul(m, k) c = Sub(B, b) z = Add(a, c) y = MatMul(z, W)
"""
RMS_NORM = """
    s = Pow(x, two) v = ReduceMean<axes = [-1]>(s) e = Add(v, eps) r = Sqrt(e)
"""
GROUP_NORM = """
    t = Reshape(x, groups) i = InstanceNormalization(t, ones, zeros) n = Reshape(i, whole)
    p = Mul(n, G1) q = Add(p, B1) y = Conv(q, K)
"""
WEIGHTS: dict[str, Any] = {
    "W": normal(4, 4, seed=3),
    "K": normal(4, 4, 1, 1, seed=3),
    "groups": np.array([2, 2, -1]),
    "whole": np.array([2, 4, 6, 6]),
    "ones": np.ones(2, np.float32),
    "zeros": np.zeros(2, np.float32),
    "G1": normal(4, 1, 1, seed=4),
    "B1": normal(4, 1, 1, seed=5),
}
DECOYS = {
    "LayerNorm of torch": (TORCH_LAYER_NORM + tail("n"), TOKENS),
    "LayerNorm of TensorFlow": (TENSORFLOW_LAYER_NORM, TOKENS),
    "LayerNorm with a cast": (TORCH_LAYER_NORM + "o = Cast<to = 1>(n)" + tail("o"), TOKENS),
    "LayerNormalization": (
        "n = LayerNormalization(x, G, B)" + tail("n"),
        TOKENS,
    ),
    "RMSNorm by Div": (RMS_NORM + "n = Div(x, r)" + tail("n"), TOKENS),
    "RMSNorm by Reciprocal": (RMS_NORM + "i = Reciprocal(r) n = Mul(x, i)" + tail("n"), TOKENS),
    "GroupNorm": (GROUP_NORM, IMAGE),
    "InstanceNorm": (
        """i = InstanceNormalization(x, four, four) p = Mul(i, G1) q = Add(p, B1)
        y = Conv(q, K)""",
        IMAGE,
    ),
    "attention scores": (
        """k = Transpose<perm = [0, 2, 1]>(x) s = MatMul(x, k) p = Mul(s, half) o = Softmax(p)
        y = MatMul(o, x)""",
        TOKENS,
    ),
    "attention scores by Div": (
        """k = Transpose<perm = [0, 2, 1]>(x) s = MatMul(x, k) p = Div(s, two) o = Softmax(p)
        y = MatMul(o, x)""",
        TOKENS,
    ),
    "a weighted softmax": ("n = Softmax(x)" + tail("n"), TOKENS),
    "a bias": ("p = MatMul(x, W) q = Add(p, B) y = Relu(q)", TOKENS),
    "one number for each element": ("p = Mul(x, whole_gain) y = MatMul(p, W)", TOKENS),
    "a vector": ("p = Mul(x, G) y = Relu(p)", "float[4]"),
}


@pytest.mark.parametrize("name", DECOYS)
def test_other_normalizations_are_no_sites(name: str) -> None:
    nodes, shape = DECOYS[name]
    extra = {"four": np.ones(4, np.float32), "half": HALF, "whole_gain": normal(5, 4)}
    proto = graph(nodes, shape, **WEIGHTS, **extra)
    onnx.checker.check_model(proto, full_check=True)
    assert sites(proto) == []


STATS = {name: array.reshape(4, 1, 1) for name, array in statistics(4).items()}
# TensorFlow: x * (gamma * rsqrt(var + eps)) + (beta - mean * that), statistics folded or not.
PLAIN = "c = Conv(x, K) p = Mul(c, g) y = Add(p, b)"
TORCH = """c = Conv(x, K) d = Sub(c, m) f = Add(v, eps) r = Sqrt(f) n = Div(d, r) p = Mul(n, g)
    y = Add(p, b)"""
TENSORFLOW = """c = Conv(x, K) f = Add(v, eps) r = Sqrt(f) i = Reciprocal(r) k = Mul(i, g)
    a = Mul(c, k) o = Mul(m, k) t = Sub(b, o) y = Add(a, t)"""
AHEAD = "p = Mul(x, g) q = Add(p, b) y = Conv(q, K)"
BEHIND_A_CARRIER = (
    "c = Conv(x, K) r = MaxPool<kernel_shape = [1, 1]>(c) p = Mul(r, g) y = Add(p, b)"
)


@pytest.mark.parametrize("nodes", [PLAIN, TORCH, TENSORFLOW, AHEAD, BEHIND_A_CARRIER])
def test_batch_norms_written_out_are_sites_and_fold(nodes: str) -> None:
    stats = {**STATS, "g": np.abs(STATS["g"])}
    proto = graph(nodes, IMAGE, **WEIGHTS, **stats)
    assert sites(proto) == [("decomposed", "Folded")]
    assert decisions(proto) == ["folded"]
    assert_same(proto, x=normal(2, 4, 6, 6))


def test_a_batch_norm_behind_a_mean_is_one_all_the_same() -> None:
    """Squeeze-and-excitation pools, but no root and no quotient leads from there."""
    nodes = "a = GlobalAveragePool(x) c = Conv(a, K) p = Mul(c, g) q = Add(p, b) y = Mul(x, q)"
    assert sites(graph(nodes, IMAGE, **WEIGHTS, **STATS)) == [("decomposed", "Folded")]


def test_a_chain_with_a_batch_norm_in_it_is_reported_as_that() -> None:
    nodes = "c = Conv(x, K) p = Mul(c, g) y = BatchNormalization(p, G, B, B, V)"
    proto = graph(nodes, IMAGE, **WEIGHTS, V=np.abs(normal(4)), **STATS)
    assert sites(proto) == [("batch_normalization", "Folded")]


def test_a_batch_norm_on_an_if_chooses_between_two() -> None:
    nodes = """c = Conv(x, K) o = If (flag) <
        then_branch = t () => (float[2,4,6,6] h) { h = Neg(c) },
        else_branch = e () => (float[2,4,6,6] l) { l = Abs(c) }>
        p = Mul(o, g) y = Add(p, b)"""
    text = f"g ({IMAGE} x, bool flag) => ({IMAGE} y) {{ {nodes} }}"
    assert sites(model(text, K=WEIGHTS["K"], **STATS)) == []


RUNTIME = """u = ReduceMean<axes = [{axes}]>(x) d = Sub(x, u) s = Mul(d, d)
    w = ReduceMean<axes = [{axes}]>(s) f = Add({order}) r = Sqrt(f) n = Div(d, r) p = Mul(n, g)
    y = Add(p, b)"""


@pytest.mark.parametrize("order", ["w, eps", "eps, w"])
def test_statistics_of_the_batch_are_reported_by_the_root(order: str) -> None:
    proto = graph(RUNTIME.format(axes="0, 2, 3", order=order), IMAGE, **STATS)
    (site,) = passes.plan(ir.from_proto(proto)).sites
    assert (site.form, site.decision.reason) == ("batch_statistics", "batch-statistics")
    assert site.name == "r"


@pytest.mark.parametrize(
    "nodes",
    [
        RUNTIME.format(axes="2, 3", order="w, eps"),  # of an instance
        RUNTIME.format(axes="0, 2, 3", order="w, half"),  # half is no epsilon
        RUNTIME.format(axes="0, 2, 3", order="w, zero"),
        RUNTIME.format(axes="0, 2, 3", order="w, w"),
        RUNTIME.format(axes="0, 2, 3", order="w, g"),  # as many as channels
        RUNTIME.format(axes="0, 2, 3", order="w, eps").replace("Sqrt", "Exp"),
        RUNTIME.format(axes="0, 2, 3", order="w, eps").replace("f = Add", "f = Max"),
        "w = Abs(x) f = Add(w, eps) y = Sqrt(f)",
        "y = Sqrt(x)",
        "a = Relu(x) y = Sqrt(a)",
        "w = ReduceMean<axes = [0]>(x) f = Add(w, eps, eps) y = Sqrt(f)",
        "f = Add(eps, eps) r = Sqrt(f) y = Mul(x, r)",
        "y = Sqrt()",
        "w = ReduceMean<axes = [0]>(g) f = Add(w, eps) r = Sqrt(f) y = Mul(x, r)",  # constant
    ],
)
def test_other_roots_are_not(nodes: str) -> None:
    extra = {"half": HALF, "zero": np.float32(0)}
    proto = graph(nodes, IMAGE, **STATS, **extra)
    assert all(site.form != "batch_statistics" for site in passes.plan(ir.from_proto(proto)).sites)


def test_a_variance_chosen_by_an_if_is_no_constant() -> None:
    nodes = """o = If (flag) <
        then_branch = t () => (float[1,4,1,1] h) { h = ReduceMean<axes = [0, 2, 3]>(x) },
        else_branch = e () => (float[4,1,1] l) { l = Identity(v) }>
        f = Add(o, eps) r = Sqrt(f) y = Div(x, r)"""
    text = f"g ({IMAGE} x, bool flag) => ({IMAGE} y) {{ {nodes} }}"
    plan = passes.plan(ir.from_proto(model(text, eps=EPS, **STATS)))
    assert [(s.form, s.decision.reason) for s in plan.sites] == [
        ("decomposed", "dynamic-statistics")
    ]


def test_axes_that_are_not_written_are_all_of_them() -> None:
    nodes = "w = ReduceSumSquare(x) f = Add(w, eps) r = Sqrt(f) y = Div(x, r)"
    proto = graph(nodes, IMAGE)
    assert [site[0] for site in sites(proto)] == ["batch_statistics"]
    nodes = "w = ReduceSum(x, axes) f = Add(w, eps) r = Sqrt(f) y = Div(x, r)"
    assert sites(graph(nodes, IMAGE, axes=np.array([2, 3]))) == []


def test_a_chain_with_a_batch_norm_in_it_needs_no_other_sign() -> None:
    nodes = "c = Conv(x, K) p = Mul(c, g) y = BatchNormalization(p, G, B, B, V)"
    proto = ir.from_proto(graph(nodes, IMAGE, **WEIGHTS, V=np.abs(normal(4)), **STATS))
    context = Context.of(proto)
    (scope,) = scopes(proto)
    (unit,) = find_units(list(proto.graph), scope, context)
    assert not is_decomposed_batch_norm(unit, context)


@pytest.mark.parametrize(
    ("shape", "listed"), [((4, 1, 1), True), ((4,), False), ((4, 6, 1), False), ((), False)]
)
def test_a_gain_on_data_of_unknown_rank(shape: tuple[int, ...], listed: bool) -> None:
    """Listed if it is one number per channel of data with further axes, as a batch norm's is."""
    text = f"g ({IMAGE} x) => (float y) {{ s = u.Strange(x) y = Mul(s, k) }}"
    proto = model(text, domains=', "u": 1', k=np.ones(shape, np.float32))
    plan = passes.plan(ir.from_proto(proto))
    assert [site.decision.reason for site in plan.sites] == ["unknown-operator"] * listed


def test_a_gain_that_broadcasts_its_data_is_none() -> None:
    text = "g (float[2,1,6,6] x) => (float[2,4,6,6] y) { y = Mul(x, k) }"
    assert sites(model(text, k=normal(4, 1, 1))) == []


def test_the_gain_of_an_instance_norm_of_unknown_rank_is_no_batch_norm() -> None:
    text = """g (float[2,4,6,6] x) => (float[A,B,C,D] y) {
        s = u.Strange(x) n = InstanceNormalization(s, h, h) y = Mul(n, k) }"""
    weights = {"h": np.ones(4, np.float32), "k": normal(1, 4, 1, 1)}
    proto = model(text, domains=', "u": 1', **weights)
    assert not passes.plan(ir.from_proto(proto)).sites
    plain = model(
        text.replace("InstanceNormalization(s, h, h)", "Abs(s)"), domains=', "u": 1', **weights
    )
    assert len(passes.plan(ir.from_proto(plain)).sites) == 1
