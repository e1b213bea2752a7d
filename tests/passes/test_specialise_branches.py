"""An If or Where of known condition: what replaces it, and what stays as it is."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx_ir as ir
import pytest
from graphs import evaluate, model, normal, operators, run, statistics
from onnx import helper, numpy_helper

from bnopt import passes
from bnopt.passes.prepare import prepare
from bnopt.passes.specialise import settle_branches

F = "float[N,4,6,6]"
IMAGE = f"(float[N,3,6,6] x, bool k) => ({F} y)"
CONV = {"W": normal(4, 3, 1, 1)}
BN = "BatchNormalization"


def specialised(proto: onnx.ModelProto, **inputs: object) -> tuple[onnx.ModelProto, Any]:
    """The prepared and folded model, and what `prepare` had to say."""
    graph = ir.from_proto(onnx.ModelProto.FromString(proto.SerializeToString()))
    prepared = prepare(graph, set_inputs=inputs)
    passes.apply(graph, prepared.plan)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result, full_check=True)
    return result, prepared


def assert_same(proto: onnx.ModelProto, bound: dict[str, object], **feeds: np.ndarray) -> Any:
    """The specialised model gives without `bound` what the original gives with it."""
    result, prepared = specialised(proto, **bound)
    extra = {name: np.asarray(value) for name, value in bound.items()}
    for a, b in zip(run(proto, **feeds, **extra), run(result, **feeds), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(b, a, rtol=0, atol=1e-5 * float(np.abs(a).max()))
    return result, prepared


def two_branches(then: str, other: str, more: str = "", outputs: str = "y") -> str:
    return f"""g {IMAGE} {{
        c = Conv(x, W)
        {outputs} = If (k) <then_branch = t () => ({F} p) {{ {then} }},
                    else_branch = e () => ({F} q) {{ {other} }}>
        {more}
    }}"""


def test_a_batch_norm_in_both_branches_and_the_conv_outside() -> None:
    text = two_branches(f"p = {BN}(c, ag, ab, am, av)", f"q = {BN}(c, bg, bb, bm, bv)")
    weights = {**statistics(4, seed=1, prefix="a"), **statistics(4, seed=2, prefix="b")}
    proto = model(text, **CONV, **weights)
    for value in (True, False):
        result, prepared = assert_same(proto, {"k": value}, x=normal(2, 3, 6, 6))
        assert operators(result) == ["Conv"]
        assert [v.name for v in result.graph.input] == ["x"]
        assert [v.name for v in result.graph.output] == ["y"]
        assert len(result.graph.initializer) == 2
        assert [site.id for site in prepared.plan.sites] == ["main:y"]
        assert prepared.notes[0] == f"input 'k' bound to {str(value).lower()} and removed"


def test_without_the_option_an_unknown_condition_stays() -> None:
    proto = model(two_branches("p = Relu(c)", "q = Neg(c)"), **CONV)
    result, prepared = specialised(proto)
    assert operators(result) == ["Conv", "If"]
    assert not prepared.modified


def test_an_overridable_condition_is_bound_by_the_option_only() -> None:
    text = two_branches(f"p = {BN}(c, g, b, m, v)", "q = Neg(c)")
    proto = model(text, **CONV, **statistics(4), k=np.array(True))
    result, _ = specialised(proto)
    assert operators(result) == ["Conv", "If"]
    result, _ = assert_same(proto, {"k": True}, x=normal(2, 3, 6, 6))
    assert operators(result) == ["Conv"]
    result, _ = assert_same(proto, {"k": False}, x=normal(2, 3, 6, 6))
    assert operators(result) == ["Conv", "Neg"]


def constant_condition(then: str, after: str) -> onnx.ModelProto:
    text = f"""g (float[N,3,6,6] x) => ({F} y) {{
        c = Conv(x, W)
        d = If (k) <then_branch = t () => ({F} p) {{ {then} }},
                    else_branch = e () => ({F} q) {{ q = Neg(c) }}>
        {after}
    }}"""
    return model(text, **CONV, **statistics(4), k=np.array(True))


@pytest.mark.parametrize(
    ("then", "after", "expected"),
    [
        (f"p = {BN}(c, g, b, m, v)", "y = Relu(d)", ["Conv", "Relu"]),
        ("p = Conv(c, V)", f"y = {BN}(d, g, b, m, v)", ["Conv", "Conv"]),
        ("p = Abs(c)", "y = Relu(d)", ["Conv", "If", "Relu"]),
    ],
    ids=["inside", "behind", "neither"],
)
def test_a_constant_condition_counts_where_a_batch_norm_is_near(
    then: str, after: str, expected: list[str]
) -> None:
    proto = constant_condition(then, after)
    proto.graph.initializer.append(numpy_helper.from_array(normal(4, 4, 1, 1), "V"))
    result, prepared = assert_same(proto, {}, x=normal(2, 3, 6, 6))
    assert operators(result) == expected
    assert prepared.modified == (expected[1] != "If")


def test_nested_branches() -> None:
    inner = f"""If (l) <then_branch = t2 () => ({F} p2) {{ s = Relu(c) p2 = {BN}(s, g, b, m, v) }},
                        else_branch = e2 () => ({F} q2) {{ q2 = {BN}(c, g, b, m, v) }}>"""
    text = f"""g (float[N,3,6,6] x, bool k) => ({F} y, {F} z) {{
        c = Conv(x, W)
        l = Not(k)
        s = Abs(c)
        y = If (k) <then_branch = t () => ({F} p) {{ p = {inner} }},
                    else_branch = e () => ({F} q) {{ q = Neg(c) }}>
        z = Add(s, y)
    }}"""
    proto = model(text, **CONV, **statistics(4))
    result, _ = assert_same(proto, {"k": True}, x=normal(2, 3, 6, 6))
    assert sorted(operators(result)) == ["Abs", "Add", BN, "Conv"]
    result, _ = assert_same(proto, {"k": False}, x=normal(2, 3, 6, 6))
    assert sorted(operators(result)) == ["Abs", "Add", "Conv", "Neg"]


def test_names_of_siblings_do_not_collide() -> None:
    body = "n = {}(c) {} = Neg(n)"
    branches = f"""<then_branch = t () => ({F} p) {{ {body.format("Relu", "p")} }},
                    else_branch = e () => ({F} q) {{ {body.format("Abs", "q")} }}>"""
    text = f"""g (float[N,3,6,6] x, bool k, bool l) => ({F} y, {F} z, {F} w) {{
        c = Conv(x, W)
        y = If (k) {branches}
        z = If (k) {branches}
        w = If (l) {branches}
    }}"""
    proto = model(text, **CONV)
    for node in proto.graph.node[1:]:
        for attribute in node.attribute:
            attribute.g.node[0].name = "inner"
    result, _ = assert_same(proto, {"k": True}, x=normal(2, 3, 6, 6), l=np.array(False))
    (left,) = [node for node in result.graph.node if node.op_type == "If"]
    outer = [name for node in result.graph.node for name in (*node.output, node.name) if name]
    inner = [n for a in left.attribute for node in a.g.node for n in (*node.output, node.name)]
    assert len(set(outer)) == len(outer)
    assert set(outer).isdisjoint(inner)


def test_weights_inside_the_branch_move_and_keep_their_numbers() -> None:
    text = f"""g (float[N,3,6,6] x, bool k) => ({F} y, {F} z) {{
        c = Conv(x, W)
        y = If (k) <then_branch = t () => ({F} p) {{ p = Add(c, w) }},
                    else_branch = e () => ({F} q) {{ q = Add(c, w) }}>
        z = If (k) <then_branch = t () => ({F} p) {{ p = Mul(c, w) }},
                    else_branch = e () => ({F} q) {{ q = Mul(c, w) }}>
    }}"""
    proto = model(text, **CONV)
    seed = 0
    for node in proto.graph.node[1:]:
        for attribute in node.attribute:
            seed += 1
            weight = numpy_helper.from_array(normal(4, 1, 1, seed=seed), "w")
            attribute.g.initializer.append(weight)
    source = ir.from_proto(proto)
    before = [t.name for t in _tensors(source)]
    clone = source.clone()
    prepare(clone, set_inputs={"k": True})
    assert [t.name for t in _tensors(source)] == before, "clones share tensors"
    for value in (True, False):
        result, _ = assert_same(proto, {"k": value}, x=normal(2, 3, 6, 6))
        assert len({t.name for t in result.graph.initializer}) == 3


def _tensors(graph: ir.Model) -> list[ir.TensorProtocol]:
    bodies = [a.as_graph() for n in graph.graph for a in n.attributes.values() if n.op_type == "If"]
    return [v.const_value for body in bodies for v in body.initializers.values()]  # type: ignore


def test_a_branch_output_that_is_a_weight_or_stands_twice() -> None:
    text = f"""g (float[N,3,6,6] x, bool k) => (float[4] a, float[4] b, {F} y, {F} z, {F} u) {{
        c = Conv(x, W)
        a, b, y, z, r = If (k) <
            then_branch = t () => (float[4] w, float[4] w, {F} p, {F} p, float[4] w)
                {{ p = Neg(c) }},
            else_branch = e () => (float[4] v, float[4] v, {F} q, {F} q, float[4] v)
                {{ q = Relu(c) v = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>() }}>
        s = Constant<value_ints = [4, 1, 1]>()
        f = Reshape(r, s)
        u = Add(y, f)
    }}"""
    proto = model(text, **CONV)
    proto.graph.node[1].attribute[0].g.initializer.append(numpy_helper.from_array(normal(4), "w"))
    for value in (True, False):
        result, _ = specialised(proto, k=value)
        # Not onnxruntime: it gives uninitialised memory for such a branch of the original.
        x = normal(2, 3, 6, 6)
        for old, new in zip(evaluate(proto, x=x, k=np.array(value)), run(result, x=x), strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-5, atol=1e-5)
        assert "If" not in operators(result)
        assert [v.name for v in result.graph.output] == ["a", "b", "y", "z", "u"]


def test_inside_a_function_weights_become_nodes() -> None:
    functions = f"""<domain: "f", opset_import: ["": 17]> block (x, W) => (y) {{
        c = Conv(x, W)
        k = Constant<value_int = 1>()
        l = Cast<to = 9>(k)
        y = If (l) <then_branch = t () => ({F} p) {{
                        p = {BN}(c, g, b, m, v) }},
                    else_branch = e () => ({F} q) {{ q = Neg(c) }}>
    }}"""
    text = f"""g (float[N,3,6,6] x) => ({F} y) {{ y = f.block(x, W) }}"""
    proto = model(text, functions=functions, domains=', "f": 1', **CONV)
    body = proto.functions[0].node[3].attribute[0].g
    for name, array in statistics(4).items():
        body.initializer.append(numpy_helper.from_array(array, name))
    graph = ir.from_proto(proto)
    assert settle_branches(graph, lambda node, condition: True) == ("y",)
    result = ir.to_proto(graph)
    onnx.checker.check_model(result, full_check=True)
    kinds = sorted(node.op_type for node in result.functions[0].node)
    assert kinds == [BN, *["Constant"] * 4, "Conv"]
    x = normal(2, 3, 6, 6)
    np.testing.assert_array_equal(run(result, x=x)[0], run(proto, x=x)[0])


def test_only_what_the_edit_made_dead_goes() -> None:
    text = f"""g (float[N,3,6,6] x, bool k) => ({F} y) {{
        c = Conv(x, W)
        dead = Neg(c)
        d = Conv(x, V)
        e = Abs(d)
        y = If (k) <then_branch = t () => ({F} p) {{ p = Relu(c) }},
                    else_branch = e () => ({F} q) {{ r = Relu(e) q = Add(r, e) }}>
    }}"""
    proto = model(text, **CONV, V=normal(4, 3, 1, 1, seed=5), unused=normal(3))
    result, _ = assert_same(proto, {"k": True}, x=normal(2, 3, 6, 6))
    assert operators(result) == ["Conv", "Neg", "Relu"]
    assert [t.name for t in result.graph.initializer] == ["W", "unused"]


def test_a_default_value_that_only_the_dead_branch_read_stays_an_input() -> None:
    text = f"""g (float[N,3,6,6] x, bool k, float[4,1,1] a) => ({F} y) {{
        c = Conv(x, W)
        y = If (k) <then_branch = t () => ({F} p) {{ p = Relu(c) }},
                    else_branch = e () => ({F} q) {{ q = Add(c, a) }}>
    }}"""
    proto = model(text, **CONV, a=normal(4, 1, 1))
    result, _ = assert_same(proto, {"k": True}, x=normal(2, 3, 6, 6))
    assert [v.name for v in result.graph.input] == ["x", "a"]


@pytest.mark.parametrize(
    "condition",
    [
        "l = Not(k)",
        "o = Not(k) l = And(o, o)",
        "t = Constant<value_int = 0>() i = Cast<to = 7>(k) l = Equal(i, t)",
        "o = Not(k) s = Constant<value_ints = [1]>() r = Reshape(o, s) l = Squeeze(r)",
        "o = Identity(k) n = Not(o) l = Or(o, n)",
        "n = Not(k) l = Xor(k, n)",
        "z = Constant<value_float = 0.5>() f = Cast<to = 1>(k) l = Less(f, z)",
        "z = Constant<value_float = 0.5>() f = Cast<to = 1>(k) l = Greater(z, f)",
    ],
)
def test_conditions_computed_from_the_input(condition: str) -> None:
    text = f"""g {IMAGE} {{
        c = Conv(x, W)
        {condition}
        y = If (l) <then_branch = t () => ({F} p) {{ p = {BN}(c, g, b, m, v) }},
                    else_branch = e () => ({F} q) {{ q = Neg(c) }}>
    }}"""
    proto = model(text, **CONV, **statistics(4))
    result, _ = assert_same(proto, {"k": False}, x=normal(2, 3, 6, 6))
    assert operators(result) == ["Conv"]


def test_a_condition_that_another_input_decides_too_stays() -> None:
    text = f"""g (float[N,3,6,6] x, bool k, bool o) => ({F} y) {{
        c = Conv(x, W)
        l = And(k, o)
        y = If (l) <then_branch = t () => ({F} p) {{ p = {BN}(c, g, b, m, v) }},
                    else_branch = e () => ({F} q) {{ q = Neg(c) }}>
    }}"""
    for default in ({}, {"o": np.array(False)}):
        proto = model(text, **CONV, **statistics(4), **default)
        result, _ = specialised(proto, k=True)
        assert "If" in operators(result)
        assert [v.name for v in result.graph.input] == ["x", "o"]


def test_a_function_named_if_is_no_if() -> None:
    functions = '<opset_import: ["": 17]> If (k) => (y) { y = Not(k) }'
    text = "g (bool k, float[2] x) => (bool y, float[2] z) { y = If(k) z = Neg(x) }"
    proto = model(text, functions=functions)
    graph = ir.from_proto(proto)
    prepare(graph, set_inputs={"k": True})
    assert [node.op_type for node in graph.graph] == ["If", "Neg"]


def test_a_branch_that_returns_an_outer_value_stays() -> None:
    """Invalid for onnxruntime, which asks for an Identity; nothing is known to be exact."""
    proto = model(two_branches("p = Relu(c)", "q = Neg(c)"), **CONV)
    branch = proto.graph.node[1].attribute[0].g
    del branch.node[:]
    branch.output[0].name = "c"
    graph = ir.from_proto(proto)
    prepare(graph, set_inputs={"k": True})
    assert [node.op_type for node in graph.graph] == ["Conv", "If"]


WHERE = "g ({} a, {} b, bool{} k) => ({} y) {{ d = Neg(a) e = Abs(b) y = Where(k, d, e) }}"


@pytest.mark.parametrize(
    ("a", "b", "k", "value", "expected"),
    [
        ("float[2,3]", "float[2,3]", "", True, ["Neg", "Identity"]),
        ("float[2,3]", "float[2,3]", "", False, ["Abs", "Identity"]),
        ("float[N,3]", "float[1,1]", "[1]", [True], ["Neg", "Identity"]),
        ("float[2,3]", "float[3]", "[2,1]", [[True], [True]], ["Neg", "Identity"]),
        ("float[2,3]", "float[2,3]", "[2,1]", [[True], [False]], ["Neg", "Abs", "Where"]),
        ("float[3]", "float[2,3]", "", True, ["Neg", "Abs", "Where"]),
        ("float[1,3]", "float[2,3]", "", True, ["Neg", "Abs", "Where"]),
        ("float[2,3]", "float[N,3]", "", True, ["Neg", "Abs", "Where"]),
        ("float[N,3]", "float[N,3]", "", True, ["Neg", "Abs", "Where"]),
        ("float[3]", "float[3]", "[2,1]", [[True], [True]], ["Neg", "Abs", "Where"]),
    ],
)
def test_where(a: str, b: str, k: str, value: object, expected: list[str]) -> None:
    kind = "float[P,Q]" if "," in a + b + k else "float[P]"
    proto = model(WHERE.format(a, b, k, kind))

    def array(kind: str, seed: int) -> np.ndarray:
        dims = kind.removeprefix("float[").removesuffix("]").replace("N", "2").split(",")
        return normal(*map(int, dims), seed=seed)

    result, _ = assert_same(proto, {"k": value}, a=array(a, 1), b=array(b, 2))
    assert operators(result) == expected


def test_where_in_the_middle_and_a_constant_one() -> None:
    text = """g (float[2,3] a, bool k) => (float[2,3] y) {
        d = Where(k, a, z)
        l = Constant<value_int = 1>()
        m = Cast<to = 9>(l)
        e = Where(m, d, z)
        y = Neg(e)
    }"""
    proto = model(text, z=normal(2, 3))
    result, _ = assert_same(proto, {"k": True}, a=normal(2, 3, seed=4))
    assert operators(result).count("Where") == 1, "only what the binding decides goes"


def test_output_names_and_types_of_the_model_are_kept() -> None:
    text = two_branches(f"p = {BN}(c, g, b, m, v)", "q = Neg(c)")
    proto = model(text, **CONV, **statistics(4))
    inner = proto.graph.node[1].attribute[0].g.output[0]
    inner.CopyFrom(helper.make_tensor_value_info("p", 1, ["A", "B", "C", "D"]))
    result, _ = assert_same(proto, {"k": True}, x=normal(2, 3, 6, 6))
    assert result.graph.output[0] == proto.graph.output[0]


@pytest.mark.parametrize(
    "what", ["type", "size", "outputs", "inputs", "one branch", "two graphs", "an outer weight"]
)
def test_an_if_that_is_not_as_specified_stays(what: str) -> None:
    proto = model(two_branches("p = Relu(c)", "q = Neg(c)"), **CONV)
    node = proto.graph.node[1]
    bound: object = True
    if what == "type":
        proto.graph.input[1].type.tensor_type.elem_type = onnx.TensorProto.INT32
        bound = 1
    elif what == "size":
        proto.graph.input[1].type.tensor_type.shape.dim.add().dim_value = 2
        bound = [True, True]
    elif what == "outputs":
        node.output.append("z")
    elif what == "inputs":
        node.attribute[0].g.input.append(helper.make_tensor_value_info("i", 1, None))
    elif what == "one branch":
        del node.attribute[1]
    elif what == "two graphs":
        body = node.attribute[0].g
        attribute = onnx.AttributeProto(name="then_branch", type="GRAPHS", graphs=[body, body])
        node.attribute[0].CopyFrom(attribute)
    else:
        del node.attribute[0].g.node[:]
        node.attribute[0].g.output[0].name = "W"
    graph = ir.from_proto(proto)
    prepare(graph, set_inputs={"k": bound})
    assert [node.op_type for node in graph.graph] == ["Conv", "If"]


@pytest.mark.parametrize("op_type", ["If", "Where"])
def test_a_function_with_an_operators_name_and_its_form(op_type: str) -> None:
    """It has the attributes or operands of the operator, and does something else."""
    operands = "k" if op_type == "If" else "k, c, d"
    functions = f'<opset_import: ["": 17]> {op_type} ({operands}) => (y) {{ y = Not(k) }}'
    text = "g (float[2] c, float[2] d, bool k) => (bool y) { y = Where(k, c, d) }"
    if op_type == "If":
        text = two_branches("p = Relu(c)", "q = Neg(c)")
    graph = ir.from_proto(model(text, functions=functions, **CONV))
    prepare(graph, set_inputs={"k": True})
    assert op_type in [node.op_type for node in graph.graph]


def test_an_initializer_as_a_graph_output_keeps_both_names() -> None:
    text = f"""g (float[N,3,6,6] x, bool k) => ({F} y, float[4] a) {{
        c = Conv(x, W)
        a = If (k) <then_branch = t () => (float[4] w) {{ u = Neg(c) }},
                    else_branch = e () => (float[4] v)
                        {{ v = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>() }}>
        y = Relu(c)
    }}"""
    proto = model(text, **CONV)
    weight = numpy_helper.from_array(normal(4), "w")
    proto.graph.node[1].attribute[0].g.initializer.append(weight)
    result, _ = assert_same(proto, {"k": True}, x=normal(2, 3, 6, 6))
    assert "w" in [t.name for t in result.graph.initializer]
    assert [v.name for v in result.graph.output] == ["y", "a"]


def test_where_on_nothing_stays() -> None:
    text = "g (bool[1,3] k, float[0,3] a, float[0,3] b) => (float[0,3] y) { y = Where(e, a, b) }"
    proto = model(text)
    proto.graph.node[0].input[0] = "e"
    empty = helper.make_node("Slice", ["k", "zero", "zero"], ["e"])
    proto.graph.node.insert(0, empty)
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(1, np.int64), "zero"))
    graph = ir.from_proto(proto)
    prepare(graph, set_inputs={"k": [[True, True, True]]})
    assert [node.op_type for node in graph.graph] == ["Slice", "Where"]


@pytest.mark.parametrize("what", ["type", "operand", "other operand", "unknown", "other unknown"])
def test_a_where_of_which_too_little_is_known_stays(what: str) -> None:
    text = """g (bool k, float[2,3] a, float[2,3] b) => (float[A,B] y) {
        d = Neg(a) e = Abs(b) y = Where(k, d, e) }"""
    proto = model(text, domains=', "u": 1')
    where = proto.graph.node[2]
    bound: object = True
    if what == "type":
        proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.INT32
        bound = 1
    elif "operand" in what:
        where.input[2 if "other" in what else 1] = ""
    else:
        node = proto.graph.node["other" in what]
        node.op_type, node.domain = "Strange", "u"
    graph = ir.from_proto(proto)
    prepare(graph, set_inputs={"k": bound})
    assert [node.op_type for node in graph.graph][-1] == "Where"
