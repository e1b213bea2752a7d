"""Options, limits and failures of a conversion, and the process it runs in."""

from __future__ import annotations

import os
import signal

import numpy as np
import pytest
from frontends import tf_models
from frontends.tf_conversions import MARKS, check, operators
from frontends.tf_models import CLASSES, SIZE, built

from bnopt.errors import ExecutionError, UsageError
from bnopt.frontends.tensorflow.run import convert
from bnopt.runtime.process import Worker

pytestmark = MARKS

own_process = pytest.mark.usefixtures("own_process")


def test_what_is_computed_from_constants_becomes_a_constant():
    left = built("folded_constants")
    assert "inner" not in left
    assert left["add"] == "Const"
    assert left["result"] == "Sqrt"
    assert left["late"] == "Exp"
    assert left["of_drawn"] == "Exp"
    assert left["large"] == "Fill"
    assert "before" not in left


def test_a_switch_is_bound_to_a_value(source, folder):
    path = built("switched", source("graph.pb"))
    converted = convert(path, set_inputs={"is_training": False}, folder=folder)
    model = check(converted, outputs=["out"])
    assert "Where" not in operators(model)
    images = converted.references[0].feeds["images"]
    np.testing.assert_array_equal(converted.references[0].outputs["out"], images * 2)
    with pytest.raises(UsageError, match="no placeholder 'training' to set; there are: images"):
        convert(path, set_inputs={"training": False}, folder=folder)
    with pytest.raises(UsageError, match=r"^cannot set 'is_training' to 'perhaps': "):
        convert(path, set_inputs={"is_training": "perhaps"}, folder=folder)


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
    path = built("tf1_sources:frozen_graph", source("graph.pb"))
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
