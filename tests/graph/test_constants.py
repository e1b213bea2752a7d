"""Every way exporters hide a parameter is seen through, and nothing that depends on data is."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import assert_same, decisions, folded, model, normal, operators, statistics
from onnx import helper

from bnopt.graph.constants import Constants
from bnopt.graph.types import Types


def resolve(proto: onnx.ModelProto, name: str) -> np.ndarray | None:
    graph = ir.from_proto(proto)
    value = next(o for n in graph.graph.all_nodes() for o in n.outputs if o.name == name)
    constant = Constants(graph, Types(graph)).resolve(value)
    return None if constant is None else constant.array()


CHAINS = {
    "identity": "p = Identity(g)",
    "identity of identity": "q = Identity(g) p = Identity(q)",
    "constant value": "p = Constant<value = float[4] {1, 2, 3, 4}>()",
    "constant value_floats": "p = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>()",
    "unsqueeze, squeeze": "q = Unsqueeze(g, zeros) p = Squeeze(q, zeros)",
    "reshape": "i = Constant<value_ints = [-1]>() p = Reshape(g, i)",
    "transpose": "p = Transpose<perm = [0]>(g)",
    "tile": "i = Constant<value_ints = [4]>() q = Constant<value_floats = [2.0]>() p = Tile(q, i)",
    "expand": "q = Constant<value_float = 2.0>() p = Expand(q, four)",
    "cast": "q = Constant<value_ints = [1, 2, 3, 4]>() p = Cast<to = 1>(q)",
    "constant of shape": "p = ConstantOfShape<value = float[1] {2}>(four)",
    "arithmetic": "q = Mul(g, g) r = Add(q, b) s = Sqrt(v) t = Div(r, s) p = Sub(t, m)",
    "shape of a weight": "i = Shape(g) q = Constant<value_float = 0.5>() p = Expand(q, i)",
    "value_int": "i = Constant<value_int = 3>() q = Cast<to = 1>(i) p = Add(g, q)",
    "slice": "p = Slice(g, zeros, four)",
    "concat": "q = Constant<value_floats = [1.0, 2.0]>() p = Concat<axis = 0>(q, q)",
}


@pytest.mark.parametrize("chain", CHAINS)
def test_parameters_behind_constant_expressions(chain: str) -> None:
    text = f"""g (float[N,3,6,6] x) => (float[N,4,6,6] y) {{
        {CHAINS[chain]}
        c = Conv(x, W)
        y = BatchNormalization(c, p, b, m, v)
    }}"""
    axes = {"zeros": np.array([0]), "four": np.array([4])}
    proto = model(text, W=normal(4, 3, 1, 1), **axes, **statistics(4))
    assert operators(folded(proto)[0]) == ["Conv"]
    assert_same(proto, x=normal(2, 3, 6, 6))


def test_castlike_and_shape_of_data_are_constants() -> None:
    """What torch's dynamo exporter writes for a batch norm without affine, and a missing bias."""
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] y) {
        z = Constant<value_floats = [0.0]>()
        zx = CastLike(z, x)
        i = Shape(W)
        j = Constant<value_ints = [0]>()
        k = Gather(i, j)
        zero = Expand(zx, k)
        c = Conv(x, W, zero)
        o = Constant<value_floats = [1.0]>()
        oc = CastLike(o, c)
        n = Shape<start = 1, end = 2>(c)
        one = Expand(oc, n)
        y = BatchNormalization(c, one, b, m, v)
    }"""
    proto = model(text, W=normal(4, 3, 1, 1), **statistics(4))
    assert operators(folded(proto)[0]) == ["Conv"]
    assert_same(proto, x=normal(2, 3, 6, 6))


def test_shape_of_a_dynamic_dimension_is_no_constant() -> None:
    text = """g (float[N,C,6,6] x) => (float[N,C,6,6] y) {
        o = Constant<value_floats = [1.0]>()
        n = Shape<start = 1, end = 2>(x)
        one = Expand(o, n)
        y = BatchNormalization(x, one, b, m, v)
    }"""
    assert decisions(model(text, **statistics(4))) == ["dynamic-statistics"]


def test_value_info_is_not_believed() -> None:
    """A stale rank-2 annotation on rank-3 data would put the scale on the wrong axis."""
    text = """g (float[N,4,3] x) => (float[N,4,4] y) {
        r = Relu(x)
        c = MatMul(r, W)
        y = BatchNormalization(c, g, b, m, v)
    }"""
    proto = model(text, W=normal(3, 4), **statistics(4))
    for name in ("r", "c"):
        proto.graph.value_info.append(
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [None, 4])
        )
    assert decisions(proto) == ["channel-axis"]


def test_random_operators_are_no_constants() -> None:
    text = """g (float[N] x) => (float[4] p) {
        i = Constant<value_ints = [4]>()
        q = RandomNormal<shape = [4]>()
        p = Add(q, q)
    }"""
    assert resolve(model(text), "p") is None


def test_what_the_reference_cannot_compute_is_no_constant() -> None:
    text = """g (float[N] x) => (float[4] p) {
        i = Constant<value_ints = [3]>()
        q = Constant<value_floats = [1.0, 2.0, 3.0, 4.0]>()
        p = Reshape(q, i)
    }"""
    assert resolve(model(text), "p") is None


def test_resolving_does_not_rename_shared_tensors() -> None:
    proto = model("g (float[4] x) => (float[4] p) { p = Constant<value = float[4] {1,2,3,4}>() }")
    graph = ir.from_proto(proto)
    before = ir.to_proto(graph).SerializeToString()
    twin = graph.clone()
    value = twin.graph.node(0).outputs[0]
    assert Constants(twin, Types(twin)).resolve(value) is not None
    assert ir.to_proto(graph).SerializeToString() == before


def test_a_formal_parameter_is_not_an_initializer_of_the_same_name() -> None:
    """A function body's names are its own: `g` inside is not the `g` outside."""
    functions = """
    <domain: "f", opset_import: ["": 17]>
    Norm (x, g, b, m, v) => (y) { y = BatchNormalization(x, g, b, m, v) }
    """
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] y) {
        c = Conv(x, W)
        y = f.Norm(c, g2, b, m, v)
    }"""
    weights = {"W": normal(4, 3, 1, 1), "g2": normal(4), **statistics(4)}
    proto = model(text, functions=functions, domains=', "f": 1', **weights)
    result, plan = folded(proto)
    assert [site.decision.reason for site in plan.sites] == ["dynamic-statistics"]
    assert plan.sites[0].scope == "function f::Norm"
    assert operators(result) == ["Conv", "Norm"]


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("axes", [[-2, -1], [-1, -2], [1, 2], [0, -1]])
def test_unsqueeze_by_several_axes(opset: int, axes: list[int]) -> None:
    """onnx's reference implementation puts several negative axes in the wrong places."""
    chosen = f"<axes = {axes}>(c)" if opset < 13 else "(c, a)"
    text = f"g (float[N] x) => (float[A,B,C] y) {{ y = Unsqueeze{chosen} }}"
    c = np.arange(3, dtype=np.float32)
    proto = model(text, opset, c=c, a=np.array(axes))
    graph = ir.from_proto(proto)
    found = Constants(graph, Types(graph)).resolve(graph.graph.node(0).outputs[0])
    assert found is not None
    np.testing.assert_array_equal(found.array(), np.expand_dims(c, tuple(axes)))
