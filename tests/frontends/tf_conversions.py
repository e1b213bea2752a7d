"""What tests of the TensorFlow front end ask of a converted model."""

from __future__ import annotations

import collections
import importlib.util

import numpy as np
import onnx
import pytest
from frontends import tf_models

# Of a module of tests that convert.
MARKS = [
    pytest.mark.slow,
    pytest.mark.usefixtures("shared_process"),
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("tensorflow", "tf2onnx")),
        reason="needs bnopt[tensorflow]",
    ),
]
needs_tf_keras = pytest.mark.skipif(
    importlib.util.find_spec("tf_keras") is None, reason="needs tf-keras"
)


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


def assert_one_batch_norm(model) -> None:
    """It has the numbers of `tf_models`; nothing was multiplied into the weights."""
    assert operators(model)["BatchNormalization"] == 1
    assert "Mul" not in operators(model)
    for values in tf_models.parameters().values():
        assert holds(model, values)
