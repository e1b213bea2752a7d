"""From a SavedModel, a frozen graph or a checkpoint to ONNX that computes the same."""

from __future__ import annotations

import pytest
from frontends import tf_models
from frontends.tf_conversions import MARKS, assert_one_batch_norm, check, operators
from frontends.tf_models import built

from bnopt.errors import LoadError, UsageError
from bnopt.frontends.tensorflow.run import convert

pytestmark = MARKS


@pytest.mark.parametrize("resource", [False, True], ids=["reference variables", "resources"])
def test_a_saved_model_of_tensorflow_1(source, folder, resource):
    path = built("tf1_sources:saved_model_1", source("model"), resource=resource)
    converted = convert(path, folder=folder)
    model = check(converted, inputs=["x"], outputs=["scores"])
    assert converted.kind == "saved-model"
    assert converted.framework.startswith("tensorflow 2.")
    assert_one_batch_norm(model)


def test_a_batch_norm_that_is_written_out_is_one_node_and_transposes_go(source, folder):
    path = built("tf1_sources:saved_model_1", source("model"), fused=False)
    model = check(convert(path, folder=folder), inputs=["x"], outputs=["scores"])
    assert_one_batch_norm(model)
    assert operators(model)["Transpose"] <= 1


@pytest.mark.parametrize("inner", [{}, {"jit_compile": True}], ids=str)
def test_a_saved_model_of_tensorflow_2(source, folder, inner):
    converted = convert(built("tf2_sources:saved_model_2", source("model"), **inner), folder=folder)
    model = check(converted, inputs=["x"], outputs=["scores"])
    assert_one_batch_norm(model)
    assert not any("PartitionedCall" in node.name for node in model.graph.node)


def test_of_several_signatures_one_must_be_named(source, folder):
    path = built("tf2_sources:saved_model_2", source("model"), several=True)
    with pytest.raises(UsageError, match="choose one of: first, second"):
        convert(path, folder=folder)
    with pytest.raises(UsageError, match="no signature 'third'; there are: first, second"):
        convert(path, signature="third", folder=folder)
    check(convert(path, signature="second", folder=folder), inputs=["x"], outputs=["scores"])


def test_the_signature_that_serves_is_taken_among_several(source, folder):
    path = built(
        "tf1_sources:saved_model_1", source("model"), signatures=("serving_default", "other")
    )
    check(convert(path, folder=folder), inputs=["x"], outputs=["scores"])


def test_a_frozen_graph_shows_its_own_inputs_and_outputs(source, folder):
    converted = convert(built("tf1_sources:frozen_graph", source("graph.pb")), folder=folder)
    assert operators(check(converted))["BatchNormalization"] == 1
    assert "outputs found in the graph: logits" in converted.notes


def test_a_graph_can_be_cut(source, folder):
    path = built("tf1_sources:frozen_graph", source("graph.pb"))
    converted = convert(path, inputs=["net/Conv2D"], outputs=["Relu:0"], folder=folder)
    model = check(converted, inputs=["net/Conv2D"], outputs=["Relu"])
    assert "Conv" not in operators(model)
    with pytest.raises(UsageError, match="no tensor 'absent:0'"):
        convert(path, outputs=["absent"], folder=folder)


def test_every_output_has_a_name_and_a_tensor_of_its_own(source, folder):
    path = built("tf1_sources:frozen_graph", source("graph.pb"))
    converted = convert(path, outputs=["images", "logits"], folder=folder)
    check(converted, outputs=["images_output", "logits"])
    assert "output 'images' is called 'images_output': an input has that name" in converted.notes


def test_batch_norms_of_equal_statistics_do_not_share_them(source, folder):
    converted = convert(built("twins", source("graph.pb")), folder=folder)
    norms = [
        node
        for node in check(converted, inputs=["x"], outputs=["y"]).graph.node
        if node.op_type == "BatchNormalization"
    ]
    assert len(norms) == 2
    assert not set(norms[0].input[1:]) & set(norms[1].input[1:])


def test_a_graph_without_values_is_refused(source, folder):
    path = built("tf1_sources:unfrozen_graph", source("graph.pb"))
    with pytest.raises(LoadError, match=r"not frozen.*give the checkpoint"):
        convert(path, folder=folder)


def test_a_checkpoint_names_its_candidates_and_leaves_training_out(source, folder):
    path = built("tf1_sources:checkpoint", source(""))
    with pytest.raises(UsageError, match=r"name the outputs; candidates: logits$"):
        convert(path, folder=folder)
    converted = convert(path, outputs=["logits"], folder=folder)
    assert operators(check(converted))["BatchNormalization"] == 1
    assert converted.kind == "checkpoint"


def test_a_result_that_only_a_summary_reads_is_the_model_s(source, folder):
    path = built("tf1_sources:checkpoint", source(""), summarised=True)
    converted = convert(path, folder=folder)
    check(converted, outputs=["probabilities"])
    assert "outputs found in the graph: probabilities" in converted.notes


def test_a_checkpoint_without_moving_statistics_says_so(source, folder):
    path = built("tf1_sources:checkpoint", source(""), only_trainable=True)
    with pytest.raises(LoadError, match=r"no value for variable 'net/bn/moving_.*1 more.*Saver"):
        convert(path, outputs=["logits"], folder=folder)


@pytest.mark.parametrize("fresh", [False, True], ids=["trained", "fresh"])
@pytest.mark.parametrize(
    ("build", "name"),
    [
        ("tf1_sources:saved_model_1", "model"),
        ("tf1_sources:checkpoint", ""),
        ("tf2_sources:keras_file", "model.keras"),
    ],
)
def test_variables_are_compared_with_what_they_started_from(source, folder, build, name, fresh):
    path = built(build, source(name), fresh=fresh)
    outputs = None if name else ["logits"]
    found = {
        variable.role: variable
        for variable in convert(path, outputs=outputs, folder=folder).variables
        if variable.name.endswith(f"/{variable.role}")
    }
    for role, values in tf_models.parameters().items():
        assert found[role].initial is fresh
        if not fresh:
            assert found[role].low == pytest.approx(values.min())
            assert found[role].high == pytest.approx(values.max())


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("graph.pb", b"not a protocol buffer"),
        ("graph.pb", b""),
        ("model.keras", b"PK\x03\x04 and no more"),
        ("model.h5", b"\x89HDF\r\n\x1a\n and no more"),
    ],
)
def test_damaged_files_are_one_line(tmp_path, folder, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(LoadError) as caught:
        convert(path, folder=folder)
    assert str(path) in caught.value.message
    assert "\n" not in caught.value.message


def test_a_switch_of_a_function_is_told_by_the_name_of_the_input(source, folder):
    path = built("tf2_sources:saved_switch", source("model"))
    [finding] = convert(path, folder=folder).findings
    assert finding.code == "training-switch"
    assert finding.evidence["inference"] is False
    assert "--set-input training=false" in finding.fix
    bound = convert(path, set_inputs={"training": "false"}, folder=folder)
    assert bound.findings == ()
    assert operators(check(bound, inputs=["x"], outputs=["y"]))["BatchNormalization"] == 1
