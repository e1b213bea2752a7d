"""Applying a plan: names, shared constants, inputs, order, and what is left behind."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import (
    assert_same,
    conv_bn,
    decisions,
    folded,
    model,
    normal,
    operators,
    run,
    statistics,
    weight,
)
from onnx import helper

from bnopt import passes
from bnopt.passes.moves import Rewrite


def initializers(proto: onnx.ModelProto) -> list[str]:
    return [tensor.name for tensor in proto.graph.initializer]


def test_conv_keeps_its_weight_name_and_the_output_its_name() -> None:
    result, _ = folded(conv_bn())
    assert operators(result) == ["Conv"]
    assert initializers(result)[0] == "W"
    assert len(initializers(result)) == 2
    assert list(result.graph.node[0].output) == ["y"]
    assert result.graph.output == conv_bn().graph.output
    assert_same(conv_bn(), x=normal(2, 3, 8, 8))


def test_the_argument_is_not_changed_by_working_on_a_clone() -> None:
    graph = ir.from_proto(conv_bn())
    before = ir.to_proto(graph).SerializeToString()
    work = graph.clone()
    passes.apply(work, passes.plan(work))
    assert ir.to_proto(graph).SerializeToString() == before


def test_no_name_comes_to_mean_another_tensor() -> None:
    """The second batch norm goes through where the first was, and changes what stands there."""
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] z) {
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
        t = Transpose<perm = [0, 1, 3, 2]>(y)
        z = BatchNormalization(t, hg, hb, hm, hv)
    }"""
    weights = {**statistics(4), **statistics(4, seed=9, prefix="h")}
    proto = model(text, W=normal(4, 3, 1, 1), **weights)
    result, _ = folded(proto)
    names = [name for node in result.graph.node for name in node.output]
    assert len(names) == 2
    assert names[-1] == "z"
    assert not {"c", "y", "t"} & set(names)
    assert_same(proto, x=normal(2, 3, 6, 6))


def test_planning_changes_nothing() -> None:
    graph = ir.from_proto(conv_bn())
    before = ir.to_proto(graph).SerializeToString()
    assert passes.plan(graph).moves
    assert ir.to_proto(graph).SerializeToString() == before


def test_a_second_run_makes_no_edit() -> None:
    once, _ = folded(conv_bn())
    twice, plan = folded(once)
    assert not plan.moves
    assert twice.SerializeToString() == once.SerializeToString()


def test_a_shared_weight_is_copied() -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] z) {
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
        z = Conv(x, W)
    }"""
    proto = model(text, W=normal(4, 3, 1, 1), **statistics(4))
    result, plan = folded(proto)
    assert [move.copied for move in plan.moves if isinstance(move, Rewrite)] == [(("W", 48),)]
    np.testing.assert_array_equal(weight(result, "W"), weight(proto, "W"))
    assert_same(proto, x=normal(2, 3, 6, 6))


def test_two_convs_on_one_weight_each_get_their_own() -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] y, float[N,4,6,6] z) {
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
        d = Conv(x, W)
        z = BatchNormalization(d, hg, hb, hm, hv)
    }"""
    weights = {**statistics(4), **statistics(4, seed=9, prefix="h")}
    proto = model(text, W=normal(4, 3, 1, 1), **weights)
    result, _ = folded(proto)
    assert len(initializers(result)) == 4
    assert_same(proto, x=normal(2, 3, 6, 6))


def test_one_weight_for_conv_and_bias_of_another() -> None:
    """The bias of the host is also a batch norm parameter: each reader keeps what it read."""
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] y) {
        c = Conv(x, W, b)
        y = BatchNormalization(c, g, b, m, v)
    }"""
    assert_same(model(text, W=normal(4, 3, 1, 1), **statistics(4)), x=normal(2, 3, 6, 6))


def test_empty_bias_name() -> None:
    proto = conv_bn()
    proto.graph.node[0].input.append("")
    assert_same(proto, x=normal(2, 3, 8, 8))
    assert operators(folded(proto)[0]) == ["Conv"]


def test_unused_parameter_nodes_go_and_others_stay() -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] y, float[4] z) {
        dead = Relu(x)
        i = Identity(g)
        j = Identity(b)
        z = Neg(j)
        c = Conv(x, W)
        y = BatchNormalization(c, i, j, m, v)
    }"""
    proto = model(text, W=normal(4, 3, 1, 1), **statistics(4))
    result, _ = folded(proto)
    # What was dead before is not bnopt's business; what its edit made dead is.
    assert operators(result) == ["Relu", "Identity", "Neg", "Conv"]
    assert set(initializers(result)) >= {"b", "W"}
    assert not set(initializers(result)) & {"g", "m", "v"}


