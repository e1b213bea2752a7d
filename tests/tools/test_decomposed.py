"""What the tools count as a batch norm in the form of Mul and Add."""

from __future__ import annotations

import _decomposed
import onnx.parser
import pytest

HEADER = '<ir_version: 8, opset_import: ["": 17, "local": 1]>'
CONSTANTS = """
<float[2] c = {1, 2}, float[1,2,1,1] s = {1, 2}, float[1,2,1,1] t = {3, 4}, float[2,1,1] u = {5, 6},
 float one = {2}, float[1,1,3,1] rows = {1, 2, 3}, float[1,2,3,1] both = {1, 2, 3, 4, 5, 6},
 float[2,1] pair = {1, 2}, int64[4] four = {1, 2, 1, 1}, int64[2] axes = {1, 2}, float eps = {0.1}>
"""

LAYER_NORM = """
m = ReduceMean <axes = [1]> (x) d = Sub(x, m) q = Mul(d, d) v = ReduceMean <axes = [1]> (q)
e = Add(v, eps) r = Sqrt(e) n = Div(d, r) a = Mul(n, s) y = Add(a, t)
"""
RMS_NORM = """
q = Mul(x, x) v = ReduceMean <axes = [1]> (q) e = Add(v, eps) r = Sqrt(e) i = Reciprocal(r)
g = Mul(i, s) y = Mul(x, g)
"""


def count(body: str, inputs: str = "float[N,2,3,3] x", output: str = "float[N,2,3,3] y") -> int:
    return count_model(f"{HEADER} main ({inputs}) => ({output}) {CONSTANTS} {{ {body} }}")


def count_model(text: str) -> int:
    return _decomposed.count_decomposed(onnx.parser.parse_model(text))


@pytest.mark.parametrize(
    "body",
    [
        "y = Mul(x, s)",
        "y = Mul(s, x)",
        "y = Div(x, u)",
        "a = Mul(x, s) y = Add(a, t)",
        "a = Sub(x, t) b = Mul(a, s) d = Div(b, u) y = Add(t, d)",
        "a = Mul(x, one) b = Mul(a, s) y = Sub(t, b)",
        "r = Sqrt(s) q = Reciprocal(r) a = Mul(x, q) y = Add(a, t)",
        "r = Reshape(c, four) a = Mul(x, r) y = Add(a, t)",
        "r = Unsqueeze(c, axes) a = Mul(x, r) y = Add(a, t)",
        "r = Constant <value = float[2,1,1] {1, 2}> () y = Mul(x, r)",
        "a = Relu(x) m = ReduceMean(a) b = Mul(a, s) y = Add(b, m)",
        "a = Mul(x, x) y = Mul(a, s)",
    ],
)
def test_one(body: str) -> None:
    assert count(body) == 1


@pytest.mark.parametrize(
    "body",
    [
        "y = Add(x, t)",
        "y = Mul(x, one)",
        "y = Mul(x, both)",
        "y = Div(s, x)",
        "y = Mul(x, x)",
        "y = BatchNormalization(x, c, c, c, c)",
        "y = InstanceNormalization(x, c, c) z = Mul(y, s)",
        LAYER_NORM,
        RMS_NORM,
    ],
)
def test_none(body: str) -> None:
    assert count(body) == 0


@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("a = Mul(x, s) b = Relu(a) y = Mul(b, s)", 2),
        ("a = Mul(x, s) y = Mul(a, rows)", 2),
        ("a = Mul(x, s) b = Mul(a, s) y = Add(a, b)", 2),
        ("a = Mul(x, s) b = BatchNormalization(a, c, c, c, c) y = Mul(b, s)", 2),
    ],
)
def test_a_chain_ends_where_something_else_stands_or_reads(body: str, number: int) -> None:
    assert count(body) == number


def test_data_that_the_constant_broadcasts_is_copied_and_vectors_have_no_channels() -> None:
    assert count("y = Mul(x, s)", inputs="float[N,1,3,3] x") == 0
    assert count("y = Mul(x, c)", "float[2] x", "float[2] y") == 0
    assert count("y = Mul(x, pair)", "float[2] x", "float[2,2] y") == 0
    assert count("y = Mul(x, c)", "float[N,2] x", "float[N,2] y") == 1


def test_integers_are_no_batch_norm() -> None:
    body = "k = Constant <value = int64[2,1,1] {1, 2}> () y = Mul(x, k)"
    assert count(body, "int64[N,2,3,3] x", "int64[N,2,3,3] y") == 0


def test_a_computed_operand_is_no_constant() -> None:
    assert count("y = Mul(x, p)", "float[N,2,3,3] x, float[1,2,1,1] p") == 0


def test_every_scope_counts_and_constants_come_from_outside() -> None:
    inner = """
    main (float[N,2] x, bool b) => (float[N,2] z) <float[2] c = {1, 2}> {
        w = If (b) <
            then_branch = yes () => (float[N,2] a) { a = Mul(x, c) },
            else_branch = no () => (float[N,2] d) { d = Relu(x) }
        >
        z = local.Scale(w)
    }
    <domain: "local", opset_import: ["": 17]>
    Scale (c) => (y) { k = Constant <value = float[1,2] {1, 2}> () y = Mul(c, k) }
    """
    assert count_model(HEADER + inner) == 2
    formal = inner.replace("y = Mul(c, k)", "y = Mul(c, c)")
    assert count_model(HEADER + formal) == 1
