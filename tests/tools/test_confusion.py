"""tools/confusion.py: what is true of an export, what is missed or false, and a small run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import _confusion_truth as truths
import numpy as np
import onnx
import pytest
from confusion import Record, by_case, failures, feeds, gravest, rows

from bnopt.findings import Finding

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "confusion.py"
FORMS = Path(os.environ.get("BNOPT_SHARED", ROOT.parent / "shared")) / "forms"
RIGHT = {"what": "", "mistake": False, "batch_dependence": "0", "default": "Conv x1"}
TRAINED = {
    "bn0__gamma": np.array([0.9, 1.1]),
    "bn0__beta": np.array([0.1, -0.1]),
    "bn0__moving_mean": np.array([0.4, 2.0]),
    "bn0__moving_variance": np.array([0.5, 3.0]),
}
DRAWN = {**TRAINED, "bn0__beta": np.array([1.2, 0.3])}
INITIAL = {"bn1__moving_mean": np.zeros(2), "bn1__moving_variance": np.ones(2)}
PLANE = {**TRAINED, "bn0__moving_variance": np.ones((2, 2))}
AVERAGED = {
    "var__bn|mean|ExponentialMovingAverage": np.zeros(2),
    "var__bn|variance|ExponentialMovingAverage": np.ones(2),
}


@pytest.mark.parametrize(
    ("entry", "arrays", "truth"),
    [
        ({}, TRAINED, truths.TRAINED),
        ({}, DRAWN, truths.DRAWN),
        ({}, {}, truths.DRAWN),
        ({}, {**TRAINED, **INITIAL}, truths.INITIAL),
        ({"mistake": True}, {**TRAINED, **INITIAL}, truths.NEVER),
        ({"mistake": True}, {**TRAINED, **AVERAGED}, truths.NEVER),
        ({"mistake": True, "what": "ops never run"}, {}, truths.NEVER),
        ({"mistake": True, "what": "one update"}, TRAINED, truths.HARDLY),
        ({"what": "decay .99, 60 steps"}, TRAINED, truths.HALFWAY),
        ({"what": "decay .9, 60 steps"}, TRAINED, truths.TRAINED),
        ({"mistake": True, "batch_dependence": "0.35"}, INITIAL, truths.TRAINING),
        ({"mistake": True, "what": "training=True"}, TRAINED, truths.INFERENCE),
        ({"mistake": True}, PLANE, truths.PER_ACTIVATION),
        ({"default": "If(1 out) x2", "batch_dependence": "FAIL"}, TRAINED, truths.SWITCH),
        ({"what": "control, not batch norm: x"}, INITIAL, truths.LOOKALIKE),
    ],
)
def test_truth_of_a_tensorflow_export(entry, arrays, truth) -> None:
    assert truths.tensorflow_truth({**RIGHT, **entry}, arrays) is truth


@pytest.mark.parametrize(
    ("stem", "difference", "truth"),
    [
        ("net__ts_eval", 1, truths.TORCH_EVAL),
        ("net__ts_training", 1, truths.TORCH_TRAIN),
        ("net__ts_training", 0, truths.TORCH_EVAL),
        ("net__dyn_train_noopt", 1, truths.TORCH_DYNAMO),
        ("net__ts_trainmodel_evalflag", 1, truths.TORCH_EVAL),
        ("bn_no_track__ts_eval", 1, truths.TORCH_NO_TRACK),
        ("instnorm_track__ts_training", 1, truths.LOOKALIKE),
    ],
)
def test_truth_of_a_torch_export(stem: str, difference: float, truth: truths.Truth) -> None:
    arrays = {"y_0": np.zeros(3), "ytrain_0": np.full(3, difference)}
    assert truths.torch_truth(stem, arrays) is truth


def record(truth: truths.Truth, with_data: bool = False, **found: str) -> Record:
    export = truths.Export(Path("case__noopt.onnx"), "noopt", truth, Path("case.npz"))
    codes = {code.replace("_", "-"): severity for code, severity in found.items()}
    return Record(export, with_data, codes)


@pytest.mark.parametrize(
    ("made", "outcome", "missed", "false"),
    [
        (record(truths.NEVER, never_updated="error"), "right error", False, False),
        (record(truths.NEVER, never_updated="info"), "right info", True, False),
        (record(truths.NEVER, epsilon="warning"), "other warning", True, False),
        (record(truths.NEVER, unrecoverable="info"), "unrecoverable", True, False),
        (
            record(truths.HARDLY, one_step="warning", epsilon="error"),
            "right warning",
            False,
            False,
        ),
        (record(truths.TRAINED, epsilon="warning"), "other warning", False, False),
        (record(truths.TRAINED, True, stale_statistics="error"), "other error", False, True),
        (record(truths.DRAWN, True, stale_statistics="error"), "other error", False, False),
        (record(truths.DRAWN, never_updated="error"), "other error", False, True),
        (record(truths.SWITCH, training_switch="error"), "right error", False, False),
    ],
)
def test_outcomes(made: Record, outcome: str, missed: bool, false: bool) -> None:
    assert (made.outcome, made.is_missed, made.is_false_alarm) == (outcome, missed, false)


def test_a_run_fails_for_false_alarms_and_training_graphs_only() -> None:
    miss, training = record(truths.NEVER), record(truths.TRAINING, epsilon="error")
    false = record(truths.LOOKALIKE, never_updated="error")
    assert failures([miss, training, false, record(truths.TRAINED)]) == [training, false]


def test_the_gravest_finding_of_a_code_counts() -> None:
    found = [Finding("a", severity, None, "", "") for severity in ("info", "error", "warning")]
    assert gravest(found) == {"a": "error"}


def test_rows_and_cases() -> None:
    made = [record(truths.NEVER, never_updated="error"), record(truths.NEVER)]
    [row] = rows(made)
    counts = ["1", "-", "-", "-", "-", "-", "1"]
    assert row == ["never updated", "noopt", "2", *counts, "never-updated 1"]
    assert by_case(made[:1]) == ["case [never updated; noopt]: never-updated (error)"]


@pytest.mark.parametrize(("batch", "sizes"), [("N", [5]), ("2", [2, 2])])
def test_samples_are_cut_into_the_batches_of_the_model(batch: str, sizes: list[int]) -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]>'
        f"g (float16[{batch},3] x, bool t, float[1] w) => (float16[{batch},3] y)"
        "<float[1] w = {1}> { y = Identity(x) }"
    )
    found = feeds(model, {"calib__x": np.ones((5, 3), np.float32)})
    assert [len(feed["x"]) for feed in found] == sizes
    assert all(feed["x"].dtype == np.float16 and not feed["t"].any() for feed in found)
    assert all(feed.keys() == {"x", "t"} for feed in found)
    assert feeds(model, {}) == []


@pytest.mark.parametrize(("mean", "initial"), [("0, 0", True), ("0, 1", False)])
def test_a_branch_that_never_ran(mean: str, initial: bool) -> None:
    graph = onnx.parser.parse_graph(
        "g (float[N,2] x) => (float[N,2] y)"
        f"<float[2] s = {{1, 2}}, float[2] m = {{{mean}}}, float[2] v = {{1, 1}}>"
        "{ c = Constant<value = bool {1}>()  y = If(c) <"
        "then_branch = t () => (float[N,2] a) { a = BatchNormalization(x, s, s, m, v) },"
        "else_branch = e () => (float[N,2] b) { b = Identity(x) }> }"
    )
    assert truths.any_initial(graph) is initial


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, options)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )


@pytest.mark.forms
@pytest.mark.skipif(not FORMS.is_dir(), reason=f"no framework exports at {FORMS}")
def test_a_small_run(tmp_path: Path) -> None:
    page = tmp_path / "confusion.md"
    result = run(FORMS, "--match", "slim_2d_not_run*", "--markdown", page)
    assert result.returncode == 0, result.stderr
    assert "| never updated | default | 1 | 1 |" in result.stdout
    assert result.stdout.count("missed: 0 exports") == 2
    text = page.read_text(encoding="utf-8")
    assert "## With data" in text
    assert "stale-statistics 1" in text


def test_nothing_to_check_is_one_line(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.returncode == 2
    assert "no export" in result.stderr
    assert run("--corpus", tmp_path / "none").returncode == 2