def as_inputs(proto: onnx.ModelProto, ir_version: int) -> onnx.ModelProto:
    proto.ir_version = ir_version
    for tensor in proto.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        proto.graph.input.append(info)
    return proto


def test_folded_inputs_are_removed_and_named() -> None:
    proto = as_inputs(conv_bn(), 8)
    graph = ir.from_proto(proto)
    notes = passes.apply(graph, passes.plan(graph))
    result = ir.to_proto(graph)
    assert [i.name for i in result.graph.input] == ["x"]
    assert all(f"'{name}'" in notes[-1] for name in "Wgbmv")
    onnx.checker.check_model(result)


def test_an_input_with_another_reader_stays() -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] y, float[4] z) {
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
        z = Neg(g)
    }"""
    proto = as_inputs(model(text, W=normal(4, 3, 1, 1), **statistics(4)), 8)
    result, _ = folded(proto)
    assert [i.name for i in result.graph.input] == ["x", "g"]
    graph = ir.from_proto(proto)
    notes = passes.apply(graph, passes.plan(graph))
    assert "still read" in notes[-1]
    assert "'g'" in notes[-1]
    np.testing.assert_allclose(run(result, x=normal(1, 3, 6, 6), g=np.ones(4, np.float32))[1], -1)


def test_ir_3_is_raised_and_its_formal_inputs_dropped() -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] z) {
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
        z = Add(y, k)
    }"""
    proto = as_inputs(
        model(text, opset=8, W=normal(4, 3, 1, 1), k=normal(1, 4, 1, 1), **statistics(4)), 3
    )
    result, _ = folded(proto)
    assert result.ir_version == 4
    assert [i.name for i in result.graph.input] == ["x"]
    onnx.checker.check_model(result)
    feeds = {"x": normal(2, 3, 6, 6)}
    np.testing.assert_allclose(
        run(result, **feeds)[0], run(proto, **feeds)[0], rtol=1e-4, atol=1e-5
    )


def test_nothing_to_fold_leaves_ir_3_alone() -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { y = BatchNormalization(x, g, b, m, v) }"
    proto = as_inputs(model(text, opset=8, **statistics(4)), 3)
    result, _ = folded(proto)
    assert result.ir_version == 3
    assert len(result.graph.input) == 5


def test_new_names_avoid_all_names_of_all_scopes() -> None:
    """onnxoptimizer collides on numeric names; here every plausible name is taken already."""
    text = """g (float[N,3,6,6] x, bool k) => (float[N,4,6,6] y, float[4] z) {
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
        z = If (k) <
            then_branch = t () => (float[4] p) { c.bias = Neg(g) p = Neg(c.bias) },
            else_branch = e () => (float[4] q) { c.bias_1 = Neg(g) q = Neg(c.bias_1) }>
    }"""
    body = text.replace("c.bias_1", "n1").replace("c.bias", "n0")
    proto = model(body, W=normal(4, 3, 1, 1), **statistics(4))
    content = proto.SerializeToString()
    assert b"n0" in content
    # onnx.parser takes no dots in names, protobuf does.
    for node in proto.graph.node[2].attribute:
        for inner in node.g.node:
            for field in (inner.input, inner.output):
                for i, name in enumerate(field):
                    field[i] = {"n0": "c.bias", "n1": "c.bias_1"}.get(name, name)
    result, _ = folded(proto)
    onnx.checker.check_model(result, full_check=True)
    assert result.graph.node[0].input[2] == "c.bias_2"
    for k in (True, False):
        feeds = {"x": normal(2, 3, 6, 6), "k": np.array(k)}
        for e, a in zip(run(proto, **feeds), run(result, **feeds), strict=True):
            np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-5)


def test_numeric_names() -> None:
    proto = conv_bn()
    rename = {"x": "0", "W": "1", "c": "7", "y": "8", "g": "2", "b": "3", "m": "4", "v": "5"}
    for node in proto.graph.node:
        for field in (node.input, node.output):
            for i, name in enumerate(field):
                field[i] = rename[name]
    for item in (*proto.graph.input, *proto.graph.output, *proto.graph.initializer):
        item.name = rename[item.name]
    result, _ = folded(proto)
    onnx.checker.check_model(result, full_check=True)
    expected, actual = (
        run(proto, **{"0": normal(2, 3, 8, 8)}),
        run(result, **{"0": normal(2, 3, 8, 8)}),
    )
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-4, atol=1e-5)


