"""What the tools count and check, on graphs small enough to see."""

from __future__ import annotations

from pathlib import Path

import _graphs
import _tables
import onnx
import onnx.parser
import pytest

NESTED = """
<ir_version: 8, opset_import: ["": 17, "local": 1]>
main (float[N,2] x, float[2] p, bool c) => (float[N,2] z) {
    y = BatchNormalization(x, p, p, p, p)
    w = If (c) <
        then_branch = yes () => (float[N,2] a) { a = BatchNormalization(y, p, p, p, p) },
        else_branch = no () => (float[N,2] b) { b = Relu(y) }
    >
    z = local.Norm(w, p)
}
<domain: "local", opset_import: ["": 17]>
Norm (x, p) => (y) { y = BatchNormalization(x, p, p, p, p) }
"""

FOREIGN = """
<ir_version: 8, opset_import: ["": 17, "other": 1]>
main (float[N,2] x) => (float[N,2] y) { y = other.BatchNormalization(x) }
"""


@pytest.mark.parametrize(("source", "count"), [(NESTED, 3), (FOREIGN, 0)])
def test_batch_norms_are_counted_in_every_scope(source: str, count: int, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(source), path)
    assert _graphs.count_batch_norms(path) == count


STORED = """
<ir_version: 8, opset_import: ["": 17]>
main (float[N,2] x, bool c) => (float[N,2] z) <float[2] s = {1, 2}, int64[3] unread = {1, 2, 3}> {
    y = Mul(x, s)
    z = If (c) <
        then_branch = yes () => (float[N,2] a) <float16[1,2] t = {1, 2}> {
            k = Constant <value = double[5] {1, 2, 3, 4, 5}> ()
            f = Cast <to = 1> (t)
            a = Add(y, f)
        },
        else_branch = no () => (float[N,2] b) { b = Relu(y) }
    >
}
"""


def test_size_counts_every_scope_and_weights_however_they_are_stored(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(onnx.parser.parse_model(STORED), path)
    assert _graphs.size(path) == {
        "batch_norms": 0,
        "decomposed": 1,
        "nodes": 5,
        "weight_bytes": 2 * 4 + 3 * 8 + 2 * 2 + 5 * 8,
    }


def test_a_result_is_held_to_what_its_original_passed(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    sound, broken = tmp_path / "sound.onnx", tmp_path / "broken.onnx"
    model = onnx.parser.parse_model(NESTED)
    onnx.save(model, sound)
    model.graph.node[0].input[0] = "nowhere"
    broken.write_bytes(model.SerializeToString())
    assert _graphs.faults(sound) == []
    found = _graphs.faults(broken)
    assert [fault.partition(":")[0] for fault in found] == ["checker", "onnxruntime"]
    assert _graphs.new_faults([], found) == found
    assert _graphs.new_faults(["checker: another reason"], found) == found[1:]


def test_same_graph_looks_at_everything_that_computes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.onnx", tmp_path / "second.onnx"
    model = onnx.parser.parse_model(NESTED)
    onnx.save(model, first)
    model.producer_name = "another"
    onnx.save(model, second)
    assert _graphs.same_graph(first, second)
    model.functions[0].node[0].op_type = "InstanceNormalization"
    onnx.save(model, second)
    assert not _graphs.same_graph(first, second)


def test_tables() -> None:
    header, rows = ("model", "s"), [("a|b", "1.5"), ("c", "10.0")]
    assert _tables.text(header, rows).splitlines() == [
        "model     s",
        "-----  ----",
        "a|b     1.5",
        "c      10.0",
    ]
    assert _tables.markdown(header, rows).splitlines()[1:3] == ["| --- | --: |", "| a\\|b | 1.5 |"]
    assert _tables.shorten("abcdefghij", 5) == "ab…ij"
