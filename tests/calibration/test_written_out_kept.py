"""What looks like a batch norm written out and cannot become a node is left, with the reason."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from calibration.written_out import (
    EPSILON,
    FORMULAS,
    MEAN_OF,
    PLAIN,
    RESULT,
    ROOT_OF,
    VARIANCE_OF,
    VARIANT,
    X,
    assert_batch_norms,
    graph,
    nodes_of,
    refusal,
)
from graphs import model, normal

OTHER_VARIANCE = {
    "of a sample": "h = Size(x)  j = Cast<to = 1>(h)  l = Div(j, four)  k = Sub(l, one) "
    f"{MEAN_OF} d = Sub(x, m)  p = ReduceSumSquare<axes = [0, 2, 3]>(d)  v = Div(p, k)",
    "with a count of its own": f"{MEAN_OF} d = Sub(x, m) "
    "p = ReduceSumSquare<axes = [0, 2, 3]>(d)  v = Div(p, many)",
    "of some axes": f"m = ReduceMean<axes = [0, 2]>(x) {VARIANCE_OF}".replace("2, 3", "2"),
    "of each activation": f"m = ReduceMean<axes = [0]>(x) {VARIANCE_OF}".replace("0, 2, 3", "0"),
    "of all": f"m = ReduceMean(x) {VARIANCE_OF}".replace(
        "<axes = [0, 2, 3]>", "<axes = [0,1,2,3]>"
    ),
    "around another mean": f"{MEAN_OF} d = Sub(x, one)  q = Mul(d, d) "
    "v = ReduceMean<axes = [0, 2, 3]>(q)",
    "weighted": f"{MEAN_OF} d = Sub(x, m)  u = Mul(d, d)  q = Mul(u, other) "
    "v = ReduceMean<axes = [0, 2, 3]>(q)",
    "bounded by sample": f"{MEAN_OF} d = Sub(x, m)  u = Mul(d, d)  q = Max(u, tiny) "
    "v = ReduceMean<axes = [0, 2, 3]>(q)",
    "halved": f"{MEAN_OF} d = Sub(x, m)  q = Mul(d, d)  u = ReduceMean<axes = [0, 2, 3]>(q) "
    "v = Mul(u, half)",
    "of squares only": f"{MEAN_OF} d = Sub(x, m)  q = Mul(x, x) "
    "v = ReduceMean<axes = [0, 2, 3]>(q)",
}


@pytest.mark.parametrize("body", OTHER_VARIANCE.values(), ids=OTHER_VARIANCE)
def test_no_variance_of_the_batch(body: str) -> None:
    inputs = ", float[N,1,1,1] other" if "other" in body else ""
    weights = {"one": 1, "four": 4, "many": 210, "half": 0.5, "tiny": 1e-12}
    used = {k: np.array(v, np.float32) for k, v in weights.items() if f" {k})" in body}
    proto = graph(f"{body} {ROOT_OF} {RESULT}", sizes="N,4,6,7", inputs=inputs, **used)
    one = refusal(proto)
    assert (one.site, one.name) == ("main:r", "r")
    assert (one.form, one.reason) == ("batch_statistics", "batch-statistics")
    assert "is not the variance of one tensor" in one.message


def test_a_count_that_is_known_is_no_obstacle() -> None:
    """With a fixed batch an exporter may have counted; a batch that is open says it is wrong."""
    body = OTHER_VARIANCE["with a count of its own"]
    proto = graph(f"{body} {ROOT_OF} {RESULT}", sizes="5,4,6,7", many=np.array(210, np.float32))
    assert_batch_norms(proto, x=X)


OTHER_RESULT = {
    "scaled only": "y = Div(x, r)",
    "around another mean": "o = Sub(x, one)  n = Div(o, r)  y = Add(n, b)",
    "mean bounded": "o = Max(m, far)  k = Sub(x, o)  y = Div(k, r)",
    "root bounded": "o = Max(r, one)  y = Div(d, o)",
    "root corrected": "o = Min(r, one)  k = Mul(d, o)  y = Div(k, r)",
    "root of the root": "o = Sqrt(r)  y = Div(d, o)",
    "clipped before": "o = Clip(d, far, one)  y = Div(o, r)",
    "of another tensor": "o = Sub(other, m)  y = Div(o, r)",
    "of two tensors": "o = Mul(d, other)  y = Div(o, r)",
    "along another axis": "f = Constant<value_ints = [0, 2, 3]>()  o = Squeeze(r, f) y = Div(d, o)",
    "copied": "o = Mul(r, twice)  y = Div(d, o)",
    "mean of the bounded": "o = Max(x, far)  l = ReduceMean<axes = [0, 2, 3]>(o)  k = Sub(x, l) "
    "y = Div(k, r)",
    "upside down": "y = Div(r, d)",
    "of higher rank": "f = Constant<value_ints = [0]>()  o = Unsqueeze(r, f)  y = Div(d, o)",
    "twice": "l = Div(d, r)  i = Reciprocal(r)  k = Mul(d, i)  y = Concat<axis = 1>(k, l)",
    "read by two": "n = Div(d, r)  o = Neg(d)  k = Div(o, r)  l = Mul(n, k)  y = Mul(l, r)",
}


@pytest.mark.parametrize("body", OTHER_RESULT.values(), ids=OTHER_RESULT)
def test_no_batch_norm_by_the_root(body: str) -> None:
    inputs = ", float[N,4,4,4] other" if "other" in body else ""
    weights = {"one": np.array(1), "far": np.array(-1e6), "twice": np.ones((2, 1, 1, 1))}
    used = {
        k: v.astype(np.float32) for k, v in weights.items() if f" {k})" in body or f" {k}," in body
    }
    proto = graph(f"{VARIANT} {ROOT_OF} {body}", sizes="N,4,4,4", inputs=inputs, **used)
    one = refusal(proto)
    assert one.reason == "batch-statistics"
    assert "by Sqrt 'r', the root of the variance of 'x'" in one.message


@pytest.mark.parametrize("where", ["statistics", "result"])
def test_another_type_in_between(where: str) -> None:
    if where == "statistics":
        body = f"{VARIANT} {ROOT_OF} o = Cast<to = 10>(r)  k = Cast<to = 10>(d)  z = Div(k, o)"
    else:
        body = f"{VARIANT} {ROOT_OF} o = Cast<to = 10>(d)  k = Cast<to = 1>(o)  z = Div(k, r)"
    one = refusal(graph(f"{body} y = Cast<to = 1>(z)"))
    assert one.reason == "data-type"
    assert "Cast 'k'" in one.message or "Cast 'o'" in one.message


def test_rounded_after_arithmetic() -> None:
    """x - mean in half precision, the rest in single: no BatchNormalization rounds there."""
    body = (
        "m = ReduceMean<axes = [0, 2, 3]>(x)  d = Sub(x, m)  o = Cast<to = 1>(d)  q = Mul(o, o) "
        f"v = ReduceMean<axes = [0, 2, 3]>(q) {ROOT_OF} y = Div(o, r)"
    )
    assert refusal(graph(body, dtype="float16")).reason == "batch-statistics"


def test_older_than_the_operator() -> None:
    one = refusal(graph(PLAIN, opset=8))
    assert one.reason == "batch-statistics"
    assert "operator set 8" in one.message


def test_in_a_subgraph() -> None:
    inner = PLAIN.replace("y =", "z =")
    body = (
        f"y = If(p) <then_branch = t () => (float[?,?,?,?] z) {{ {inner} }},"
        " else_branch = f () => (float[?,?,?,?] f1) { f1 = Identity(x) }>"
    )
    one = refusal(graph(body, inputs=", bool p"))
    assert one.reason == "not-measurable"
    assert one.site.startswith("main/")
    assert "then_branch" in one.message


def test_in_a_function() -> None:
    body = "e = Constant<value_float = 0.001>() " + PLAIN
    function = f'<domain: "l", opset_import: ["": 17]> f (x, g, b) => (y) {{ {body} }}'
    constants = {name: normal(1, 4, 1, 1) for name in "gb"}
    proto = graph("y = l.f(x, g, b)", functions=function, domains=', "l": 1', **constants)
    one = refusal(proto)
    assert one.reason == "not-measurable"
    assert one.site.startswith("function l::f")


def test_statistics_that_an_if_chooses() -> None:
    chosen = (
        "w = If(p) <then_branch = t () => (float[?,?,?,?] t1) { t1 = Identity(v) },"
        " else_branch = f () => (float[?,?,?,?] f1) { f1 = Identity(old) }>"
    )
    body = f"{VARIANT} {chosen} t = Add(w, e)  r = Sqrt(t) {RESULT}"
    one = refusal(graph(body, inputs=", bool p", old=np.ones((1, 4, 1, 1), np.float32)))
    assert (one.form, one.reason) == ("decomposed", "dynamic-statistics")


def test_channels_that_are_not_known() -> None:
    body = f"{VARIANT} {ROOT_OF} y = Div(d, r)"
    assert refusal(graph(body, sizes="N,C,H,W")).reason == "batch-statistics"
    _, slots, _ = nodes_of(graph(body))
    assert len(slots) == 1


def test_a_rank_that_is_not_known() -> None:
    body = "x = custom.Op(w) " + PLAIN
    text = f"g (float[N,3,8,8] w) => (float y) {{ {body} }}"
    constants = {name: normal(1, 4, 1, 1) for name in "gb"}
    proto = model(text, domains=', "custom": 1', e=np.array(EPSILON), **constants)
    one = refusal(proto)
    assert one.reason == "not-measurable"
    assert "the rank of 'x'" in one.message


def test_a_constant_that_is_not_finite() -> None:
    gamma = normal(1, 4, 1, 1)
    gamma[0, 2] = np.inf
    assert refusal(graph(FORMULAS["scaled"], g=gamma)).reason == "batch-statistics"


def test_constants_that_fit_one_by_one_only() -> None:
    small = np.full((1, 4, 1, 1), 200, np.float16)
    large = np.float16([10, 10, 400, 10]).reshape(1, 4, 1, 1)
    body = FORMULAS["scaled"].replace("a = Mul(i, g)", "l = Mul(i, g)  a = Mul(l, h)")
    epsilon = np.array(1e-3, np.float16)
    proto = graph(body, "float16", e=epsilon, g=small, h=large, b=small)
    assert refusal(proto).reason == "overflow"
    proto = graph(body, "float16", e=epsilon, g=small, h=small, b=small)
    _, slots, _ = nodes_of(proto)
    np.testing.assert_array_equal(slots[0].gamma, np.full(4, 40000))


def test_bfloat16_before_the_operator_takes_it() -> None:
    import ml_dtypes

    one = np.ones((1, 4, 1, 1), ml_dtypes.bfloat16)
    small = np.array(1e-2, ml_dtypes.bfloat16)
    for opset, count in ((13, 0), (14, 1)):
        proto = graph(FORMULAS["scaled"], "bfloat16", opset, e=small, g=one, b=one)
        proto.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.BFLOAT16
        _, slots, kept = nodes_of(proto)
        assert len(slots) == count
        assert [u.reason for u in kept] == ["data-type"] * (1 - count)


def test_a_gamma_that_the_caller_may_set() -> None:
    proto = graph(FORMULAS["scaled"])
    proto.graph.input.append(
        onnx.helper.make_tensor_value_info("g", onnx.TensorProto.FLOAT, [1, 4, 1, 1])
    )
    one = refusal(proto, keep_overridable=True)
    assert one.reason == "overridable"
    assert "'g'" in one.message
    rewritten, slots, _ = nodes_of(proto)
    assert len(slots) == 1
    assert [value.name for value in rewritten.graph.inputs] == ["x"]


def test_layer_norm_is_none() -> None:
    body = PLAIN.replace("0, 2, 3", "1, 2, 3")
    _, slots, kept = nodes_of(graph(body))
    assert (slots, kept) == ([], [])
