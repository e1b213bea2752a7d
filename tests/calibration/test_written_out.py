"""Batch norms written out with batch statistics, as nodes: the same numbers, or the reason."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import folded, model, normal, operators, run

from bnopt.algebra.base import Context
from bnopt.algebra.runtime_statistics import runtime_statistics
from bnopt.calibration.slots import MEAN, VARIANCE, Slot
from bnopt.calibration.written_out import make_nodes
from bnopt.evidence import Uncalibrated

SHARED = Path(os.environ.get("BNOPT_SHARED", Path(__file__).resolve().parents[3] / "shared"))
FORMS = SHARED / "forms"

MEAN_OF = "m = ReduceMean<axes = [0, 2, 3]>(x)"
VARIANCE_OF = "d = Sub(x, m)  q = Mul(d, d)  v = ReduceMean<axes = [0, 2, 3]>(q)"
VARIANT = f"{MEAN_OF} {VARIANCE_OF}"
ROOT_OF = "t = Add(v, e)  r = Sqrt(t)"
RESULT = "n = Div(d, r)  s = Mul(n, g)  y = Add(s, b)"
PLAIN = f"{MEAN_OF} {VARIANCE_OF} {ROOT_OF} {RESULT}"
# The same, scale and shift first, as TensorFlow writes it.
SCALED = (
    "i = Reciprocal(r)  a = Mul(i, g)  c = Mul(m, a)  k = Sub(b, c)  z = Mul(x, a)  y = Add(z, k)"
)
EPSILON = np.float32(1e-3)


def graph(
    body: str,
    dtype: str = "float",
    opset: int = 17,
    sizes: str = "N,4,H,W",
    outputs: str = "y",
    functions: str = "",
    domains: str = "",
    inputs: str = "",
    **weights: np.ndarray,
) -> onnx.ModelProto:
    """A network whose input x is normalised; `g`, `b`, `e` are its constants if it reads them."""
    rank = sizes.count(",") + 1
    given = {
        "e": np.array(EPSILON),
        "g": normal(4, seed=3).reshape(1, 4, *[1] * (rank - 2)),
        "b": normal(4, seed=4).reshape(1, 4, *[1] * (rank - 2)),
    }
    used = {
        name: array for name, array in given.items() if f" {name})" in body or f"({name}," in body
    }
    declared = ", ".join(f"float[{','.join('?' * rank)}] {name}" for name in outputs.split())
    text = f"g ({dtype}[{sizes}] x{inputs}) => ({declared}) {{ {body} }}"
    return model(text, opset, functions=functions, domains=domains, **{**used, **weights})


def nodes_of(
    proto: onnx.ModelProto, *, keep_overridable: bool = False
) -> tuple[ir.Model, list[Slot], list[Uncalibrated]]:
    rewritten = ir.from_proto(onnx.ModelProto.FromString(proto.SerializeToString()))
    context = Context.of(rewritten, keep_overridable=keep_overridable)
    slots, kept = make_nodes(rewritten, context)
    return rewritten, slots, kept


def with_statistics(
    rewritten: ir.Model, slots: list[Slot], feeds: dict[str, np.ndarray]
) -> onnx.ModelProto:
    """The rewritten model with the moments of a batch, one batch norm after the other."""
    for slot in slots:
        proto = ir.to_proto(rewritten)
        if slot.input.name not in feeds:
            del proto.graph.output[:]
            proto.graph.output.append(onnx.ValueInfoProto(name=slot.input.name))
            (data,) = run(proto, **feeds)
        else:
            data = feeds[slot.input.name]
        axes = (0, *range(2, data.ndim))
        for index, numbers in (
            (MEAN, data.astype(np.float64).mean(axes)),
            (VARIANCE, data.astype(np.float64).var(axes)),
        ):
            constant = slot.node.inputs[index]
            dtype = constant.const_value.dtype.numpy()
            constant.const_value = ir.tensor(numbers.astype(dtype), name=constant.name)
    return ir.to_proto(rewritten)


def assert_batch_norms(
    proto: onnx.ModelProto, count: int = 1, rtol: float = 1e-5, **feeds: np.ndarray
) -> tuple[onnx.ModelProto, list[Slot]]:
    """Rewritten, it gives on a batch what the original gives, by the moments of that batch."""
    rewritten, slots, kept = nodes_of(proto)
    assert (len(slots), kept) == (count, [])
    result = with_statistics(rewritten, slots, feeds)
    onnx.checker.check_model(result, full_check=True)
    for expected, actual in zip(run(proto, **feeds), run(result, **feeds), strict=True):
        assert actual.dtype == expected.dtype
        size = float(np.abs(expected.astype(np.float64)).max())
        np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * size)
    return result, slots


def refusal(proto: onnx.ModelProto, **options: bool) -> Uncalibrated:
    """Why the one batch norm was left alone; and so was the rest of the model."""
    rewritten, slots, kept = nodes_of(proto, **options)
    assert slots == []
    assert operators(ir.to_proto(rewritten)) == operators(proto)
    (one,) = kept
    return one


X = 3 * normal(5, 4, 6, 7, seed=9) + normal(4, 1, 1, seed=8)

FORMULAS = {
    "plain": PLAIN,
    "scaled": f"{MEAN_OF} {VARIANCE_OF} {ROOT_OF} {SCALED}",
    "of squares": f"{MEAN_OF} q = Mul(x, x)  p = ReduceMean<axes = [0, 2, 3]>(q)  w = Mul(m, m) "
    f"v = Sub(p, w)  {ROOT_OF} {SCALED}",
    "of squares, not below zero": f"{MEAN_OF} q = Mul(x, x)  p = ReduceMean<axes = [0, 2, 3]>(q)"
    f"  w = Mul(m, m)  u = Sub(p, w)  v = Relu(u)  {ROOT_OF} {SCALED}",
    "counted": "h = Shape(x)  f = Constant<value_ints = [0, 2, 3]>()  o = Gather(h, f) "
    "l = ReduceProd<keepdims = 0>(o)  j = Cast<to = 1>(l)  u = ReduceSum(x, f)  m = Div(u, j) "
    f"d = Sub(x, m)  p = ReduceSumSquare<axes = [0, 2, 3]>(d)  v = Div(p, j)  {ROOT_OF} {RESULT}",
    "with a mean of its own": f"{MEAN_OF} o = ReduceMean<axes = [0, -1, -2]>(x)  d = Sub(x, o) "
    f"q = Mul(d, d)  v = ReduceMean<axes = [0, 2, 3]>(q)  {ROOT_OF} {SCALED}",
    "mean negated": f"{MEAN_OF} l = Neg(m)  d = Add(x, l)  q = Mul(d, d) "
    f"v = ReduceMean<axes = [0, 2, 3]>(q)  {ROOT_OF} {RESULT}",
    "moved aside": "f = Constant<value_ints = [0, 2, 3]>()  m = ReduceMean<axes = [0, 2, 3]>(x) "
    f"{VARIANCE_OF} {ROOT_OF} w = Squeeze(r, f)  l = Squeeze(m, f) "
    "h = Transpose<perm = [0, 2, 3, 1]>(x)  o = Sub(h, l)  n = Div(o, w)  y = Identity(n)",
}


@pytest.mark.parametrize("body", FORMULAS.values(), ids=FORMULAS)
def test_gives_what_the_formula_gives(body: str) -> None:
    result, _ = assert_batch_norms(graph(body), x=X)
    left = operators(result)
    assert left.count("BatchNormalization") == 1
    assert {"Sqrt", "ReduceMean", "Sub", "Shape"}.isdisjoint(left)


@pytest.mark.parametrize("opset", [9, 11, 13, 15, 20])
def test_at_every_opset(opset: int) -> None:
    # From opset 18 on the axes are an operand.
    body = PLAIN
    if opset >= 18:
        body = "f = Constant<value_ints = [0, 2, 3]>() " + body.replace("<axes = [0, 2, 3]>(", "(")
        body = body.replace("ReduceMean(x)", "ReduceMean(x, f)")
        body = body.replace("ReduceMean(q)", "ReduceMean(q, f)")
    assert_batch_norms(graph(body, opset=opset), x=X)


@pytest.mark.parametrize(
    ("sizes", "axes", "shape"),
    [
        ("N,4", "0", (50, 4)),
        ("N,4,L", "0, 2", (5, 4, 30)),
        ("N,4,4,4", "0, 2, 3", (5, 4, 4, 4)),
        ("8,4,300,300", "0, 2, 3", (8, 4, 300, 300)),
        ("N,4,A,B,C", "0, 2, 3, 4", (2, 4, 3, 5, 6)),
    ],
)
def test_of_any_rank(sizes: str, axes: str, shape: tuple[int, ...]) -> None:
    body = PLAIN.replace("0, 2, 3", axes)
    result, slots = assert_batch_norms(graph(body, sizes=sizes), x=normal(*shape))
    # gamma and beta follow as they stand.
    assert operators(result) == ["BatchNormalization", "Mul", "Add"]
    assert slots[0].input.name == "x"


@pytest.mark.parametrize("scaled", [False, True])
def test_channels_last(scaled: bool) -> None:
    body = f"{MEAN_OF} {VARIANCE_OF} {ROOT_OF} {SCALED if scaled else RESULT}"
    weights = {"g": normal(4, seed=3), "b": normal(4, seed=4)}
    proto = graph(body.replace("0, 2, 3", "0, 1, 2"), sizes="N,H,W,4", **weights)
    result, _ = assert_batch_norms(proto, x=np.ascontiguousarray(X.transpose(0, 2, 3, 1)))
    assert operators(result)[:3] == ["Transpose", "BatchNormalization", "Transpose"]


def test_numbers_of_the_slot_are_those_of_the_model() -> None:
    gamma = np.float32([1e-21, 0, -1.7, 0.3]).reshape(1, 4, 1, 1)
    body = FORMULAS["scaled"]
    _, slots, _ = nodes_of(graph(body, g=gamma))
    (slot,) = slots
    assert (slot.site, slot.name) == ("main:r", "r")
    assert (slot.form, slot.rewritten) == ("batch_statistics", True)
    assert slot.mean is None
    assert slot.variance is None
    assert slot.epsilon == float(EPSILON)
    np.testing.assert_array_equal(slot.gamma, gamma.reshape(-1))
    np.testing.assert_array_equal(slot.beta, normal(4, seed=4))
    for index, numbers in (
        (1, slot.gamma),
        (2, slot.beta),
        (MEAN, np.zeros(4)),
        (VARIANCE, np.ones(4)),
    ):
        constant = slot.node.inputs[index].const_value
        assert constant.dtype == ir.DataType.FLOAT
        np.testing.assert_array_equal(constant.numpy(), numbers)


def test_a_gamma_of_zero_leaves_nothing_behind() -> None:
    body = FORMULAS["scaled"]
    result, _ = assert_batch_norms(graph(body, g=np.zeros((1, 4, 1, 1), np.float32)), x=X)
    assert operators(result) == ["BatchNormalization"]


def test_what_stands_before_is_not_taken_in() -> None:
    body = "u = Conv(w, W)  x = Add(u, B) " + PLAIN
    text = f"g (float[N,3,8,8] w) => (float[?,?,?,?] y) {{ {body} }}"
    weights = {"W": normal(4, 3, 3, 3), "B": normal(1, 4, 1, 1), "e": np.array(EPSILON)}
    proto = model(text, **weights, g=normal(1, 4, 1, 1, seed=3), b=normal(1, 4, 1, 1, seed=4))
    result, slots = assert_batch_norms(proto, w=normal(5, 3, 8, 8))
    assert slots[0].input.name == "x"
    assert operators(folded(result)[0]) == ["Conv"]


def test_two_in_a_row_and_folded() -> None:
    """Channels last around both, as tf2onnx writes it without its optimizers."""
    first = PLAIN.replace("0, 2, 3", "0, 1, 2")
    new = {"x": "X", "y": "Y", **{name: f"{name}2" for name in "mdqvtrns"}}
    second = re.sub(r"\b[xymdqvtrns]\b", lambda found: new[found[0]], first)
    to, back = "Transpose<perm = [0, 3, 1, 2]>", "Transpose<perm = [0, 2, 3, 1]>"
    body = f"k = Conv(w, W)  x = {back}(k) {first} a = Relu(y)  c = {to}(a)  l = Conv(c, W2) "
    text = f"g (float[N,3,9,9] w) => (float[?,?,?,?] Y) {{ {body} X = {back}(l) {second} }}"
    weights = {"W": normal(4, 3, 3, 3), "W2": normal(4, 4, 3, 3), "e": np.array(EPSILON)}
    proto = model(text, **weights, g=normal(4, seed=3), b=normal(4, seed=4))
    result, _ = assert_batch_norms(proto, 2, w=normal(5, 3, 9, 9))
    left = operators(folded(result)[0])
    assert {"BatchNormalization", "Mul", "Add"}.isdisjoint(left)


def test_readers_in_between_keep_what_they_read() -> None:
    body = f"{PLAIN} o = Exp(d)  p = Mul(m, m)  k = Add(y, m)"
    proto = graph(body, outputs="y o p r k")
    result, _ = assert_batch_norms(proto, x=X)
    assert [value.name for value in result.graph.output] == ["y", "o", "p", "r", "k"]
    assert "Sqrt" in operators(result)


def test_a_sum_with_itself_moved_is_left() -> None:
    """Width and height swapped, which no number per channel shows."""
    body = (
        f"{VARIANT} {ROOT_OF} n = Div(d, r)  o = Transpose<perm = [0, 1, 3, 2]>(n)  y = Add(n, o)"
    )
    result, _ = assert_batch_norms(graph(body, sizes="N,4,5,5"), x=normal(3, 4, 5, 5))
    assert operators(result) == ["BatchNormalization", "Transpose", "Add"]


def test_a_reader_in_a_subgraph_reads_the_node() -> None:
    body = PLAIN.replace("y =", "z =") + (
        " o = If(p) <then_branch = t () => (float[?,?,?,?] t1) { t1 = Identity(z) },"
        " else_branch = f () => (float[?,?,?,?] f1) { f1 = Identity(x) }>"
    )
    proto = graph(body, outputs="o", inputs=", bool p")
    result, _ = assert_batch_norms(proto, x=X, p=np.array(True))
    assert operators(result) == ["BatchNormalization", "Mul", "Add", "If"]


@pytest.mark.parametrize("late", [False, True])
def test_half_precision_normalised_in_single(late: bool) -> None:
    """The Cast belongs to what is normalised, also where the statistics read another one."""
    body = FORMULAS["scaled"].replace("z = Mul(x, a)", "o = Cast<to = 1>(h)  z = Mul(o, a)")
    body = body if late else FORMULAS["scaled"]
    proto = graph("x = Cast<to = 1>(h) " + body)
    proto.graph.input[0].name = "h"
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    result, slots = assert_batch_norms(proto, h=X.astype(np.float16))
    assert operators(result) == ["Cast", "BatchNormalization"]
    assert slots[0].input.producer().op_type == "Cast"


@pytest.mark.parametrize(("dtype", "kind"), [("float16", np.float16), ("double", np.float64)])
def test_of_one_type_throughout(dtype: str, kind: type) -> None:
    constants = {
        "e": np.array(1e-3, kind),
        "g": normal(1, 4, 1, 1, seed=3, dtype=kind),
        "b": normal(1, 4, 1, 1, seed=4, dtype=kind),
    }
    proto = graph(FORMULAS["scaled"], dtype, **constants)
    proto.graph.output[0].type.tensor_type.elem_type = proto.graph.input[
        0
    ].type.tensor_type.elem_type
    rtol = 1e-2 if kind is np.float16 else 1e-8
    _, slots = assert_batch_norms(proto, rtol=rtol, x=X.astype(kind))
    assert {slots[0].node.inputs[i].const_value.dtype.numpy() for i in range(1, 5)} == {
        np.dtype(kind)
    }


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


def test_two_roots_of_one_batch_norm() -> None:
    body = FORMULAS["scaled"].replace("c = Mul(m, a)", "o = Sqrt(t)  l = Div(g, o)  c = Mul(m, l)")
    _, slots = assert_batch_norms(graph(body), x=X)
    assert slots[0].site == "main:r"


def test_epsilon_first() -> None:
    assert_batch_norms(graph(PLAIN.replace("Add(v, e)", "Add(e, v)")), x=X)


def test_another_affine_with_the_mean() -> None:
    """It has nothing to do with the root, though it is scale 0 times a batch norm."""
    body = f"{PLAIN} o = Mul(x, zero)  l = Mul(m, zero)  p = Add(o, l)"
    proto = graph(body, outputs="y p", zero=np.zeros(1, np.float32))
    result, _ = assert_batch_norms(proto, x=X + 1)
    assert operators(result).count("ReduceMean") == 1


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


def roots(path: Path) -> list[str]:
    """The roots of batch statistics in the main graph of an export."""
    graph = ir.from_proto(onnx.load(path))
    context = Context.of(graph)
    found = {node.name: runtime_statistics(node, context) for node in graph.graph}
    return [name for name, one in found.items() if one is not None and one[0] == "batch_statistics"]


def exports() -> list[Path]:
    found = sorted(FORMS.glob("*/*.onnx")) if FORMS.is_dir() else []
    return [path for path in found if b"Sqrt" in path.read_bytes()]


FILES = exports()


@pytest.mark.forms
@pytest.mark.skipif(not FILES, reason=f"no framework exports at {FORMS}")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_exports(path: Path) -> None:
    proto = onnx.load(path)
    expected = roots(path)
    rewritten, found, kept = nodes_of(proto)
    slots = [slot for slot in found if slot.rewritten]
    if "batch_weights" in path.stem:
        assert [(one.name, one.reason) for one in kept] == [
            (n, "batch-statistics") for n in expected
        ]
        return
    assert [slot.name for slot in slots] == expected
    assert {one.reason for one in kept} <= {"dynamic-statistics", "not-measurable"}
    if not found:
        return
    stored = path.with_name(f"{path.stem.partition('__')[0]}.npz")
    first = proto.graph.input[0]
    if stored.exists():
        known = np.load(stored)
        x = next(known[key] for key in known if key.startswith("in_") and known[key].ndim > 1)
    else:
        shape = [dim.dim_value or 2 for dim in first.type.tensor_type.shape.dim]
        x = normal(*shape)
    # What is left of the inputs says that this is training.
    feeds = {value.name: np.array(True) for value in proto.graph.input} | {first.name: x}
    result = with_statistics(rewritten, slots, feeds)
    assert "Sqrt" not in operators(result)
    for expected_array, actual in zip(run(proto, **feeds), run(result, **feeds), strict=True):
        size = float(np.abs(expected_array).max())
        np.testing.assert_allclose(actual, expected_array, rtol=0, atol=1e-4 * size)
