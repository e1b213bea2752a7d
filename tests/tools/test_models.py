"""The models of the repository are what models/README.md says, without PyTorch to ask."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

MODELS = Path(__file__).resolve().parents[2] / "models"
README = (MODELS / "README.md").read_text(encoding="utf-8")
SUMS = re.findall(r"^([0-9a-f]{64})  (\S+)$", README, flags=re.MULTILINE)


@pytest.fixture(scope="module")
def digits() -> onnx.ModelProto:
    return onnx.load(MODELS / "digits_cnn.onnx")


def test_every_file_is_in_the_readme() -> None:
    present = {path.name for path in MODELS.iterdir()} - {"README.md", "zoo"}
    assert {name for _, name in SUMS} == present


@pytest.mark.parametrize(("digest", "name"), SUMS, ids=[name for _, name in SUMS])
def test_checksum(digest: str, name: str) -> None:
    assert hashlib.sha256((MODELS / name).read_bytes()).hexdigest() == digest


def test_batch_norms_are_inference_nodes_with_moved_statistics(digits: onnx.ModelProto) -> None:
    onnx.checker.check_model(digits, full_check=True)
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in digits.graph.initializer}
    nodes = [node for node in digits.graph.node if node.op_type == "BatchNormalization"]
    assert len(nodes) == 7
    for node in nodes:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        assert attributes.get("training_mode", 0) == 0
        assert len(node.output) == 1
        mean, variance = (weights[name] for name in node.input[3:5])
        assert not np.allclose(mean, 0), node.name
        assert not np.allclose(variance, 1), node.name
        assert np.all(variance > 0), node.name


def test_accuracy_is_what_the_readme_says() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    stated = re.search(r"test accuracy \| (\d+)/(\d+)", README)
    assert stated is not None
    images = np.load(MODELS / "digits_test.npz")["image"]
    labels = np.load(MODELS / "digits_test_labels.npy")
    session = onnxruntime.InferenceSession(
        MODELS / "digits_cnn.onnx", providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(None, {"image": images})
    assert len(labels) == int(stated[2])
    assert int((logits.argmax(axis=1) == labels).sum()) >= int(stated[1])
