"""From every kind of TensorFlow source to ONNX that computes the same, batch norms kept."""

from __future__ import annotations

import collections
import importlib.util
import os
import signal

import numpy as np
import onnx
import pytest
from frontends import tf_models
from frontends.tf_models import CLASSES, SIZE, built

from bnopt.errors import ExecutionError, LoadError, UsageError
from bnopt.frontends.tensorflow import run
from bnopt.frontends.tensorflow.run import convert
from bnopt.runtime.process import Worker

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("tensorflow", "tf2onnx")),
        reason="needs bnopt[tensorflow]",
    ),
]

own_process = pytest.mark.usefixtures("_own_process")
needs_tf_keras = pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="needs tf-keras"
)


@pytest.fixture(autouse=True)
def _one_process(request, monkeypatch):
    """TensorFlow takes many seconds to import, so conversions share a process where they can."""
    if "_own_process" not in request.fixturenames:
        monkeypatch.setattr(run, "Worker", tf_models.SharedWorker)


@pytest.fixture
def _own_process():
    """For tests of what only a process of its own can show."""


@pytest.fixture
def source(tmp_path):
    """A path for a source, beside the folder of the export."""

    def path(name: str) -> str:
        return str(tmp_path / name)

    return path


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "export"
    made.mkdir()
    return made


def check(converted, *, inputs=("images",), outputs=("logits",), batches=(1, 8)):
    """The ONNX model computes TensorFlow's outputs, under the names that are wanted."""
    model = onnx.load(converted.path)
    assert [value.name for value in model.graph.input] == list(inputs)
    assert [value.name for value in model.graph.output] == list(outputs)
    assert tuple(reference.batch for reference in converted.references) == batches
    feeds = [reference.feeds for reference in converted.references]
    worker = tf_models.shared_worker()
    session = worker.call("bnopt.runtime.session:run", str(converted.path), feeds)
    for reference, results in zip(converted.references, session.outputs, strict=True):
        assert list(reference.feeds) == list(inputs)
        for name, expected in reference.outputs.items():
            np.testing.assert_allclose(results[name], expected, rtol=1e-4, atol=1e-5)
    return model


def operators(model) -> collections.Counter:
    return collections.Counter(node.op_type for node in model.graph.node)


def constants(model) -> list[np.ndarray]:
    return [onnx.numpy_helper.to_array(tensor).squeeze() for tensor in model.graph.initializer]


def holds(model, values: np.ndarray) -> bool:
    return any(
        array.shape == values.shape and np.allclose(array, values, rtol=1e-5, atol=1e-6)
        for array in constants(model)
    )


def factors() -> np.ndarray:
    """What a batch norm of `tf_models` multiplies by, gamma / sqrt(variance + epsilon)."""
    found = tf_models.parameters()
    return found["gamma"] / np.sqrt(found["moving_variance"] + 1e-3)


@pytest.mark.parametrize("resource", [False, True], ids=["reference variables", "resources"])
def test_a_saved_model_of_tensorflow_1(source, folder, resource):
    path = built("saved_model_1", source("model"), resource=resource)
    converted = convert(path, folder=folder)
    model = check(converted, inputs=["x"], outputs=["scores"])
    assert converted.kind == "saved-model"
    assert converted.framework.startswith("tensorflow 2.")
    assert operators(model)["BatchNormalization"] == 1
    for values in tf_models.parameters().values():
        assert holds(model, values)


def test_a_batch_norm_that_is_written_out_stays_so_and_transposes_go(source, folder):
    path = built("saved_model_1", source("model"), fused=False)
    model = check(convert(path, folder=folder), inputs=["x"], outputs=["scores"])
    # Neither grappler nor tf2onnx multiplied the factors into the weights.
    assert holds(model, factors())
    assert operators(model)["Mul"] == operators(model)["Add"] == operators(model)["Conv"] == 1
    assert operators(model)["Transpose"] <= 1


@pytest.mark.parametrize("inner", [{}, {"jit_compile": True}], ids=str)
def test_a_saved_model_of_tensorflow_2(source, folder, inner):
    converted = convert(built("saved_model_2", source("model"), **inner), folder=folder)
    model = check(converted, inputs=["x"], outputs=["scores"])
    assert holds(model, factors())
    assert not any("PartitionedCall" in node.name for node in model.graph.node)


