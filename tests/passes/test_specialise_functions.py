"""Model-local functions: which calls are written out, when, and what must stay a call."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx_ir as ir
import pytest
from graphs import evaluate, model, normal, operators, run, statistics
from onnx import helper

from bnopt import passes
from bnopt.passes.prepare import Prepared, prepare
from bnopt.passes.specialise import functions

F = "float[N,4,6,6]"
IMAGE = f"(float[N,3,6,6] x) => ({F} y)"
CONV = {"W": normal(4, 3, 1, 1)}
BN = "BatchNormalization"
LAST = {**statistics(4, prefix="a"), **statistics(4, seed=9, prefix="b")}
BLOCK = f"""<domain: "f", opset_import: ["": 17]> block (x, g, b, m, v) => (y) {{
    y = {BN}(x, g, b, m, v)
}}"""


def calling(graph: str, text: str, **more: Any) -> onnx.ModelProto:
    """A model with the local functions `text`, and the domain `f`."""
    return model(graph, functions=text, domains=', "f": 1', **more)


def specialised(proto: onnx.ModelProto) -> tuple[onnx.ModelProto, Prepared]:
    """The prepared and folded model, valid and the same on onnxruntime."""
    graph = ir.from_proto(onnx.ModelProto.FromString(proto.SerializeToString()))
    prepared = prepare(graph)
    passes.apply(graph, prepared.plan)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result, full_check=True)
    return result, prepared


def assert_same(proto: onnx.ModelProto, **feeds: np.ndarray) -> tuple[Any, Any]:
    result, prepared = specialised(proto)
    feeds = feeds or {"x": normal(2, 3, 6, 6)}
    for a, b in zip(run(proto, **feeds), run(result, **feeds), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * float(np.abs(a).max()))
    return result, prepared


def test_called_once() -> None:
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = f.block(c, ag, ab, am, av) }}"
    result, prepared = assert_same(calling(graph, BLOCK, **CONV, **LAST))
    assert operators(result) == ["Conv"]
    assert not result.functions
    assert prepared.notes == ("local functions inlined: 'f::block'",)
    assert [site.id for site in prepared.plan.sites] == ["main:y"]


def test_called_twice_with_different_constants() -> None:
    graph = f"""g {IMAGE} {{
        c = Conv(x, W)
        d = f.block(c, ag, ab, am, av)
        e = Relu(d)
        h = Conv(e, V)
        y = f.block(h, bg, bb, bm, bv)
    }}"""
    proto = calling(graph, BLOCK, V=normal(4, 4, 1, 1, seed=3), **CONV, **LAST)
    result, prepared = assert_same(proto)
    assert operators(result) == ["Conv", "Relu", "Conv"]
    assert [site.id for site in prepared.plan.sites] == ["main:d", "main:y"]


def test_sites_are_named_after_the_call() -> None:
    text = f"""<domain: "f", opset_import: ["": 17]> block (x, g, b, m, v) => (y) {{
        n = {BN}(x, g, b, m, v)
        y = Relu(n)
    }}"""
    graph = f"""g {IMAGE} {{
        c = Conv(x, W)
        d = f.block(c, ag, ab, am, av)
        h = Conv(d, V)
        y = f.block(h, bg, bb, bm, bv)
    }}"""
    proto = calling(graph, text, V=normal(4, 4, 1, 1, seed=3), **CONV, **LAST)
    proto.graph.node[1].name = "first"
    result, prepared = assert_same(proto)
    assert operators(result) == ["Conv", "Relu"] * 2
    assert [site.id for site in prepared.plan.sites] == ["main:first/n", "main:y/n"]
    again, _ = specialised(proto)
    assert again.SerializeToString() == result.SerializeToString()


def test_nothing_is_inlined_that_does_not_pay() -> None:
    text = f"""<domain: "f", opset_import: ["": 17]> block (x, g, b, m, v) => (y) {{
        r = Sigmoid(x)
        y = {BN}(r, g, b, m, v)
    }}"""
    graph = f"""g {IMAGE} {{
        c = Conv(x, W)
        d = f.block(c, ag, ab, am, av)
        e = Sigmoid(d)
        f = Sigmoid(e)
        h = Add(e, f)
        y = f.block(h, bg, bb, bm, bv)
    }}"""
    proto = calling(graph, text, **CONV, **LAST)
    result, prepared = assert_same(proto)
    assert operators(result) == operators(proto)
    assert not prepared.modified
    assert len(result.functions) == 1


def test_a_site_inside_that_folds_there_needs_no_inlining() -> None:
    text = f"""<domain: "f", opset_import: ["": 17]> block (x, W) => (y) {{
        c = Conv(x, W)
        g = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>()
        y = {BN}(c, g, g, g, g)
    }}"""
    inner = text.replace("(x, W)", "(x)", 1).replace(
        "c = Conv", "W = ConstantOfShape<value = float[1] {0.5}>(s) c = Conv"
    )
    inner = inner.replace("c = Conv", "c = Conv").replace(
        "W = ConstantOfShape", "s = Constant<value_ints = [4, 3, 1, 1]>() W = ConstantOfShape"
    )
    result, prepared = assert_same(calling(f"g {IMAGE} {{ y = f.block(x) }}", inner))
    assert operators(result) == ["block"]
    assert prepared.notes == ()


def test_only_functions_that_are_concerned_go() -> None:
    text = (
        BLOCK
        + """ <domain: "f", opset_import: ["": 17]> gelu (x) => (y) { y = Sigmoid(x) }
        <domain: "f", opset_import: ["": 17]> far (x) => (y) { y = Abs(x) }"""
    )
    graph = f"""g {IMAGE} {{
        p = f.far(x)
        c = Conv(p, W)
        d = f.block(c, ag, ab, am, av)
        e = Conv(d, V)
        y = f.gelu(e)
    }}"""
    proto = calling(graph, text, V=normal(4, 4, 1, 1, seed=3), **CONV, **LAST)
    result, _ = assert_same(proto)
    assert operators(result) == ["far", "Conv", "Conv", "gelu"]
    assert sorted(function.name for function in result.functions) == ["far", "gelu"]


def test_a_neighbour_that_is_a_call() -> None:
    text = '<domain: "f", opset_import: ["": 17]> conv (x, W) => (y) { y = Conv(x, W) }'
    graph = f"g {IMAGE} {{ c = f.conv(x, W) y = {BN}(c, ag, ab, am, av) }}"
    result, _ = assert_same(calling(graph, text, **CONV, **LAST))
    assert operators(result) == ["Conv"]


def test_formal_names_that_are_names_of_the_main_graph() -> None:
    """`x`, `W` and `c` mean other values inside, and the arguments come in another order."""
    text = f"""<domain: "f", opset_import: ["": 17]> block (W, x, m, ag, ab, am) => (c) {{
        y = Conv(W, x)
        c = {BN}(y, m, ag, ab, am)
    }}"""
    graph = f"""g {IMAGE} {{
        c = Relu(x)
        y = f.block(c, W, ag, ab, am, av)
    }}"""
    result, prepared = assert_same(calling(graph, text, **CONV, **LAST))
    assert operators(result) == ["Relu", "Conv"]
    assert prepared.plan.sites[0].id == "main:y"


def test_functions_that_call_functions() -> None:
    text = (
        BLOCK
        + """ <domain: "f", opset_import: ["": 17, "f": 1]> twice (x, W, V) => (y) {
        g = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>()
        h = Constant<value_floats = [3.0, 1.0, 2.0, 4.0]>()
        c = Conv(x, W)
        d = f.block(c, g, h, h, g)
        e = Conv(d, V)
        y = f.block(e, h, g, g, h)
    }"""
    )
    graph = f"""g (float[N,3,6,6] x) => ({F} y, {F} z) {{
        y = f.twice(x, W, V)
        r = Abs(x)
        z = f.twice(r, U, V)
    }}"""
    proto = calling(graph, text, V=normal(4, 4, 1, 1, seed=3), U=normal(4, 3, 1, 1, seed=7), **CONV)
    result, prepared = assert_same(proto)
    assert operators(result) == ["Conv", "Conv", "Abs", "Conv", "Conv"]
    ids = [site.id for site in prepared.plan.sites]
    assert ids == ["main:y/d", "main:y", "main:z/d", "main:z"]


def test_an_attribute_that_the_call_sets_or_leaves_to_its_default() -> None:
    text = f"""<domain: "f", opset_import: ["": 17]>
    block <epsilon: float = 0.5> (x, g, b, m, v) => (y) {{
        y = {BN}<epsilon: float = @epsilon>(x, g, b, m, v)
    }}"""
    graph = f"""g (float[N,3,6,6] x) => ({F} y, {F} z) {{
        c = Conv(x, W)
        y = f.block(c, ag, ab, am, av)
        d = Conv(x, V)
        z = f.block<epsilon = 2.0>(d, ag, ab, am, av)
    }}"""
    proto = calling(graph, text, V=normal(4, 3, 1, 1, seed=3), **CONV, **LAST)
    result, _ = assert_same(proto)
    assert operators(result) == ["Conv", "Conv"]


SHADOW = f"""<domain: "f", opset_import: ["": 17]> block (a, k, g, b, m, v) => (y) {{
    n = {BN}(a, g, b, m, v)
    y = If (k) <then_branch = t () => (o) {{ p = Neg(n) q = Add(p, a) o = Abs(q) }},
                else_branch = e () => (o2) {{ p = Relu(n) o2 = Add(p, a) }}>
}}"""


def test_names_inside_a_subgraph_of_a_body_do_not_hide_the_callers() -> None:
    """The argument for `a` is called `p` outside, and so is a value of the body's subgraphs."""
    graph = f"""g (float[N,3,6,6] x, bool k) => ({F} y, {F} z) {{
        w = Conv(x, W)
        p = Identity(w)
        u = f.block(p, k, ag, ab, am, av)
        q = Conv(x, V)
        y = Relu(u)
        z = f.block(q, k, bg, bb, bm, bv)
    }}"""
    proto = calling(graph, SHADOW, V=normal(4, 3, 1, 1, seed=3), **CONV, **LAST)
    graph_ir = ir.from_proto(proto)
    assert functions.inline(graph_ir, [("f", "block", "")]) == ("f::block",)
    result = ir.to_proto(graph_ir)
    onnx.checker.check_model(result, full_check=True)
    for k in (True, False):
        feeds = {"x": normal(2, 3, 6, 6), "k": np.array(k)}
        for a, b in zip(run(proto, **feeds), run(result, **feeds), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-6, atol=1e-6)


