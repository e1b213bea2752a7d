"""Switches that are kept in variables, or declare no shape; inputs that decide nothing."""

from __future__ import annotations

import numpy as np
import pytest
from frontends.tf_conversions import MARKS, check, operators
from frontends.tf_models import built

from bnopt.errors import UsageError
from bnopt.frontends.tensorflow.run import convert

pytestmark = MARKS


@pytest.mark.parametrize("resource", [False, True], ids=["reference", "resource"])
@pytest.mark.parametrize("saved", [False, True])
def test_a_flag_in_a_variable_is_a_constant(source, folder, saved, resource):
    path = built("tf1_sources:flag_in_a_variable", source("ck"), value=saved, resource=resource)
    ends = {"inputs": ["net/x:0"], "outputs": ["net/y:0"], "folder": folder}
    converted = convert(path, **ends)
    assert ("training-mode" in {finding.code for finding in converted.findings}) == saved
    ends_in_onnx = {"inputs": ["net/x"], "outputs": ["net/y"]}
    model = check(converted, **ends_in_onnx)
    assert operators(model)["BatchNormalization"] == (not saved)
    assert not operators(model)["If"]
    name = "net/is_training"
    bound = convert(path, set_inputs={name: "false"}, **ends)
    assert bound.findings == ()
    assert operators(check(bound, **ends_in_onnx))["BatchNormalization"] == 1
    with pytest.raises(UsageError, match=f"cannot set '{name}' to 'perhaps'"):
        convert(path, set_inputs={name: "perhaps"}, **ends)


def test_inputs_that_decide_nothing_are_left_out(source, folder):
    path = built("tf1_sources:unused_input", source("model"))
    converted = convert(path, folder=folder)
    check(converted, inputs=["is_training", "x"], outputs=["y"])
    assert any("'unused' is left out" in note for note in converted.notes)
    # A switch without a shape is off.
    feeds, outputs = converted.references[0].feeds, converted.references[0].outputs
    np.testing.assert_array_equal(outputs["y"], feeds["x"] * 2)
