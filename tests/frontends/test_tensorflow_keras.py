"""From Keras models, of Keras 3 and tf-keras, as files, SavedModels or objects, to ONNX."""

from __future__ import annotations

import re

import numpy as np
import pytest
from frontends.tf_conversions import MARKS, assert_one_batch_norm, check, needs_tf_keras, operators
from frontends.tf_models import built, parameters

from bnopt.errors import LoadError
from bnopt.frontends.tensorflow.run import convert

pytestmark = MARKS


@pytest.mark.parametrize(
    ("name", "world"),
    [
        ("model.keras", "keras"),
        ("model.h5", "keras"),
        pytest.param("model.h5", "tf_keras", marks=needs_tf_keras),
        pytest.param("model.keras", "tf_keras", marks=needs_tf_keras),
    ],
)
def test_keras_files(source, folder, name, world):
    path = built("tf2_sources:keras_file", source(name), world)
    converted = convert(path, folder=folder)
    model = check(converted, inputs=["photo"], outputs=["scores"])
    assert converted.kind == "keras"
    assert_one_batch_norm(model)
    assert operators(model)["Transpose"] <= 1


def test_a_grouped_convolution_of_keras(source, folder):
    path = built("tf2_sources:keras_file", source("model.keras"), groups=3)
    check(convert(path, folder=folder), inputs=["photo"], outputs=["scores"])


@needs_tf_keras
def test_python_code_in_a_model_is_not_run(source, folder):
    path = built("tf2_sources:keras_lambda", source("model.h5"))
    with pytest.raises(LoadError, match="Lambda layer, whose Python code"):
        convert(path, folder=folder)


@pytest.mark.parametrize(
    ("what", "name", "output"),
    [
        ("keras", "photo", "scores"),
        pytest.param("tf_keras", "photo", "scores", marks=needs_tf_keras),
        ("subclass", "args_0", "output_0"),
        ("function", "x", "output_0"),
        ("concrete", "x", "output_0"),
    ],
)
def test_python_objects(folder, what, name, output):
    converted = built("tf2_sources:converted_object", what, str(folder))
    check(converted, inputs=[name], outputs=[output])


def test_names_that_tensorflow_has_not(folder):
    converted = built("tf2_sources:converted_foreign_name", str(folder))
    check(converted, inputs=["Bild___1"], outputs=["scores"])


def test_variables_that_only_the_objects_of_a_saved_model_restore(source, folder):
    path = built("tf2_sources:keras_by_tensorflow", source("model"))
    converted = convert(path, folder=folder)
    assert "read from its checkpoint" in converted.notes[0]
    assert converted.notes[0].startswith("7 variables")
    check(converted, inputs=["photo"], outputs=["output_0"])
    for reference in converted.references:
        expected = built("tf2_sources:served", path, reference.feeds["photo"])
        np.testing.assert_allclose(reference.outputs["output_0"], expected, rtol=1e-4, atol=1e-5)
    lowest = {variable.role: variable.low for variable in converted.variables}
    assert lowest == {role: pytest.approx(values.min()) for role, values in parameters().items()}


def test_objects_that_are_not_those_of_the_checkpoint(source, folder):
    path = built("tf2_sources:keras_by_tensorflow", source("model"), renamed=True)
    with pytest.raises(LoadError, match="no value for variable"):
        convert(path, folder=folder)


@pytest.mark.parametrize(
    ("world", "nested", "trains"),
    [
        # A functional model of Keras 3 tells its layers what it was told itself, as predict() does.
        ("keras", False, False),
        ("keras", True, True),
        pytest.param("tf_keras", False, True, marks=needs_tf_keras),
        pytest.param("tf_keras", True, True, marks=needs_tf_keras),
    ],
)
def test_a_layer_that_is_told_to_train(folder, world, nested, trains):
    converted = built("tf2_sources:converted_hard_wired", world, str(folder), nested=nested)
    check(converted, inputs=["photo"], outputs=["scores"])
    found = [(one.code, one.severity) for one in converted.findings]
    assert found.count(("training-mode", "error")) == trains