def test_a_call_inside_a_branch() -> None:
    graph = f"""g (float[N,3,6,6] x, bool k) => ({F} y) {{
        y = If (k) <then_branch = t () => ({F} p) {{
                        c = Conv(x, W) p = f.block(c, ag, ab, am, av) }},
                    else_branch = e () => ({F} q) {{
                        c2 = Conv(x, W) q = f.block(c2, bg, bb, bm, bv) }}>
    }}"""
    proto = calling(graph, BLOCK, **CONV, **LAST)
    for k in (True, False):
        result, _ = assert_same(proto, x=normal(2, 3, 6, 6), k=np.array(k))
        bodies = [attribute.g for attribute in result.graph.node[0].attribute]
        assert [[n.op_type for n in body.node] for body in bodies] == [["Conv"], ["Conv"]]


def test_an_argument_that_is_passed_through_and_an_output_that_stands_twice() -> None:
    text = f"""<domain: "f", opset_import: ["": 17]> block (x, g, b, m, v) => (x, y, y, r) {{
        y = {BN}(x, g, b, m, v)
        r = Neg(y)
    }}"""
    graph = f"""g (float[N,3,6,6] x) => ({F} y, {F} z, {F} u) {{
        c = Conv(x, W)
        d = Conv(c, V)
        y, z, u = f.block(d, ag, ab, am, av)
    }}"""
    proto = calling(graph, text, V=normal(4, 4, 1, 1, seed=3), **CONV, **LAST)
    graph_ir = ir.from_proto(proto)
    assert functions.inline(graph_ir, [("f", "block", "")]) == ("f::block",)
    result = ir.to_proto(graph_ir)
    onnx.checker.check_model(result, full_check=True)
    x = normal(2, 3, 6, 6)
    # Not onnxruntime: it does not load such functions.
    for a, b in zip(evaluate(proto, x=x), run(result, x=x), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
    assert "Neg" not in operators(result), "an output that the call does not take"


def test_an_output_that_the_call_leaves_unnamed_is_still_read_inside() -> None:
    text = f"""<domain: "f", opset_import: ["": 17]> block (x, g, b, m, v) => (y, r) {{
        y = {BN}(x, g, b, m, v)
        r = Sigmoid(y)
    }}"""
    graph = f"g {IMAGE} {{ c = Conv(x, W) u, y = f.block(c, ag, ab, am, av) }}"
    proto = calling(graph, text, **CONV, **LAST)
    proto.graph.node[1].output[0] = ""
    result, _ = assert_same(proto)
    assert operators(result) == ["Conv", "Sigmoid"]


@pytest.mark.parametrize(
    ("function", "main", "inlined"), [(16, 17, True), (15, 14, False), (14, 17, False)]
)
def test_opsets_that_differ(function: int, main: int, inlined: bool) -> None:
    """BatchNormalization changed in opset 15; from 15 to 17 nothing in the body did."""
    text = BLOCK.replace('"": 17', f'"": {function}')
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = f.block(c, ag, ab, am, av) }}"
    proto = calling(graph, text, opset=main, **CONV, **LAST)
    graph_ir = ir.from_proto(proto)
    passes.FoldBatchNorm()(graph_ir)
    names = [node.op_type for node in graph_ir.graph]
    assert names == (["Conv"] if inlined else ["Conv", "block"])
    assert graph_ir.opset_imports[""] == main


