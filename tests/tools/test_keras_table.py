"""tools/keras_table.py: the page it writes, and one network of keras.applications for real."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import keras_table
import pytest

TOOL = Path(keras_table.__file__)


def test_what_is_left_or_failed_is_on_the_page() -> None:
    rows = [
        keras_table.Row("Some", 5, 2, "2 shared-output", 1e-7, 2e-7, True, 3.4),
        keras_table.Row("Other", 4, 0, "", 1e-7, 0.5, False, 3.4),
        keras_table.Row("None", error="crashed: no memory"),
    ]
    page = keras_table.page(rows, 75)
    assert "Of 9 batch norms 2 are left" in page.replace("\n", " ")
    assert "75 x 75" in page
    lines = [line for line in page.splitlines() if line.startswith("| ")][2:]
    assert [line.split(" | ")[-1] for line in lines] == ["ok |", "DIFFERS |", "FAILED |"]
    assert "| 5 | 2 | 2 shared-output |" in lines[0]
    assert "crashed: no memory" in lines[2]


@pytest.mark.slow
def test_a_network_exports_folds_and_matches_keras(tmp_path: Path) -> None:
    for name in ("tensorflow", "tf2onnx"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed")
    page = tmp_path / "keras.md"
    command = [sys.executable, str(TOOL), "--only", "MobileNetV2", "--markdown", str(page)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| MobileNetV2 | 52 | 0 |" in page.read_text(encoding="utf-8")
