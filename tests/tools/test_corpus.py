"""tools/corpus.py on a folder of models small enough to see."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import onnx.parser
import pytest

pytest.importorskip("onnxruntime")

TOOL = Path(__file__).resolve().parents[2] / "tools" / "corpus.py"

MODEL = """
<ir_version: 8, opset_import: ["": 17]>
main (float[N,2,3,3] x) => (float[N,2,3,3] z)
<float[2,2,1,1] w = {1, 2, 3, 4}, float[2] g = {1, 2}, float[2] b = {3, 4},
 float[2] m = {0.5, -0.5}, float[2] v = {2, 3}>
{
    c = Conv(x, w)
    y = BatchNormalization(c, g, b, m, v)
    r = Sigmoid(y)
    z = BatchNormalization(r, g, b, m, v)
}
"""


def run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "sound.onnx")
    return tmp_path


def test_table_and_total(folder: Path) -> None:
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 not-linear" in done.stdout
    assert "1 models: 2 batch norms found, 1 folded, 0 merged, 1 kept" in done.stdout


def test_json_records(folder: Path) -> None:
    (record,) = json.loads(run(folder, "--json").stdout)
    assert (record["state"], record["found"], record["folded"]) == ("ok", 2, 1)
    assert (record["batch_norms_left"], record["decomposed_left"]) == (1, 0)
    assert record["max_abs"] <= record["tolerance"]


def test_unreadable_model_is_refused_but_is_no_failure(folder: Path) -> None:
    (folder / "text.onnx").write_text("no model at all")
    done = run(folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 ok, 1 refused" in done.stdout


def test_fewer_batch_norms_than_the_manifest_counts_is_a_failure(folder: Path) -> None:
    entries = [{"file": "sound.onnx", "batchnorm_nodes": 3}]
    (folder / "manifest.json").write_text(json.dumps(entries))
    done = run(folder)
    assert done.returncode == 1
    assert "MISSED" in done.stdout


def test_time_limit_is_a_failure_of_that_model_only(folder: Path) -> None:
    done = run(folder, "--timeout", "0.05", "--json")
    assert done.returncode == 1
    assert [record["state"] for record in json.loads(done.stdout)] == ["CRASHED"]


def test_empty_folder_is_a_usage_error(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 2
    assert "no *.onnx" in done.stderr
