"""The zoo's exports in models/zoo: what bnopt says to them, without TensorFlow."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import bnopt

FOLDER = Path(__file__).parents[1] / "models" / "zoo"
MANIFEST = json.loads((FOLDER / "manifest.json").read_text(encoding="utf-8"))
MODELS: list[dict[str, Any]] = MANIFEST["models"]
RIGHT = [entry for entry in MODELS if entry["right"]]
REPAIRED = [entry for entry in MODELS if entry["repair"] == "calibrate"]
SIDE = 8


def named(entry: dict[str, Any]) -> str:
    return Path(entry["file"]).stem


def errors(found: bnopt.CheckResult) -> list[str]:
    return sorted({finding.code for finding in found.findings if finding.severity == "error"})


def accuracy(model: Path) -> float:
    """Share of the test images read right, one at a time."""
    session = onnxruntime.InferenceSession(model)
    [name] = [value.name for value in session.get_inputs()]
    with np.load(FOLDER / MANIFEST["images"]) as arrays:
        images, labels = arrays["tests"].astype(np.float32) / 16, arrays["labels"]
    answers = [session.run(None, {name: image[None]})[0][0] for image in images]
    return float((np.stack(answers).argmax(axis=-1) == labels).mean())


def test_the_folder_is_what_the_manifest_says() -> None:
    assert {path.name for path in FOLDER.glob("*.onnx")} == {entry["file"] for entry in MODELS}
    for entry in MODELS:
        content = (FOLDER / entry["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == entry["sha256"], entry["file"]
    assert {entry["group"] for entry in MODELS} == {*range(1, 10)}


@pytest.mark.parametrize("entry", MODELS, ids=named)
def test_check(entry: dict[str, Any]) -> None:
    found = errors(bnopt.check(FOLDER / entry["file"]))
    assert found == entry["errors"]
    assert not (entry["right"] and found)


@pytest.mark.parametrize("entry", RIGHT, ids=named)
def test_fold(entry: dict[str, Any]) -> None:
    result = bnopt.fold(FOLDER / entry["file"], set_inputs=entry["set_inputs"])
    summary = result.summary
    assert (summary.found, summary.folded + summary.merged) == (entry["found"], entry["folded"])
    assert entry["found"] == entry["folded"] > 0
    assert result.validation is not None
    assert result.validation.equivalent


@pytest.mark.parametrize("entry", REPAIRED, ids=named)
def test_repair_from_data(entry: dict[str, Any], tmp_path: Path) -> None:
    model, out = FOLDER / entry["file"], tmp_path / "out.onnx"
    [image] = onnx.load(model).graph.input
    if image.type.tensor_type.shape.dim[1].dim_value != SIDE:
        pytest.skip("its images are too large to be kept here")
    with np.load(FOLDER / MANIFEST["images"]) as arrays:
        samples = {image.name: arrays["samples"].astype(np.float32) / 16}
    bnopt.calibrate(model, samples, output=tmp_path / "calibrated.onnx")
    folded = bnopt.fold(tmp_path / "calibrated.onnx", output=out)
    assert folded.summary.found == folded.summary.folded + folded.summary.merged > 0
    assert accuracy(out) >= MANIFEST["learnt"]