def test_of_several_signatures_one_must_be_named(source, folder):
    path = built("saved_model_2", source("model"), several=True)
    with pytest.raises(UsageError, match="choose one of: first, second"):
        convert(path, folder=folder)
    with pytest.raises(UsageError, match="no signature 'third'; there are: first, second"):
        convert(path, signature="third", folder=folder)
    check(convert(path, signature="second", folder=folder), inputs=["x"], outputs=["scores"])


def test_the_signature_that_serves_is_taken_among_several(source, folder):
    path = built("saved_model_1", source("model"), signatures=("serving_default", "other"))
    check(convert(path, folder=folder), inputs=["x"], outputs=["scores"])


def test_a_frozen_graph_shows_its_own_inputs_and_outputs(source, folder):
    converted = convert(built("frozen_graph", source("graph.pb")), folder=folder)
    assert operators(check(converted))["BatchNormalization"] == 1
    assert "outputs found in the graph: logits" in converted.notes


def test_a_graph_can_be_cut(source, folder):
    path = built("frozen_graph", source("graph.pb"))
    converted = convert(path, inputs=["net/Conv2D"], outputs=["Relu:0"], folder=folder)
    model = check(converted, inputs=["net/Conv2D"], outputs=["Relu"])
    assert "Conv" not in operators(model)
    with pytest.raises(UsageError, match="no tensor 'absent:0'"):
        convert(path, outputs=["absent"], folder=folder)


def test_every_output_has_a_name_and_a_tensor_of_its_own(source, folder):
    path = built("frozen_graph", source("graph.pb"))
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
    path = built("unfrozen_graph", source("graph.pb"))
    with pytest.raises(LoadError, match=r"not frozen.*give the checkpoint"):
        convert(path, folder=folder)


def test_a_checkpoint_names_its_candidates_and_leaves_training_out(source, folder):
    path = built("checkpoint", source(""))
    with pytest.raises(UsageError, match=r"name the outputs; candidates: logits$"):
        convert(path, folder=folder)
    converted = convert(path, outputs=["logits"], folder=folder)
    assert operators(check(converted))["BatchNormalization"] == 1
    assert converted.kind == "checkpoint"


def test_a_result_that_only_a_summary_reads_is_the_model_s(source, folder):
    path = built("checkpoint", source(""), summarised=True)
    converted = convert(path, folder=folder)
    check(converted, outputs=["probabilities"])
    assert "outputs found in the graph: probabilities" in converted.notes


def test_a_checkpoint_without_moving_statistics_says_so(source, folder):
    path = built("checkpoint", source(""), only_trainable=True)
    with pytest.raises(LoadError, match=r"no value for variable 'net/bn/moving_.*1 more.*Saver"):
        convert(path, outputs=["logits"], folder=folder)


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
    path = built("keras_file", source(name), world)
    converted = convert(path, folder=folder)
    model = check(converted, inputs=["photo"], outputs=["scores"])
    assert converted.kind == "keras"
    assert holds(model, factors()) or operators(model)["BatchNormalization"] == 1
    assert operators(model)["Transpose"] <= 1


def test_what_is_computed_from_constants_becomes_a_constant():
    left = built("folded_constants")
    assert "inner" not in left
    assert left["add"] == "Const"
    assert left["result"] == "Sqrt"
    assert left["late"] == "Exp"
    assert left["of_drawn"] == "Exp"
    assert left["large"] == "Fill"
    assert "before" not in left


def test_a_grouped_convolution_of_keras(source, folder):
    path = built("keras_file", source("model.keras"), groups=3)
    check(convert(path, folder=folder), inputs=["photo"], outputs=["scores"])


@pytest.mark.parametrize("fresh", [False, True], ids=["trained", "fresh"])
@pytest.mark.parametrize(
    ("build", "name"),
    [("saved_model_1", "model"), ("checkpoint", ""), ("keras_file", "model.keras")],
)
def test_variables_are_compared_with_what_they_started_from(source, folder, build, name, fresh):
    path = built(build, source(name), fresh=fresh)
    outputs = ["logits"] if build == "checkpoint" else None
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