def test_opsets_of_callers_in_between_count() -> None:
    """`outer` stays: it is in another opset than the model. `block` must not go into it, then."""
    text = (
        BLOCK
        + """ <domain: "f", opset_import: ["": 14, "f": 1]> outer (x, W, g, b, m, v) => (y) {
        c = Conv(x, W)
        y = f.block(c, g, b, m, v)
    }"""
    )
    graph = f"g {IMAGE} {{ y = f.outer(x, W, ag, ab, am, av) }}"
    graph_ir = ir.from_proto(calling(graph, text, **CONV, **LAST))
    assert functions.inline(graph_ir, list(graph_ir.functions)) == ("f::outer",)
    graph_ir = ir.from_proto(calling(graph, text, **CONV, **LAST))
    assert functions.inline(graph_ir, [("f", "block", "")]) == ()


def test_a_domain_that_only_the_function_imports() -> None:
    text = BLOCK.replace('"": 17]', '"": 17, "other": 3]')
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = f.block(c, ag, ab, am, av) }}"
    result, _ = assert_same(calling(graph, text, **CONV, **LAST))
    assert {entry.domain: entry.version for entry in result.opset_import}["other"] == 3


def test_functions_in_a_circle_stay() -> None:
    text = f"""<domain: "f", opset_import: ["": 17, "f": 1]> block (x, g, b, m, v) => (y) {{
        n = {BN}(x, g, b, m, v)
        y = f.again(n, g, b, m, v)
    }}
    <domain: "f", opset_import: ["": 17, "f": 1]> again (x, g, b, m, v) => (y) {{
        y = f.block(x, g, b, m, v)
    }}"""
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = f.block(c, ag, ab, am, av) }}"
    graph_ir = ir.from_proto(calling(graph, text, **CONV, **LAST))
    prepared = prepare(graph_ir)
    assert not prepared.modified
    assert len(graph_ir.functions) == 2


