"""Batch norms written out with batch statistics become nodes that compute the same."""

from __future__ import annotations

import re

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from calibration.written_out import (
    EPSILON,
    FORMULAS,
    MEAN_OF,
    PLAIN,
    RESULT,
    ROOT_OF,
    SCALED,
    VARIANCE_OF,
    VARIANT,
    X,
    assert_batch_norms,
    graph,
    nodes_of,
)
from graphs import folded, model, normal, operators

from bnopt.calibration.slots import MEAN, VARIANCE


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