@pytest.mark.parametrize(
    ("momentum", "fast"), [(0.01, True), (0.5, True), (0, True), (0.51, False)]
)
@pytest.mark.parametrize(
    ("name", "world"),
    [("model.keras", "keras"), pytest.param("model.h5", "tf_keras", marks=needs_tf_keras)],
)
def test_a_file_tells_its_momentum(source, folder, name, world, momentum, fast):
    path = built("tf2_sources:keras_file", source(name), world, momentum=momentum)
    found = convert(path, folder=folder).findings
    assert [(one.code, one.severity) for one in found] == [("fast-average", "warning")] * fast
    if fast:
        assert f"a decay of {momentum:.3g}" in found[0].message
        assert list(found[0].evidence["rates"].values()) == [pytest.approx(1 - momentum)] * 2


@pytest.mark.parametrize("what", ["keras", pytest.param("tf_keras", marks=needs_tf_keras)])
def test_an_object_tells_its_momentum(folder, what):
    converted = built("tf2_sources:converted_object", what, str(folder), momentum=0.1)
    assert [one.code for one in converted.findings] == ["fast-average"]


def test_averages_that_never_moved_are_not_called_fast(source, folder):
    path = built("tf2_sources:keras_file", source("model.keras"), fresh=True, momentum=0.01)
    assert [one.code for one in convert(path, folder=folder).findings] == ["never-updated"]


WORLDS = ["keras", pytest.param("tf_keras", marks=needs_tf_keras)]


@pytest.mark.parametrize("kind", ["list", "dict", "ordered"])
@pytest.mark.parametrize("world", WORLDS)
def test_inputs_and_outputs_are_the_model_s_and_in_its_order(folder, world, kind):
    converted, expected = built("tf2_sources:converted_two_ways", world, str(folder), kind)
    inputs, outputs = ["zeta", "alpha"], ["price", "age"]
    if kind == "dict" or (kind, world) == ("ordered", "tf_keras"):
        # Keras itself sorts the keys.
        inputs.sort()
        outputs.sort()
    check(converted, inputs=inputs, outputs=outputs)
    for name, values in expected.items():
        given = converted.references[0].outputs[name]
        np.testing.assert_allclose(given, values, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("world", WORLDS)
def test_a_fitted_sequential_takes_any_batch(folder, world):
    converted = built("tf2_sources:converted_fitted", world, str(folder))
    assert [reference.batch for reference in converted.references] == [1, 8]
    assert not any("fixed" in note for note in converted.notes)


@needs_tf_keras
def test_layer_norm_is_not_written_as_a_batch_norm(folder):
    converted = built("tf2_sources:converted_layer_norm", str(folder))
    model = check(converted, inputs=["photo"], outputs=["scores"])
    found = operators(model)
    assert (found["BatchNormalization"], found["InstanceNormalization"]) == (1, 1)
    assert converted.findings == ()


def test_what_others_call_momentum_is_not_taken_for_keras_s(folder):
    assert built("tf2_sources:converted_own_momentum", str(folder)).findings == ()


def test_a_layer_that_is_called_twice_has_one_set_of_parameters(folder):
    converted = built("tf2_sources:converted_shared", str(folder))
    model = check(converted, inputs=["left", "right"], outputs=["apart"])
    norms = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    assert len(norms) == 2
    assert list(norms[0].input[1:]) == list(norms[1].input[1:])


@pytest.mark.parametrize("never", [0, 1])
def test_equal_names_are_told_apart(folder, never):
    converted = built("tf2_sources:converted_shared", str(folder), never=never)
    [finding] = converted.findings
    assert (finding.code, finding.severity) == ("never-updated", "warning")
    initial = {v.name: v.initial for v in converted.variables if v.role.startswith("moving")}
    assert sorted(initial.values()) == [False, False, True, True]
    assert all(initial[name] for name in re.findall(r"'(\S+moving_\S+)'", finding.message))


def test_a_class_of_the_user_s_is_named(source, folder):
    path = built("tf2_sources:keras_own_class", source("model.keras"))
    built("tf2_sources:forgotten_classes")
    with pytest.raises(LoadError, match=r"'Scale' is no class of Keras.*bnopt\.export"):
        convert(path, folder=folder)