def test_batch_norm_inside_a_branch_with_captured_weights() -> None:
    text = """g (float[N,3,6,6] x, bool k) => (float[N,4,6,6] y) {
        y = If (k) <
            then_branch = t () => (float[N,4,6,6] p) {
                c = Conv(x, W)
                p = BatchNormalization(c, g, b, m, v) },
            else_branch = e () => (float[N,4,6,6] q) {
                d = Conv(x, W)
                q = BatchNormalization(d, hg, hb, hm, hv) }>
    }"""
    weights = {**statistics(4), **statistics(4, seed=9, prefix="h")}
    proto = model(text, W=normal(4, 3, 1, 1), **weights)
    assert decisions(proto) == ["folded", "folded"]
    _, plan = folded(proto)
    scopes = [site.scope for site in plan.sites]
    assert scopes == ["main/If#0.then_branch", "main/If#0.else_branch"]
    for k in (True, False):
        assert_same(proto, x=normal(2, 3, 6, 6), k=np.array(k))


def test_conv_and_batch_norm_inside_a_function() -> None:
    """Functions have no initializers, so new constants are Constant nodes."""
    functions = """
    <domain: "f", opset_import: ["": 17]>
    Block (x, W) => (y) {
        one = Constant<value = float[4] {1, 1, 1, 1}>()
        two = Constant<value = float[4] {2, 3, 4, 5}>()
        K = Constant<value = float[4,3,1,1] {1,2,3,4,5,6,7,8,9,10,11,12}>()
        c = Conv(x, K)
        y = BatchNormalization(c, two, one, one, two)
    }
    """
    text = "g (float[N,3,6,6] x) => (float[N,4,6,6] y) { y = f.Block(x, W) }"
    proto = model(text, functions=functions, domains=', "f": 1', W=normal(4, 3, 1, 1))
    result, _ = folded(proto)
    assert [n.op_type for n in result.functions[0].node] == ["Constant", "Constant", "Conv"]
    assert_same(proto, x=normal(2, 3, 6, 6))


MATMUL = """g (float[N,3] x) => (float[N,4] y) {
    c = MatMul(x, W)
    y = BatchNormalization(c, g, b, m, v)
}"""


def test_matmul_add_takes_over_the_name_of_a_graph_output() -> None:
    proto = model(MATMUL, W=normal(3, 4), **statistics(4))
    result, _ = folded(proto)
    assert operators(result) == ["MatMul", "Add"]
    assert list(result.graph.node[1].output) == ["y"]
    assert_same(proto, x=normal(5, 3))


def test_no_add_where_there_is_nothing_to_add() -> None:
    zero = np.zeros(4, np.float32)
    proto = model(MATMUL, W=normal(3, 4), **{**statistics(4), "b": zero, "m": zero})
    assert operators(folded(proto)[0]) == ["MatMul"]
    assert_same(proto, x=normal(5, 3))


