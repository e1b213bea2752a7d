"""Models whose nodes stand in the wrong order load, in order; cycles are refused."""

from __future__ import annotations

import onnx
import pytest
from graphs import conv_bn, model, normal, operators, run, statistics

import bnopt
from bnopt import io
from bnopt.errors import LoadError


def test_unsorted_nodes_are_sorted_and_folded() -> None:
    proto = conv_bn()
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    result = bnopt.fold(proto)
    assert operators(result.model) == ["Conv"]
    assert result.summary.folded == 1


def test_a_subgraph_that_reads_what_comes_later() -> None:
    text = """g (float[N,3,6,6] x, bool k) => (float[N,4,6,6] z) {
        z = If (k) <then_branch = t () => (float[N,4,6,6] p) { p = Relu(y) },
                    else_branch = e () => (float[N,4,6,6] q) { q = Neg(y) }>
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
    }"""
    result = bnopt.fold(model(text, W=normal(4, 3, 1, 1), **statistics(4)))
    assert operators(result.model) == ["Conv", "If"]
    onnx.checker.check_model(result.model)
    import numpy as np

    run(result.model, x=normal(1, 3, 6, 6), k=np.array(True))


def test_sorted_models_keep_their_order() -> None:
    text = """g (float[4] x) => (float[4] y, float[4] z) {
        b = Neg(x) a = Relu(x) d = Exp(a) c = Abs(b) y = Neg(c) z = Neg(d)
    }"""
    proto = model(text)
    assert operators(io.to_proto(io.from_proto(proto))) == operators(proto)


def test_a_cycle() -> None:
    proto = model("g (float[4] x) => (float[4] y) { a = Add(x, b) b = Neg(a) y = Neg(b) }")
    with pytest.raises(LoadError, match="wait for each other"):
        io.from_proto(proto)