def test_a_function_named_like_an_operator() -> None:
    """The body's `Conv` is the function itself to a reader, so that one is left alone."""
    text = f"""<opset_import: ["": 17]> Relu (x, g, b, m, v) => (y) {{
        y = {BN}(x, g, b, m, v)
    }}"""
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = Relu(c, ag, ab, am, av) }}"
    graph_ir = ir.from_proto(model(graph, functions=text, **CONV, **LAST))
    passes.FoldBatchNorm()(graph_ir)
    assert [node.op_type for node in graph_ir.graph] == ["Conv"]
    own = text.replace("Relu (", "Conv (").replace(f"{BN}(x, g, b, m, v)", f"{BN}(n, g, b, m, v)")
    own = own.replace("{\n", "{\n n = Conv(x, g)\n", 1)
    graph = f"g {IMAGE} {{ y = Conv(x, ag, ab, am, av) }}"
    graph_ir = ir.from_proto(model(graph, functions=own, **CONV, **LAST))
    assert not prepare(graph_ir).modified


def test_a_call_that_leaves_out_an_argument() -> None:
    text = f"""<domain: "f", opset_import: ["": 17]> block (x, W, g, b, m, v, B) => (y) {{
        c = Conv(x, W, B)
        y = {BN}(c, g, b, m, v)
    }}"""
    graph = f"g {IMAGE} {{ y = f.block(x, W, ag, ab, am, av) }}"
    result, _ = assert_same(calling(graph, text, **CONV, **LAST))
    assert operators(result) == ["Conv"]
    through = text.replace("=> (y)", "=> (y, B)")
    graph_ir = ir.from_proto(calling(graph, through, **CONV, **LAST))
    assert not prepare(graph_ir).modified


