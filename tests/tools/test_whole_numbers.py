"""tools/whole_numbers.py on a network that rounds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import onnx.parser
import pytest

pytest.importorskip("onnxruntime")

TOOL = Path(__file__).resolve().parents[2] / "tools" / "whole_numbers.py"
MODEL = """
<ir_version: 8, opset_import: ["": 17]>
rounds (float[1,2,3,3] x) => (float[1,2,3,3] y)
<float[2,2,1,1] w = {1, 2, 3, 4}, float[1,2,1,1] k = {3, 5}>
{
    c = Conv(x, w)
    d = Mul(c, k)
    y = Floor(d)
}
"""


def test_an_optimizer_that_leaves_it_alone(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "rounds.onnx")
    command = [sys.executable, str(TOOL), str(tmp_path / "rounds.onnx")]
    done = subprocess.run(
        [*command, "--runs", "3", "--peers", "bnopt"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "0 of 3" in done.stdout


def test_an_optimizer_that_changes_it(tmp_path: Path) -> None:
    """A stand-in by the name of a peer that moves every output."""
    onnx.save(onnx.parser.parse_model(MODEL), tmp_path / "rounds.onnx")
    program = f"""
import sys; sys.path.insert(0, {str(TOOL.parent)!r})
import onnx, whole_numbers, _optimizers
def shift(source, target):
    model = onnx.load(source)
    model.graph.node[2].op_type = "Neg"
    onnx.save(model, target)
_optimizers.PEERS["other"] = lambda: shift
sys.argv = ["tool", {str(tmp_path / "rounds.onnx")!r}, "--runs", "3", "--peers", "other"]
sys.exit(whole_numbers.main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "3 of 3" in done.stdout
