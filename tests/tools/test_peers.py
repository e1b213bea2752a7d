"""How tools/peers.py judges a result; the peers themselves are not needed for that."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx.parser
import peers
import pytest

pytest.importorskip("onnxruntime")

MODEL = """
<ir_version: 8, opset_import: ["": 17]>
main (float[N,2,3,3] x) => (float[N,2,3,3] y)
<float[2] g = {GAMMA, 2}, float[2] b = {3, 4}, float[2] m = {0.5, -0.5}, float[2] v = {2, 3}>
{ y = BatchNormalization(x, g, b, m, v) }
"""


def save(path: Path, gamma: float) -> str:
    onnx.save(onnx.parser.parse_model(MODEL.replace("GAMMA", str(gamma))), path)
    return str(path)


def judge(tmp_path: Path, target: str) -> dict[str, object]:
    source = save(tmp_path / "source.onnx", 1.0)
    return peers._judge({"source": source, "target": target, "faults": []})


def test_same_model_is_ok(tmp_path: Path) -> None:
    verdict = judge(tmp_path, save(tmp_path / "target.onnx", 1.0))
    assert (verdict["state"], verdict["left"]) == ("ok", 1)


def test_one_channel_off_is_wrong(tmp_path: Path) -> None:
    verdict = judge(tmp_path, save(tmp_path / "target.onnx", 1.001))
    assert verdict["state"] == "WRONG"
    assert "y" in str(verdict["message"])


def test_unknown_input_is_invalid(tmp_path: Path) -> None:
    target = tmp_path / "target.onnx"
    model = onnx.parser.parse_model(MODEL.replace("GAMMA", "1"))
    model.graph.node[0].input[0] = "nowhere"
    target.write_bytes(model.SerializeToString())
    verdict = judge(tmp_path, str(target))
    assert verdict["state"] == "INVALID"
    assert peers.LOAD_FAULT in str(verdict["message"])


def test_totals() -> None:
    ok = peers.Record("a", 5, 1, "ok", "", 2.0, 3.0, 100.0)
    bad = peers.Record("b", 4, 4, "CRASHED", "SIGSEGV", None, 1.0, 50.0)
    row = peers.total_row("peer", [ok, bad], 0.5)
    assert row == ["peer", "5", "0", "0", "0", "1", "0", "0", "2.000", "4.00", "2.00", "75", "100"]
