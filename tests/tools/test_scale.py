"""tools/scale.py at a small size: the generated models are sound and fold completely."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import _wide
import onnx

TOOL = Path(__file__).resolve().parents[2] / "tools" / "scale.py"


def test_generated_models_are_valid(tmp_path: Path) -> None:
    wide, chain = tmp_path / "wide.onnx", tmp_path / "chain.onnx"
    assert _wide.write(wide, 1) == 2
    _wide.write_chain(chain, 3)
    for path in (wide, chain):
        onnx.checker.check_model(path, full_check=True)


def test_both_parts_fold_everything(tmp_path: Path) -> None:
    options = ["--gigabytes", "0.001", "--pairs", "5", "--folder", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, str(TOOL), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "found 2, kept 0" in done.stdout
    assert list(tmp_path.iterdir()) == []
