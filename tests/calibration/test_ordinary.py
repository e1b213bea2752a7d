"""Batch norms in every mode become ordinary ones, or are left with a reason."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import model, normal, run, statistics
from onnx import helper

from bnopt.algebra.base import Context
from bnopt.calibration import dropout
from bnopt.calibration.depth import depths
from bnopt.calibration.ordinary import make_ordinary
from bnopt.graph.names import helps_debiasing

CONV = "g (float[N,3,8,8] x) => (float[N,4,6,6] y) {{ c = Conv(x, W) {} }}"


def weights(channels: int = 4, dtype: type = np.float32) -> dict[str, np.ndarray]:
    return {"W": normal(channels, 3, 3, 3), **statistics(channels, dtype)}


def ordinary(proto: onnx.ModelProto):
    graph = ir.from_proto(proto)
    slots, kept = make_ordinary(graph, Context.of(graph))
    return graph, slots, kept


MODES = {
    "inference": (17, "y = BatchNormalization(c, g, b, m, v)"),
    "training_mode": (17, "y, a, d = BatchNormalization<training_mode = 1>(c, g, b, m, v)"),
    "five outputs": (9, "y, a, d, e, f = BatchNormalization(c, g, b, m, v)"),
    "is_test": (6, "y = BatchNormalization<is_test = 1>(c, g, b, m, v)"),
    "no is_test": (6, "y = BatchNormalization(c, g, b, m, v)"),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_becomes_inference_mode(mode: str) -> None:
    opset, text = MODES[mode]
    graph, [slot], kept = ordinary(model(CONV.format(text), opset, **weights()))
    assert kept == []
    assert slot.rewritten == (mode not in ("inference", "is_test"))
    assert slot.form == "batch_normalization"
    np.testing.assert_array_equal(slot.mean, statistics(4)["m"])
    np.testing.assert_array_equal(slot.gamma, statistics(4)["g"])
    plain = CONV.format(MODES["is_test" if opset < 7 else "inference"][1])
    expected = ir.from_proto(model(plain, opset, **weights()))
    node = slot.node
    assert [output.name for output in node.outputs] == ["y"]
    other = next(n for n in expected.graph if n.op_type == "BatchNormalization")
    assert {name: a.value for name, a in node.attributes.items()} == {
        name: a.value for name, a in other.attributes.items()
    }
    onnx.checker.check_model(ir.to_proto(graph))


def test_statistics_that_are_computed_become_constants() -> None:
    text = """m0 = ReduceMean<axes = [0, 2, 3], keepdims = 0>(c)
        s = Mul(c, c) v0 = ReduceMean<axes = [0, 2, 3], keepdims = 0>(s)
        y = BatchNormalization(c, g, b, m0, v0)"""
    graph, [slot], _ = ordinary(model(CONV.format(text), 13, **weights()))
    assert slot.form == "batch_statistics"
    assert slot.rewritten
    assert slot.mean is None
    assert slot.variance is None
    # Nobody reads what computed them any more.
    assert sorted(node.op_type for node in graph.graph) == ["BatchNormalization", "Conv"]
    proto = ir.to_proto(graph)
    x, w = normal(2, 3, 8, 8), weights()
    got = run(proto, x=x)[0]
    conv = run(
        model("g (float[N,3,8,8] x) => (float[N,4,6,6] y) { y = Conv(x, W) }", W=w["W"]), x=x
    )
    shape = (1, 4, 1, 1)
    want = conv[0] / np.sqrt(1 + 1e-5) * w["g"].reshape(shape) + w["b"].reshape(shape)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "kept"), [("bn/moving_mean", True), ("bn/moving_mean/biased/read:0", False)]
)
def test_only_a_true_name_is_kept(name: str, kept: bool) -> None:
    proto = model(CONV.format(MODES["inference"][1]), 17, **weights())
    for tensor in proto.graph.initializer:
        tensor.name = name if tensor.name == "m" else tensor.name
    proto.graph.node[-1].input[3] = name
    _, [slot], _ = ordinary(proto)
    found = slot.node.inputs[3].name
    assert (found == name) is kept
    assert not helps_debiasing(found)


def test_shared_statistics_are_parted() -> None:
    text = "h = BatchNormalization(c, g, b, m, v) y = BatchNormalization(h, g, b, m, v)"
    graph, slots, _ = ordinary(model(CONV.format(text), **weights()))
    operands = [value for slot in slots for value in slot.node.inputs[3:5]]
    assert len({value.name for value in operands if value is not None}) == 4
    assert depths(graph.graph, slots) == [0, 1]
    onnx.checker.check_model(ir.to_proto(graph))


def test_what_is_done_already_is_left_alone() -> None:
    graph = ir.from_proto(model(CONV.format(MODES["inference"][1]), **weights()))
    node = next(n for n in graph.graph if n.op_type == "BatchNormalization")
    assert make_ordinary(graph, Context.of(graph), [node]) == ([], [])


REFUSED = {
    "extra-outputs": (17, "y, a, d = BatchNormalization<training_mode = 1>(c, g, b, m, v)", "a"),
    "not-measurable": (6, "y = BatchNormalization<spatial = 0, is_test = 1>(c, g, b, m, v)", ""),
    "unknown-attribute": (17, "y = BatchNormalization<spatial = 1>(c, g, b, m, v)", ""),
    "shape-mismatch": (17, "y = BatchNormalization(c, g3, b, m, v)", ""),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_refusals(reason: str) -> None:
    opset, text, output = REFUSED[reason]
    extra = {"g3": normal(3)} if "g3" in text else {}
    proto = model(CONV.format(text), opset, **weights(), **extra)
    if output:
        proto.graph.output.append(helper.make_tensor_value_info(output, 1, [4]))
    before = ir.to_proto(ir.from_proto(proto)).graph.node
    graph, slots, [kept] = ordinary(proto)
    assert slots == []
    assert kept.reason == reason
    assert ir.to_proto(graph).graph.node == before


def test_statistics_that_another_node_reads() -> None:
    text = CONV.format("y, a, d = BatchNormalization<training_mode = 1>(c, g, b, m, v) f = Relu(a)")
    [kept] = ordinary(model(text, **weights()))[2]
    assert kept.reason == "extra-outputs"
    assert "'a'" in kept.message


def test_whole_numbers_have_no_statistics() -> None:
    text = "g (int32[N,4] x) => (int32[N,4] y) { y = BatchNormalization(x, g, b, m, v) }"
    [kept] = ordinary(model(text, **statistics(4, np.int32)))[2]
    assert kept.reason == "data-type"


def test_types_that_nobody_knows() -> None:
    text = "g (float[N,4] x) => (float[N,4] y) { y = BatchNormalization(x, g, b, m, v) }"
    graph = ir.from_proto(model(text, **statistics(4)))
    node = next(iter(graph.graph))
    for index in range(1, 5):
        node.replace_input_with(index, None)
    graph.graph.inputs[0].type = None
    slots, [kept] = make_ordinary(graph, Context.of(graph))
    assert slots == []
    assert kept.reason in ("data-type", "shape-mismatch")


def test_an_unread_rank_is_not_measurable() -> None:
    proto = model(
        "g (float x) => (float y) { y = BatchNormalization(x, g, b, m, v) }", **statistics(4)
    )
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    assert ordinary(proto)[2][0].reason == "not-measurable"


def test_rank_one_is_not_measurable() -> None:
    proto = model(
        "g (float[4] x) => (float[4] y) { y = BatchNormalization(x, g, b, m, v) }", **statistics(4)
    )
    assert ordinary(proto)[2][0].reason == "not-measurable"


def test_a_batch_norm_in_a_branch_is_not_measurable() -> None:
    text = """g (float[N,4] x, bool p) => (float[N,4] y) {
        y = If(p) <then_branch = t () => (float[N,4] r) { r = BatchNormalization(x, g, b, m, v) },
                   else_branch = e () => (float[N,4] q) { q = Identity(x) }> }"""
    [kept] = ordinary(model(text, **statistics(4)))[2]
    assert kept.reason == "not-measurable"
    assert "then_branch" in kept.message


def test_lengths_may_come_from_any_parameter() -> None:
    text = """g (float[N,C,8,8] x, float[M] g, float[M] b) => (float[N,C,8,8] y) {
        y = BatchNormalization(x, g, b, m, v) }"""
    parts = statistics(4)
    _, [slot], _ = ordinary(model(text, m=parts["m"], v=parts["v"]))
    assert slot.gamma is None
    assert slot.mean is not None


def test_lengths_that_nobody_knows() -> None:
    text = """g (float[N,C,8,8] x, float[M] g, float[M] b, float[M] m, float[M] v)
        => (float[N,C,8,8] y) { y = BatchNormalization(x, g, b, m, v) }"""
    assert ordinary(model(text))[2][0].reason == "shape-mismatch"


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_statistics_keep_their_type(dtype: type) -> None:
    text = MODES["training_mode"][1]
    proto = model(CONV.format(text), **{**weights(dtype=dtype), "W": normal(4, 3, 3, 3)})
    _, [slot], _ = ordinary(proto)
    constant = slot.node.inputs[3]
    assert constant is not None
    assert constant.const_value is not None
    assert constant.const_value.dtype.numpy() == dtype


def test_depth_counts_the_longest_way() -> None:
    text = """g (float[N,4,8,8] x) => (float[N,4,8,8] y, float[N,4,8,8] z) {
        p = BatchNormalization(x, g, b, m, v) q = BatchNormalization(p, g, b, m, v)
        r = Add(x, q) y = BatchNormalization(r, g, b, m, v)
        z = BatchNormalization(x, g, b, m, v) }"""
    graph, slots, _ = ordinary(model(text, **statistics(4)))
    assert [slot.name for slot in slots] == ["p", "q", "y", "z"]
    assert depths(graph.graph, slots) == [0, 1, 2, 0]


DROPOUT = "g (float[N,4] x{}) => (float[N,4] y) {{ y = Dropout{} }}"
ON, OFF = {"t": np.array(True), "r": np.float32(0.5)}, {"t": np.array(False), "r": np.float32(0.5)}


@pytest.mark.parametrize(
    ("opset", "extra", "call", "constants", "off"),
    [
        (13, "", "(x, r, t)", ON, True),
        (13, "", "(x, r, t)", OFF, False),
        (13, "", "(x, r)", {"r": np.float32(0.5)}, False),
        (13, ", bool t", "(x, r, t)", {"r": np.float32(0.5)}, False),
        (7, "", "<ratio = 0.5>(x)", {}, False),
        (6, "", "<ratio = 0.5>(x)", {}, True),
        (6, "", "<is_test = 1>(x)", {}, False),
    ],
)
def test_dropout_is_switched_off(opset, extra, call, constants, off) -> None:
    graph = ir.from_proto(model(DROPOUT.format(extra, call), opset, **constants))
    names = dropout.switch_off(graph, Context.of(graph))
    assert names == (["y"] if off else [])
    node = next(iter(graph.graph))
    if off and opset >= 12:
        assert len(node.inputs) == 2
        x = normal(3, 4)
        np.testing.assert_array_equal(run(ir.to_proto(graph), x=x)[0], x)
    if off and opset < 7:
        assert node.attributes["is_test"].as_int() == 1
