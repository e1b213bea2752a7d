"""`fold` with `training_mode`: stop, take the stored statistics, or those of data."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from batch_models import IN_CHAIN, IN_NODE, batch_model
from graphs import conv_bn, model, normal, run, statistics
from onnx import helper

import bnopt
from bnopt.errors import RefusalError, UsageError
from bnopt.remedy.ordinary import make_ordinary
from bnopt.source import Source

X = normal(64, 3, 8, 8)


def training(**replace: np.ndarray) -> onnx.ModelProto:
    proto = conv_bn(**replace)
    proto.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    proto.graph.node[1].output.extend(["rm", "rv"])
    return proto


def fresh() -> dict[str, np.ndarray]:
    return {"m": np.zeros(4, np.float32), "v": np.ones(4, np.float32)}


def test_refuse_is_the_default() -> None:
    with pytest.raises(RefusalError, match="training-mode"):
        bnopt.fold(training())
    with pytest.raises(UsageError, match="training_mode is 'train'"):
        bnopt.fold(training(), training_mode="train")


def test_stored_statistics_without_data() -> None:
    result = bnopt.fold(training(), training_mode="eval")
    assert result.summary.folded == 1
    assert result.calibration is None
    assert result.validation is not None
    assert result.validation.equivalent
    np.testing.assert_allclose(
        run(result.model, x=X)[0], run(conv_bn(), x=X)[0], rtol=1e-4, atol=1e-5
    )
    assert "stored statistics" in result.notes[0]


def test_stored_statistics_are_still_checked() -> None:
    with pytest.raises(RefusalError, match="never-updated"):
        bnopt.fold(training(**fresh()), training_mode="eval")


@pytest.mark.parametrize("body", [IN_NODE, IN_CHAIN.format(axes="0, 2, 3")])
def test_batch_statistics_store_none(body: str) -> None:
    with pytest.raises(RefusalError, match="--data"):
        bnopt.fold(batch_model(body), training_mode="eval")


@pytest.mark.parametrize(
    "proto",
    [
        training(),
        training(**fresh()),
        conv_bn(**fresh()),
        batch_model(IN_NODE),
        batch_model(IN_CHAIN.format(axes="0, 2, 3")),
    ],
)
def test_data_repairs_whatever_is_wrong(proto: onnx.ModelProto, tmp_path) -> None:
    out = tmp_path / "out.onnx"
    result = bnopt.fold(proto, data={"x": X}, training_mode="eval", output=out)
    assert result.calibration is not None
    assert result.calibration.samples == 64
    assert result.summary.folded == 1
    assert not any(finding.severity == "error" for finding in result.findings)
    assert result.validation is not None
    assert result.validation.equivalent
    want = run(bnopt.calibrate(proto, {"x": X}).model, x=X)[0]
    np.testing.assert_allclose(run(onnx.load(out), x=X)[0], want, rtol=1e-4, atol=1e-5)


def test_statistics_that_are_right_are_left() -> None:
    right = bnopt.calibrate(conv_bn(), {"x": X}).model
    result = bnopt.fold(right, data={"x": X}, training_mode="eval")
    assert result.calibration is None
    assert not any("statistics" in note for note in result.notes)


def test_what_cannot_be_put_into_inference_mode() -> None:
    text = """g (float[N,3,8,8] x) => (float[N,4,6,6] y, float[4] a) { c = Conv(x, W)
        y, a, d = BatchNormalization<training_mode = 1>(c, g, b, m, v) }"""
    proto = model(text, W=normal(4, 3, 3, 3), **statistics(4))
    with pytest.raises(RefusalError, match="cannot be put into inference mode"):
        bnopt.fold(proto, training_mode="eval")


def test_inputs_are_bound_once(tmp_path) -> None:
    text = """g (float[N,3,8,8] x, bool t) => (float[N,4,6,6] y) { c = Conv(x, W) y = If(t) <
        then_branch = a () => (float[N,4,6,6] p) {
            p, q, r = BatchNormalization<training_mode = 1>(c, g, b, m, v) },
        else_branch = e () => (float[N,4,6,6] s) { s = BatchNormalization(c, g, b, m, v) }> }"""
    proto = model(text, W=normal(4, 3, 3, 3), **statistics(4))
    result = bnopt.fold(
        proto, set_inputs={"t": True}, training_mode="eval", output=tmp_path / "o.onnx"
    )
    assert result.summary.folded == 1
    assert [value.name for value in result.model.graph.input] == ["x"]
    assert result.bound == ("t",)


def test_constants_without_data_stay_written_out() -> None:
    proto = training()
    scale = helper.make_node("Mul", ["h", "k"], ["scaled"], name="scale")
    shift = helper.make_node("Add", ["scaled", "o"], ["z"], name="shift")
    proto.graph.node.extend([helper.make_node("Relu", ["y"], ["h"]), scale, shift])
    proto.graph.output[0].name = "z"
    for name, value in (("k", 1 / np.sqrt(1 + 1e-3)), ("o", 0.0)):
        full = np.full((1, 4, 1, 1), value, np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(full, name))
    forms = [slot.form for slot in make_ordinary(Source(proto), None, constants=False).slots]
    assert forms == ["batch_normalization"]
    result = bnopt.fold(proto, training_mode="eval", allow=("all",))
    assert [site.form for site in result.sites] == ["batch_normalization", "decomposed"]