def test_a_body_with_an_unnamed_output_stays() -> None:
    """The inliner would name it, and an output that is there changes what some operators do."""
    text = f"""<domain: "f", opset_import: ["": 17]> block (x, g, b, m, v) => (y) {{
        d, mask = Dropout(x)
        y = {BN}(d, g, b, m, v)
    }}"""
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = f.block(c, ag, ab, am, av) }}"
    proto = calling(graph, text, **CONV, **LAST)
    assert functions.inline(ir.from_proto(proto), [("f", "block", "")])
    proto.functions[0].node[0].output[1] = ""
    assert not functions.inline(ir.from_proto(proto), [("f", "block", "")])


def test_graphs_as_arguments_stay() -> None:
    text = f"""<domain: "f", opset_import: ["": 17]>
    block <body> (x, k, g, b, m, v) => (y) {{
        n = {BN}(x, g, b, m, v)
        y = If<then_branch: graph = @body, else_branch: graph = @body>(k)
    }}"""
    graph = f"g (float[N,3,6,6] x, bool k) => ({F} y) {{ c = Conv(x, W) y = f.block(c, k, ag, ab, am, av) }}"  # noqa: E501
    proto = calling(graph, text, **CONV, **LAST)
    assert not functions.inline(ir.from_proto(proto), [("f", "block", "")])
    body = helper.make_graph([helper.make_node("Neg", ["x"], ["o"])], "b", [], [])
    proto = calling(graph, BLOCK.replace("(x, ", "(x, k, "), **CONV, **LAST)
    assert functions.inline(ir.from_proto(proto), [("f", "block", "")])
    proto.graph.node[1].attribute.append(helper.make_attribute("body", body))
    assert not functions.inline(ir.from_proto(proto), [("f", "block", "")])


