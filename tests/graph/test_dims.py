"""Dimensions that are derived without shape inference, which a custom operator ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, normal

from bnopt.algebra.base import Context
from bnopt.graph.scopes import scopes


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


K = normal(6, 4, 3, 3)


def dims(nodes: str, name: str, opset: int = 17, functions: str = "", **weights: Any) -> Any:
    """The dimensions of a value; `s` is computed by an operator that nobody knows."""
    text = f"g (float[2,4,6,6] x) => (float y) {{ s = u.Strange(x) {nodes} }}"
    proto = model(text, opset, domains=', "u": 1', functions=functions, **weights)
    graph = ir.from_proto(proto)
    (value,) = [v for n in graph.graph for v in n.outputs if v.name == name]
    return Context.of(graph).dims.of(value)


@pytest.mark.parametrize(
    ("nodes", "expected", "weights"),
    [
        ("y = Relu(s)", None, {}),
        ("y = Conv(s, K)", (None, 6, None, None), {}),
        ("y = Conv(s, x)", None, {}),
        ("c = Conv(s, K) y = Sigmoid(c)", (None, 6, None, None), {}),
        ("c = Conv(s, K) a, y = Split(c)", None, {}),
        ("c = Conv(s, K) y, m = Dropout(c)", (None, 6, None, None), {}),
        ("c = Conv(s, K) m, y = Dropout(c)", None, {}),
        ("c = Conv(s, K) y = u.Relu(c)", None, {}),
        ("y = ConvTranspose<group = 2>(s, K)", (None, 8, None, None), {}),
        ("y = Gemm(s, W)", (None, 5), {"W": normal(4, 5)}),
        ("y = Gemm<transB = 1>(s, W)", (None, 4), {"W": normal(4, 5)}),
        ("y = MatMul(s, W)", None, {"W": normal(4, 5)}),
        ("c = Conv(s, K) y = MatMul(c, W)", (None, 6, None, 5), {"W": normal(4, 5)}),
        ("c = Conv(s, K) y = MatMul(c, W)", (None, None, None, 5), {"W": normal(2, 4, 5)}),
        ("c = Conv(s, K) y = MatMul(c, W)", None, {"W": normal(2, 2, 1, 4, 5)}),
        ("y = MatMul(s, W)", None, {"W": normal(4)}),
        ("c = Conv(s, K) y = Add(c, W)", (None, 6, None, 5), {"W": normal(6, 1, 5)}),
        ("c = Conv(s, K) y = Mul(c, W)", (None, 6, None, None), {"W": normal(1)}),
        ("c = Conv(s, K) y = Add(c, W)", None, {"W": normal(1, 1, 1, 1, 1)}),
        ("y = Transpose(s)", None, {}),
        ("c = Conv(s, K) y = Transpose(c)", (None, None, 6, None), {}),
        ("c = Conv(s, K) y = Transpose<perm = [1, 0, 2, 3]>(c)", (6, None, None, None), {}),
        ("c = Conv(s, K) y = Transpose<perm = [1, 0]>(c)", None, {}),
        ("c = Conv(s, K) y = Squeeze(c, a)", (None, 6, None), {"a": ints(-1)}),
        ("c = Conv(s, K) y = Squeeze(c)", None, {}),
        ("c = Conv(s, K) a = Cast<to = 7>(x) y = Squeeze(c, a)", None, {}),
        ("c = Conv(s, K) y = Unsqueeze(c, a)", (None, 1, 6, None, None, 1), {"a": ints(1, -1)}),
        (
            "c = Conv(s, K) y = Slice(c, b, e, a)",
            (None, 6, None, None),
            {"b": ints(0), "e": ints(1), "a": ints(2)},
        ),
        (
            "c = Conv(s, K) y = Slice(c, b, e, a)",
            (None, None, None, None),
            {"b": ints(0), "e": ints(3), "a": ints(-3)},
        ),
        ("c = Conv(s, K) y = Slice(c, b, e)", None, {"b": ints(0), "e": ints(1)}),
    ],
)
def test_behind_what_stops_shape_inference(nodes: str, expected: Any, weights: Any) -> None:
    assert dims(nodes, "y", **{"K": K, **weights}) == expected


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("y = Conv(s, K)", (None, 4, None, None)),
        ("y = Conv<group = 2>(s, K)", (None, 8, None, None)),
        ("r = Relu(s) y = Conv(r, K)", (None, 4, None, None)),
        ("y = Conv(x, s)", None),
        ("y = u.Conv(s, K)", None),
        ("y = ConvTranspose(s, K)", None),
        ("y = Conv(s, x)", None),
        ("y = Neg(s)", None),
    ],
)
def test_what_a_reader_demands(nodes: str, expected: Any) -> None:
    assert dims(nodes, "s", K=K) == expected


def test_squeeze_of_old_lists_its_axes_as_an_attribute() -> None:
    assert dims("c = Conv(s, K) y = Squeeze<axes = [3]>(c)", "y", 11, K=K) == (None, 6, None)


def test_a_local_function_by_the_name_of_an_operator_is_none() -> None:
    functions = '<domain: "", opset_import: ["": 17]>\nRelu (x) => (y) { y = ReduceSum(x) }'
    assert dims("c = Conv(s, K) y = Relu(c)", "y", functions=functions, K=K) is None


def test_axes_that_a_function_is_given() -> None:
    functions = """
    <domain: "f", opset_import: ["": 11]>
    Block <a> (x) => (y) {
        K = Constant<value = float[1,1,1,1] {1}>() s = u.Strange(x) c = Conv(s, K)
        y = Squeeze<axes: ints = @a>(c)
    }
    """
    text = "g (float[2,1,1,1] x) => (float y) { y = f.Block<a = [3]>(x) }"
    graph = ir.from_proto(model(text, 11, functions=functions, domains=', "f": 1, "u": 1'))
    (scope,) = [scope for scope in scopes(graph) if scope.graph is not graph.graph]
    assert Context.of(graph).dims.of(scope.graph.node(-1).outputs[0]) is None


def test_declared_and_derived_dimensions_complete_each_other() -> None:
    text = "g (float[N,C,6,6] x) => (float y) { r = Relu(x) y = Conv(r, K) }"
    graph = ir.from_proto(model(text, K=K))
    context = Context.of(graph)
    assert context.dims.of(None) is None
    # What a reader demands counts only where nothing else is known.
    assert context.dims.of(graph.graph.node(0).outputs[0]) == (None, None, 6, 6)
    assert context.dims.of(graph.graph.node(1).outputs[0]) == (None, 6, 4, 4)


def test_a_long_chain_ends_the_search() -> None:
    """Python's stack would not hold thousands of operators."""
    chain = " ".join(f"r{i} = Relu({f'r{i - 1}' if i else 's'})" for i in range(3000))
    assert dims(f"{chain} y = Neg(r2999)", "y") is None
    assert dims(f"{chain} y = Conv(r2999, K)", "s", K=K) is None