def test_type_only_readers_do_not_hold_a_fold_back() -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] y, int64[4] s) {
        c = Conv(x, W)
        s = Shape(c)
        y = BatchNormalization(c, g, b, m, v)
    }"""
    proto = model(text, W=normal(4, 3, 1, 1), **statistics(4))
    assert operators(folded(proto)[0]) == ["Conv", "Shape"]
    assert_same(proto, x=normal(2, 3, 6, 6))


def test_spatial_0_on_rank_2_is_per_channel() -> None:
    text = """g (float[N,3] x) => (float[N,4] y) {
        c = Gemm(x, W, C)
        y = BatchNormalization<spatial = 0>(c, g, b, m, v)
    }"""
    proto = model(text, opset=7, W=normal(3, 4), C=normal(4), **statistics(4))
    assert operators(folded(proto)[0]) == ["Gemm"]


def test_the_pass_says_truthfully_whether_it_changed_anything() -> None:
    graph = ir.from_proto(conv_bn())
    assert passes.FoldBatchNorm()(graph).modified
    assert not passes.FoldBatchNorm()(graph).modified


@pytest.mark.parametrize("opset", [1, 6, 7, 8, 9, 11, 13, 14, 15, 18, 20, 22, 24])
def test_every_opset(opset: int) -> None:
    attribute = "<is_test = 1>" if opset < 7 else ""
    text = f"""g (float[N,3,8,8] x) => (float[N,4,6,6] y) {{
        c = Conv<kernel_shape = [3, 3]>(x, W)
        y = BatchNormalization{attribute}(c, g, b, m, v)
    }}"""
    proto = model(text, opset, ir_version=8, W=normal(4, 3, 3, 3), **statistics(4))
    result, _ = folded(proto)
    assert operators(result) == ["Conv"]
    if opset >= 7:
        assert_same(proto, x=normal(2, 3, 8, 8))


def test_bytes_do_not_depend_on_the_hash_seed(tmp_path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(conv_bn(), path)
    program = (
        "import sys, onnx, onnx_ir as ir; from bnopt import passes;"
        "g = ir.from_proto(onnx.load(sys.argv[1])); passes.apply(g, passes.plan(g));"
        "sys.stdout.buffer.write(ir.to_proto(g).SerializeToString(deterministic=True))"
    )
    digests = set()
    for seed in ("0", "1", "4242"):
        done = subprocess.run(
            [sys.executable, "-c", program, str(path)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        digests.add(hashlib.sha256(done.stdout).hexdigest())
    assert len(digests) == 1


def test_batch_norms_that_stand_in_the_wrong_order_lose_nothing() -> None:
    """onnx_ir does not sort; a batch norm must not go into one that is on its way elsewhere."""
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] z) {
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
        z = BatchNormalization(y, hg, hb, hm, hv)
    }"""
    weights = {**statistics(4), **statistics(4, seed=9, prefix="h")}
    proto = model(text, W=normal(4, 3, 1, 1), **weights)
    graph = ir.from_proto(proto)
    nodes = list(graph.graph)
    graph.graph.remove(nodes[2])
    graph.graph.insert_before(nodes[1], nodes[2])
    passes.FoldBatchNorm()(graph)
    graph.graph.sort()
    feeds = {"x": normal(2, 3, 6, 6)}
    expected, actual = run(proto, **feeds), run(ir.to_proto(graph), **feeds)
    np.testing.assert_allclose(actual[0], expected[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("link", ["BatchNormalization(c, hg, hb, hm, hv)", "Add(c, a)"])
def test_a_reader_of_the_shape_inside_a_chain_does_not_keep_the_chain(link: str) -> None:
    text = f"""g (float[N,3,6,6] x) => (float[N,4,6,6] y, int64[4] s) {{
        c = Conv(x, W)
        d = {link}
        s = Shape(d)
        y = BatchNormalization(d, g, b, m, v)
    }}"""
    weights = {**statistics(4), **statistics(4, seed=9, prefix="h")}
    proto = model(text, W=normal(4, 3, 1, 1), a=normal(1, 4, 1, 1), **weights)
    assert operators(folded(proto)[0]) == ["Conv", "Shape"]
    assert_same(proto, x=normal(2, 3, 6, 6))


@pytest.mark.parametrize(
    ("rest", "outputs", "left"),
    [
        ("y = MatMul(t, W)", "float[N,3] y", ["MatMul"]),
        ("y = Identity(x)", "float[N,3] t, float[N,3] y", ["Identity", "Identity"]),
        ("y = Relu(t)", "float[N,3] t, float[N,3] y", ["Identity", "Relu"]),
        ("y = Relu(t)  u = Neg(t)", "float[N,3] y, float[N,3] u", ["Relu", "Neg"]),
    ],
)
def test_an_input_keeps_its_name_where_nothing_is_left(
    rest: str, outputs: str, left: list[str]
) -> None:
    text = f"g (float[N,3] x) => ({outputs}) {{ s = Sub(x, zero)  t = Div(s, one)  {rest} }}"
    proto = model(text, zero=np.zeros(3, np.float32), one=np.ones(3, np.float32), W=normal(3, 3))
    result, _ = folded(proto)
    assert operators(result) == left
    assert result.graph.input == proto.graph.input
    assert result.graph.output == proto.graph.output
    assert_same(proto, x=normal(2, 3))


def test_a_branch_that_gives_back_a_value_from_outside_still_does() -> None:
    text = """g (float[N,3] x, bool p) => (float[N,3] y) {
        r = Relu(x)
        y = If (p) <
            then_branch = yes () => (float[N,3] t) { s = Sub(r, zero)  t = Div(s, one) },
            else_branch = no () => (float[N,3] e) { e = Neg(r) }
        >
    }"""
    proto = model(text, zero=np.zeros(3, np.float32), one=np.ones(3, np.float32))
    result, _ = folded(proto)
    branch = next(a.g for a in result.graph.node[1].attribute if a.name == "then_branch")
    assert [node.op_type for node in branch.node] == ["Identity"]
    assert_same(proto, x=normal(2, 3), p=np.array(True))
