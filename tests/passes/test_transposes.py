"""Transposes for a batch norm alone go with it; others stay."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from graphs import assert_same, folded, model, normal, operators, statistics

from bnopt.passes.transposes import _permutation

TEXT = """g (float[N,5,6] x) => (float[N,5,8] z) {{
    d = MatMul(x, W)
    t = Transpose<perm = [0, 2, 1]>(d)
    n = BatchNormalization(t, g, b, m, v)
    {}
}}"""
X = normal(3, 5, 6)


def result_of(tail: str):
    proto = model(TEXT.format(tail), 17, W=normal(6, 8), **statistics(8))
    assert_same(proto, x=X)
    return folded(proto)


def test_a_pair_around_a_batch_norm_goes_with_it() -> None:
    result, _ = result_of("u = Transpose<perm = [0, 2, 1]>(n) z = Relu(u)")
    assert operators(result) == ["MatMul", "Add", "Relu"]


@pytest.mark.parametrize(
    "tail",
    [
        # Not the inverse, which shapes that are equal would hide.
        "u = Transpose<perm = [1, 0, 2]>(n) w = Transpose<perm = [1, 2, 0]>(u) z = Relu(w)",
        # The reverse of the axes is a permutation, too, but not this one.
        "u = Transpose(n) w = Transpose<perm = [2, 0, 1]>(u) z = Relu(w)",
        # What stands between is read by somebody else.
        "u = Transpose<perm = [0, 2, 1]>(n) s = ReduceSum(n) z = Add(u, s)",
        "r = Relu(n) z = Transpose<perm = [0, 2, 1]>(r)",
        # Nothing is left to carry the name of the output.
        "z = Transpose<perm = [0, 2, 1]>(n)",
    ],
)
def test_other_transposes_stay(tail: str) -> None:
    result, _ = result_of(tail)
    assert operators(result).count("Transpose") == 1 + tail.count("Transpose")


def test_what_stands_between_may_be_an_output() -> None:
    text = TEXT.replace("(float[N,5,8] z)", "(float[N,5,8] z, float[N,8,5] n)")
    proto = model(
        text.format("u = Transpose<perm = [0, 2, 1]>(n) z = Relu(u)"),
        17,
        W=normal(6, 8),
        **statistics(8),
    )
    assert_same(proto, x=X)
    assert operators(folded(proto)[0]).count("Transpose") == 2


def test_a_permutation_that_a_caller_decides_is_none() -> None:
    perm = ir.RefAttr("perm", "order", ir.AttributeType.INTS)
    node = ir.Node("", "Transpose", [ir.Value(name="x")], [perm])
    assert _permutation(node) == []
    node.attributes["perm"] = ir.AttrInt64s("perm", [0, 2, 1])
    assert _permutation(node) == [0, 2, 1]