@needs_tf_keras
def test_python_code_in_a_model_is_not_run(source, folder):
    path = built("keras_lambda", source("model.h5"))
    with pytest.raises(LoadError, match="Lambda layer, whose Python code"):
        convert(path, folder=folder)


@pytest.mark.parametrize(
    "what", ["keras", pytest.param("tf_keras", marks=needs_tf_keras), "function", "concrete"]
)
def test_python_objects(folder, what):
    converted = built("converted_object", what, str(folder))
    name = "x" if what in ("function", "concrete") else "photo"
    output = "output_0" if what in ("function", "concrete") else "scores"
    check(converted, inputs=[name], outputs=[output])


def test_a_switch_is_bound_to_a_value(source, folder):
    path = built("switched", source("graph.pb"))
    converted = convert(path, set_inputs={"is_training": False}, folder=folder)
    model = check(converted, outputs=["out"])
    assert "Where" not in operators(model)
    images = converted.references[0].feeds["images"]
    np.testing.assert_array_equal(converted.references[0].outputs["out"], images * 2)
    with pytest.raises(UsageError, match="no placeholder 'training' to set; there are: images"):
        convert(path, set_inputs={"training": False}, folder=folder)


def test_a_switch_that_stays_is_off_in_the_references(source, folder):
    path = built("switched", source("graph.pb"))
    converted = convert(path, folder=folder)
    check(converted, inputs=["images", "is_training"], outputs=["out"])
    assert not converted.references[0].feeds["is_training"]
    with pytest.raises(UsageError, match="depend on placeholder 'is_training': name it"):
        convert(path, inputs=["images"], folder=folder)


def test_a_fixed_batch_is_the_only_one(source, folder):
    converted = convert(built("fixed_batch", source("graph.pb")), folder=folder)
    check(converted, inputs=["x"], outputs=["y"], batches=(4,))
    assert "the batch is fixed at 4" in converted.notes


def test_references_depend_on_nothing_but_the_seed(source, folder):
    path = built("frozen_graph", source("graph.pb"))
    first, second = (convert(path, batch_sizes=[3], folder=folder).references for _ in range(2))
    feed = first[0].feeds["images"]
    assert feed.shape == (3, SIZE, SIZE, 3)
    assert first[0].outputs["logits"].shape == (3, CLASSES)
    assert feed.min() < -1 < 1 < feed.max()
    np.testing.assert_array_equal(feed, second[0].feeds["images"])


def test_an_operator_that_tf2onnx_does_not_know_is_named(source, folder):
    path = built("unknown_operator", source("graph.pb"))
    with pytest.raises(ExecutionError, match="tf2onnx cannot convert: BesselI0e"):
        convert(path, folder=folder)
    assert not (folder / "model.onnx").exists()


def test_an_opset_that_nobody_has(source, folder):
    path = built("fixed_batch", source("graph.pb"))
    with pytest.raises(UsageError, match="no opset 99"):
        convert(path, opset=99, folder=folder)


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


@own_process
def test_too_little_time_is_one_line(source, folder):
    path = built("fixed_batch", source("graph.pb"))
    with pytest.raises(ExecutionError, match=r"no answer within 0\.1 s"):
        convert(path, folder=folder, timeout=0.1)


def test_nothing_of_tensorflow_is_imported_by_the_parent(source, folder):
    path = built("fixed_batch", source("graph.pb"))
    with tf_models.fresh_worker() as worker:
        loaded = worker.call("frontends.tf_models:modules_after_an_export", path, str(folder))
    assert not [name for name in loaded if name.startswith(("tensorflow", "keras", "tf2onnx"))]


@own_process
def test_a_crash_of_the_child_is_one_line(source, folder, monkeypatch):
    path = built("fixed_batch", source("graph.pb"))
    start = Worker._start

    def doomed(self):
        process = start(self)
        os.kill(process.pid, signal.SIGSEGV)
        return process

    monkeypatch.setattr(Worker, "_start", doomed)
    with pytest.raises(ExecutionError, match=r"export of .*graph\.pb: crashed \(SIGSEGV\)"):
        convert(path, folder=folder)
