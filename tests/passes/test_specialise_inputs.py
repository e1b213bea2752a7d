"""Values for graph inputs: what is taken, what is refused, and what becomes of the input."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from graphs import model, normal, run

from bnopt.errors import UsageError
from bnopt.passes.specialise import bind


def adding(kind: str, shape: str = "", **options: object) -> ir.Model:
    dims = f"[{shape}]" if shape else ""
    text = f"g ({kind}{dims} k, float[N] x) => ({kind}{dims} y) {{ y = Identity(k) }}"
    return ir.from_proto(model(text, **options))  # type: ignore[arg-type]


def bound(graph: ir.Model, value: object) -> np.ndarray:
    bind(graph, {"k": value})
    assert [v.name for v in graph.graph.inputs] == ["x"]
    tensor = graph.graph.initializers["k"].const_value
    assert tensor is not None
    assert tensor.dtype == graph.graph.outputs[0].dtype
    return tensor.numpy()


@pytest.mark.parametrize(
    ("kind", "shape", "value", "expected"),
    [
        ("bool", "", "false", False),
        ("bool", "", "True", True),
        ("bool", "", "1", True),
        ("bool", "", False, False),
        ("bool", "1", "true", [True]),
        ("bool", "2", "true,False", [True, False]),
        ("int32", "", "-7", -7),
        ("uint8", "2", "[0, 255]", [0, 255]),
        ("int64", "", str(2**63 - 1), 2**63 - 1),
        ("int64", "", np.int32(3), 3),
        ("float", "", "0.5", 0.5),
        ("float", "", "3", 3.0),
        ("float16", "2", "1,2e1", [1.0, 20.0]),
        ("double", "", ".5", 0.5),
        ("float", "2,2", "[[1,2],[3,4]]", [[1, 2], [3, 4]]),
        ("float", "N,2", np.ones((3, 2)), np.ones((3, 2))),
        ("float", "N", "1,2,3", [1, 2, 3]),
        ("bfloat16", "", "0.5", 0.5),
    ],
)
def test_taken(kind: str, shape: str, value: object, expected: object) -> None:
    array = bound(adding(kind, shape), value)
    assert array.tolist() == np.asarray(expected).tolist()


@pytest.mark.parametrize(
    ("kind", "shape", "value", "says"),
    [
        ("bool", "", "maybe", "expected true, false, a number"),
        ("bool", "", "2", "expected true or false"),
        ("bool", "", "0.0", "expected true or false"),
        ("int32", "", "1.5", "1.5 is no integer"),
        ("int32", "", "true", "expected integers"),
        ("float", "", "true", "expected numbers"),
        ("int8", "", "128", "128 does not fit int8"),
        ("uint8", "", "-1", "-1 does not fit uint8"),
        ("int64", "", str(2**63), "does not fit int64"),
        ("float16", "", "70000", "does not fit float16"),
        ("float", "", "1e40", "does not fit float"),
        ("float", "", "1" + "0" * 400, "does not fit float"),
        ("float", "", "nan", "does not fit float"),
        ("float", "2", "1,2,3", "its shape (3) does not fit the declared (2)"),
        ("float", "N", "1", "its shape () does not fit the declared (?)"),
        ("float", "2", "1", "does not fit the declared (2)"),
        ("float", "", "1,2", "does not fit the declared ()"),
        ("float", "2,2", "[[1,2],[3]]", "its lists are not of one length"),
        ("float", "", '{"a": 1}', "expected numbers"),
        ("float", "", None, "expected numbers"),
        ("string", "", "a", "its type is string"),
    ],
)
def test_refused(kind: str, shape: str, value: object, says: str) -> None:
    graph = adding(kind, shape)
    with pytest.raises(UsageError) as caught:
        bind(graph, {"k": value})
    assert says in caught.value.message
    assert "'k'" in caught.value.message
    assert len(caught.value.message.splitlines()) == 1
    assert [v.name for v in graph.graph.inputs] == ["k", "x"]
    assert not graph.graph.initializers


@pytest.mark.parametrize("kind", ["seq(tensor(float))", "undeclared"])
def test_what_is_no_tensor_of_a_known_type_is_refused(kind: str) -> None:
    graph = adding("float")
    value = graph.graph.inputs[0]
    value.type = None if kind == "undeclared" else ir.SequenceType(ir.TensorType(ir.DataType.FLOAT))
    with pytest.raises(UsageError, match="it is no tensor of a declared type"):
        bind(graph, {"k": "1"})


def test_unknown_input_names_those_there_are() -> None:
    graph = adding("bool")
    with pytest.raises(UsageError, match=r"the model has no such input, only 'k', 'x'"):
        bind(graph, {"k": "true", "q": "1"})
    assert [v.name for v in graph.graph.inputs] == ["k", "x"]


def test_the_default_value_of_an_input_is_replaced() -> None:
    text = "g (float[2] x, float[2] k) => (float[2] y) { y = Add(x, k) }"
    proto = model(text, k=np.array([1, 2], np.float32))
    graph = ir.from_proto(proto)
    bind(graph, {"k": "10,20"})
    x = normal(2)
    (y,) = run(ir.to_proto(graph), x=x)
    np.testing.assert_array_equal(y, x + np.array([10, 20], np.float32))


@pytest.mark.parametrize("version", [3, 8])
def test_before_ir_4_every_initializer_is_an_input(version: int) -> None:
    text = "g (float[2] x, float[2] k, float[2] c) => (float[2] y) { t = Add(x, k) y = Add(t, c) }"
    proto = model(text, 8, version, c=np.array([1, 2], np.float32))
    graph = ir.from_proto(proto)
    bind(graph, {"k": "10,20"})
    assert graph.ir_version == max(version, 4)
    assert [v.name for v in graph.graph.inputs] == (["x"] if version == 3 else ["x", "c"])
    x = normal(2)
    (y,) = run(ir.to_proto(graph), x=x)
    np.testing.assert_allclose(y, x + np.array([11, 22], np.float32), rtol=1e-6)