def test_more_arguments_than_parameters_stay() -> None:
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = f.block(c, ag, ab, am, av, av) }}"
    assert not prepare(ir.from_proto(calling(graph, BLOCK, **CONV, **LAST))).modified
    graph = f"g {IMAGE} {{ c = Conv(x, W) y, z = f.block(c, ag, ab, am, av) }}"
    assert not prepare(ir.from_proto(calling(graph, BLOCK, **CONV, **LAST))).modified


def test_calls_that_multiply_without_bound_stay() -> None:
    text = BLOCK
    for level in range(20):
        callee = "block" if level == 0 else f"f{level - 1}"
        text += f""" <domain: "f", opset_import: ["": 17, "f": 1]> f{level} (x, g, b, m, v)
        => (y) {{
            u = f.{callee}(x, g, b, m, v)
            y = f.{callee}(u, g, b, m, v)
        }}"""
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = f.f19(c, ag, ab, am, av) }}"
    graph_ir = ir.from_proto(calling(graph, text, **CONV, **LAST))
    assert functions.multiplicities(graph_ir)[("f", "block", "")] == 2**20  # type: ignore[index]
    assert functions.inline(graph_ir, list(graph_ir.functions)) == ()


def test_a_function_that_nobody_calls_stays() -> None:
    graph = f"g {IMAGE} {{ y = Conv(x, W) }}"
    graph_ir = ir.from_proto(calling(graph, BLOCK, **CONV))
    assert not prepare(graph_ir).modified
    assert len(graph_ir.functions) == 1


def test_a_constant_condition_that_the_call_decides() -> None:
    text = f"""<domain: "f", opset_import: ["": 17]> block (x, k, g, b, m, v) => (y) {{
        y = If (k) <then_branch = t () => ({F} p) {{ p = {BN}(x, g, b, m, v) }},
                    else_branch = e () => ({F} q) {{ q = Neg(x) }}>
    }}"""
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = f.block(c, k, ag, ab, am, av) }}"
    result, _ = assert_same(calling(graph, text, k=np.array(True), **CONV, **LAST))
    assert operators(result) == ["Conv"]


def test_versions_of_another_domain_must_agree() -> None:
    text = BLOCK.replace('"": 17]', '"": 17, "other": 3]')
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = f.block(c, ag, ab, am, av) }}"
    proto = calling(graph, text, **CONV, **LAST)
    proto.opset_import.append(helper.make_opsetid("other", 2))
    assert not functions.inline(ir.from_proto(proto), [("f", "block", "")])


def test_an_operator_that_is_unknown_in_either_opset_stays_where_it_is() -> None:
    """Whether its meaning is the same in the caller's operator set cannot be known."""
    text = BLOCK.replace('"": 17', '"": 16').replace("BatchNormalization", "Unheard")
    graph = f"g {IMAGE} {{ c = Conv(x, W) y = f.block(c, ag, ab, am, av) }}"
    proto = calling(graph, text, **CONV, **LAST)
    assert not functions.inline(ir.from_proto(proto), [("f", "block", "")])


def test_the_caller_of_a_caller_counts() -> None:
    """`middle` would take `block` along into `outer`, whose operators are of another opset."""
    signature = "(x, W, g, b, m, v) => (y)"
    text = f"""{BLOCK}
    <domain: "f", opset_import: ["f": 1]> middle (x, g, b, m, v) => (y) {{
        y = f.block(x, g, b, m, v)
    }}
    <domain: "f", opset_import: ["": 14, "f": 1]> outer {signature} {{
        c = Conv(x, W)
        y = f.middle(c, g, b, m, v)
    }}"""
    graph = f"g {IMAGE} {{ y = f.outer(x, W, ag, ab, am, av) }}"
    graph_ir = ir.from_proto(calling(graph, text, **CONV, **LAST))
    wanted = [("f", "middle", ""), ("f", "block", "")]
    assert "f::block" not in functions.inline(graph_ir, wanted)


