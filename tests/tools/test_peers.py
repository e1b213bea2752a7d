"""How tools/peers.py judges and counts; the peers themselves are not needed for that."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import _graphs
import _peers_report
import _records
import _tables
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
    told = _graphs.faults(Path(target))
    return peers._judge({"source": source, "target": target, "faults": [], "target_faults": told})


def test_same_model_is_ok(tmp_path: Path) -> None:
    assert judge(tmp_path, save(tmp_path / "target.onnx", 1.0))["state"] == "ok"


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
    assert _records.LOAD_FAULT in str(verdict["message"])


def test_bnopt_tells_what_it_keeps(tmp_path: Path) -> None:
    source, target = save(tmp_path / "source.onnx", 1.0), str(tmp_path / "target.onnx")
    job = {"kind": "optimize", "peer": "bnopt", "source": source, "target": target}
    told = peers.work(job)
    assert [(site, reason) for site, _, reason, _ in told["kept"]] == [("main:y", "graph-input")]
    assert (told["shifts"], Path(target).exists()) == (0, True)


PADDED = """
<ir_version: 8, opset_import: ["": 17]>
main (float[N,2,3,3] x) => (float[N,1,3,3] y)
<float[2] g = {1, 2}, float[2] b = {3, 4}, float[2] m = {0.5, -0.5}, float[2] v = {2, 3},
 float[1,2,3,3] w = {1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9}>
{ n = BatchNormalization(x, g, b, m, v) y = Conv <pads = [1, 1, 1, 1]> (n, w) }
"""


def test_bnopt_tells_where_an_add_stays(tmp_path: Path) -> None:
    source, target = tmp_path / "source.onnx", str(tmp_path / "target.onnx")
    onnx.save(onnx.parser.parse_model(PADDED), source)
    job = {"kind": "optimize", "peer": "bnopt", "source": str(source), "target": target}
    told = peers.work(job)
    assert (told["kept"], told["shifts"]) == ([], 1)


def record(left: int, state: str = "ok", **changes: object) -> _records.Record:
    """A record of a model of 4 batch norms and 2 decomposed ones."""
    before, after = _records.Size(4, 2, 20, 3000), _records.Size(left, 0, 10, 2000)
    ok = _records.Record("m.onnx", before, after, state, "", 2.0, 3.0, 100.0)
    return dataclasses.replace(ok, **changes)  # type: ignore[arg-type]


def beaten(**rows: _records.Record) -> list[str]:
    return _peers_report.beaten({tool: [row] for tool, row in rows.items()})


def test_bnopt_is_beaten_by_right_results_only() -> None:
    assert beaten(bnopt=record(2), other=record(2)) == []
    assert beaten(bnopt=record(2), other=record(1, "WRONG"), third=record(3)) == []
    assert beaten(bnopt=record(2), other=record(1, "unproven")) == [
        "m.onnx: 2+0 by bnopt, 1+0 unproven by other"
    ]
    assert beaten(bnopt=record(0, "WRONG"), other=record(3)) == [
        "m.onnx: 0+0 WRONG by bnopt, 3+0 by other"
    ]
    # What a tool gave no result for stays as it was.
    assert beaten(bnopt=record(6), other=record(0, "FAILED", after=None)) == []


def test_totals_count_a_missing_result_as_the_original_and_a_wrong_one_as_not_done() -> None:
    rows = [record(1), record(2, "WRONG"), record(0, "CRASHED", after=None, seconds=None)]
    other = [record(3), record(3), record(3)]
    table = _peers_report.totals({"bnopt": other, "tool": rows}, _tables.markdown)
    cells = [line.strip("| ").split(" | ") for line in table.splitlines()[2:]]
    assert cells[0][:5] == ["the originals", "12", "6", "18", "18"]
    assert cells[2][:9] == ["tool", "7", "2", "9", "13", "1", "0", "0", "1"]
    assert cells[3][:5] == ["the best but bnopt, per model", "9", "4", "13", "13"]


def test_report_names_what_is_kept_and_what_bnopt_does_not_account_for() -> None:
    sites = [
        ("main:y", "decomposed", "sign", "Relu stands behind"),
        ("main:w", "batch_normalization", "sign", "Relu stands ahead"),
        ("main:z", "decomposed", "sign", "MaxPool stands behind"),
    ]
    rows = {"bnopt": [record(2, kept=tuple(sites), shifts=3)], "other": [record(5, "WRONG")]}
    text = _peers_report.report(rows, _tables.markdown, "## ", {"onnx": "1"})
    assert (
        "| m | 2 | decomposed | main:y, main:z | sign | Relu stands behind, and likewise |" in text
    )
    assert "| m | 1 | batch_normalization | main:w | sign | Relu stands ahead |" in text
    assert "On no model does bnopt leave more batch norms." in text
    assert "3 more are folded but for an Add of their shift: m.onnx (3)." in text
    assert "m.onnx: 3 kept by bnopt's own account, 2+0 counted in the result." in text
    assert "| m | 4+2 | 2+0 | 5+0 WRONG | - |" in text


def test_models_that_no_tool_changes_are_counted_but_not_listed() -> None:
    same = record(6, after=_records.Size(4, 2, 19, 3000))
    rows = [
        dataclasses.replace(row, model=f"{place}__{name}.onnx")
        for row, place, name in (
            (same, "a", "one"),
            (record(2), "a", "two"),
            (record(2), "b", "two"),
        )
    ]
    text = _peers_report.left({"bnopt": rows, "tool": rows}, _tables.markdown)
    assert "| a__two.onnx | 4+2 | 2+0 | 2+0 | 2 |" in text
    assert "| one |" not in text
    assert "Left out are 1 models with 4+2 batch norms" in text


def test_store_gives_back_what_it_got_until_anything_changes(tmp_path: Path) -> None:
    store = _records.Store(tmp_path / "store")
    model = Path(save(tmp_path / "model.onnx", 1.0))
    kept = record(2, kept=(("main:y", "decomposed", "sign", "no"),))
    place = store.path("tool", model, "version 1")
    assert store.get(place) is None
    store.put(place, kept)
    assert store.get(store.path("tool", model, "version 1")) == kept
    assert store.get(store.path("tool", model, "version 2")) is None
    assert store.get(store.path("other", model, "version 1")) is None
    save(model, 2.0)
    assert store.get(store.path("tool", model, "version 1")) is None
    missing = record(0, "FAILED", after=None)
    store.put(place, missing)
    assert store.get(place) == missing