def test_a_function_that_nobody_calls_is_not_removed() -> None:
    graph_ir = ir.from_proto(calling(f"g {IMAGE} {{ y = Conv(x, W) }}", BLOCK, **CONV))
    assert functions.inline(graph_ir, [("f", "block", "")]) == ()
    assert len(graph_ir.functions) == 1


def test_a_passed_through_argument_keeps_its_name() -> None:
    text = f"""<domain: "f", opset_import: ["": 17]> block (x, g, b, m, v) => (x, y) {{
        y = {BN}(x, g, b, m, v)
    }}"""
    graph = f"g (float[N,4,6,6] x) => ({F} y, {F} z) {{ y, z = f.block(x, ag, ab, am, av) }}"
    graph_ir = ir.from_proto(calling(graph, text, **LAST))
    assert functions.inline(graph_ir, [("f", "block", "")])
    assert [value.name for value in graph_ir.graph.inputs] == ["x"]
    assert [value.name for value in graph_ir.graph.outputs] == ["y", "z"]


def test_values_in_subgraphs_of_a_body_are_renamed() -> None:
    """The caller's `p` is what the body's subgraph captures as `a`, and has a `p` of its own."""
    graph = f"""g (float[N,3,6,6] x, bool k) => ({F} y) {{
        p = Conv(x, W)
        y = f.block(p, k, ag, ab, am, av)
    }}"""
    proto = calling(graph, SHADOW, **CONV, **LAST)
    graph_ir = ir.from_proto(proto)
    assert functions.inline(graph_ir, [("f", "block", "")])
    (choice,) = [node for node in graph_ir.graph if node.op_type == "If"]
    inner = [v.name for a in choice.attributes.values() for n in a.as_graph() for v in n.outputs]
    assert len(set(inner)) == len(inner)
    assert all(name is not None and name.startswith("y/") for name in inner)


def test_calls_are_counted() -> None:
    """Of two calls one folds: that is one batch norm less, though one site is left as before."""
    graph = f"""g {IMAGE} {{
        c = Conv(x, W)
        d = f.block(c, ag, ab, am, av)
        e = Sigmoid(d)
        y = f.block(e, bg, bb, bm, bv)
    }}"""
    result, _ = assert_same(calling(graph, BLOCK, **CONV, **LAST))
    assert operators(result) == ["Conv", "Sigmoid", BN]


def test_a_site_that_no_neighbour_helps_inlines_nothing() -> None:
    text = (
        BLOCK
        + f""" <domain: "f", opset_import: ["": 17]> train (x, g, b, m, v) => (y) {{
        y, n, w = {BN}<training_mode = 1>(x, g, b, m, v)
    }}"""
    )
    graph = f"""g {IMAGE} {{
        c = Conv(x, W)
        d = f.block(c, ag, ab, am, av)
        e = Conv(d, V)
        y = f.train(e, bg, bb, bm, bv)
    }}"""
    proto = calling(graph, text, V=normal(4, 4, 1, 1, seed=3), **CONV, **LAST)
    graph_ir = ir.from_proto(proto)
    passes.FoldBatchNorm()(graph_ir)
    assert [node.op_type for node in graph_ir.graph] == ["Conv", "Conv", "train"]


def test_what_stands_behind_a_host_is_not_concerned() -> None:
    text = '<domain: "f", opset_import: ["": 17]> far (x) => (y) { y = Abs(x) }'
    for last, expected in (("y = Relu(b)", set()), ("y = f.far(b)", {("f", "far", "")})):
        graph = f"""g {IMAGE} {{
            p = f.far(x)
            c = Conv(p, W)
            r = Sigmoid(c)
            b = {BN}(r, ag, ab, am, av)
            {last}
        }}"""
        graph_ir = ir.from_proto(calling(graph, text, **CONV, **LAST))
        (site,) = [node for node in graph_ir.graph if node.op_type == BN]
        assert functions.concerned(graph_ir, {id(site)}) == expected
