"""What an export says is next, and what became of what was found, in every format."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from html_page import Page, rows_of
from html_results import calibration
from report_records import (
    KEPT,
    calibrate_result,
    export_result,
    finding,
    fold_result,
    source_finding,
)

from bnopt.findings import REPAIRABLE
from bnopt.frontends.records import Variable
from bnopt.remedy import BATCH_MODES
from bnopt.report import html, json, terminal
from bnopt.report.exported import next_command
from bnopt.results import ExportResult

REPAIR = "bnopt export run/model.ckpt.meta -o model.onnx --training-mode eval --data D"
IN_PYTHON = 'bnopt.export(..., training_mode="eval", data=...)'
WORSE = "this makes the model worse: compare the accuracy"
WHOLE = replace(calibrate_result(), kept=())


def stopped(*codes: str, **changes: object) -> ExportResult:
    found = tuple(source_finding(code=code) for code in codes)
    return export_result(
        **{"output": None, "fold": None, "agreement": (), "findings": found, **changes}
    )


def shown(result: ExportResult) -> str:
    file = io.StringIO()
    terminal.show(terminal.text(result), file)
    return " ".join(file.getvalue().split())


@pytest.mark.parametrize("code", sorted(REPAIRABLE | BATCH_MODES))
def test_what_data_can_undo_has_its_command(code: str) -> None:
    assert next_command(stopped(code)) == REPAIR
    assert f"next: {REPAIR}" in shown(stopped(code))
    assert f"Next: {REPAIR}" in Page(html.page(stopped(code), stopped=True)).text


def test_what_the_check_of_the_converted_model_found_too() -> None:
    mild = source_finding("info", code="few-steps")
    fold = fold_result(findings=(finding(),))
    assert next_command(stopped(fold=fold, findings=(mild,))) == REPAIR


def test_a_name_is_quoted() -> None:
    command = next_command(stopped("one-step", source="my $model; rm/saved"))
    assert command.startswith("bnopt export 'my $model; rm/saved' -o ")


def test_data_do_not_help_where_something_else_is_wrong_too() -> None:
    assert next_command(stopped("never-updated", "half-overflow")) == "bnopt explain half-overflow"
    mild = (source_finding("warning", code="half-overflow"), source_finding())
    assert next_command(stopped(findings=mild)) == REPAIR
    assert next_command(stopped(findings=mild[:1])) == "bnopt explain half-overflow"


@pytest.mark.parametrize("where", ["export", "fold"])
def test_data_do_not_help_twice(where: str) -> None:
    fold = fold_result(findings=(finding(),), calibration=WHOLE if where == "fold" else None)
    again = stopped(fold=fold, calibration=WHOLE if where == "export" else None)
    assert next_command(again) == "bnopt explain training-mode"


def test_data_do_not_help_against_another_function() -> None:
    one = replace(export_result().agreement[0], ok=False)
    assert next_command(stopped("one-step", agreement=(one,))) == "bnopt explain one-step"


@pytest.mark.parametrize(
    ("kind", "source", "is_object"),
    [
        ("torch", "Block", True),
        ("saved-model", "Functional", True),
        ("saved-model", "run/Functional", False),
        ("saved-model", "saved", False),
        ("checkpoint", "Functional", False),
    ],
)
def test_an_object_is_exported_again_in_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, source: str, is_object: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("saved").mkdir()
    changes = {"kind": kind, "source": source}
    command = IN_PYTHON if is_object else REPAIR.replace("run/model.ckpt.meta", source)
    assert next_command(stopped("training-mode", **changes)) == command
    never = "bnopt explain never-updated" if is_object else command
    assert next_command(stopped("never-updated", **changes)) == never


def test_keras_is_not_told_to_take_statistics_that_never_moved_from_data() -> None:
    changes = {"kind": "keras", "source": "m.keras"}
    assert next_command(stopped("never-updated", **changes)) == "bnopt explain never-updated"
    repair = REPAIR.replace("run/model.ckpt.meta", "m.keras")
    assert next_command(stopped("fast-average", **changes)) == repair


@pytest.mark.parametrize(
    ("changes", "has"),
    [
        ({"fold": None}, True),
        ({"fold": fold_result(2, 1)}, True),
        ({"fold": fold_result(2, 0)}, False),
        ({"fold": fold_result(0, 0)}, False),
    ],
)
def test_check_is_next_where_a_batch_norm_is_left(changes: dict[str, object], has: bool) -> None:
    command = "bnopt check /models/net.onnx --data D" if has else ""
    assert next_command(export_result(**changes)) == command
    assert ("next:" in shown(export_result(**changes))) == has


@pytest.mark.parametrize(
    ("repair", "word"),
    [(WHOLE, "repaired"), (replace(WHOLE, kept=(KEPT,)), "repaired in part"), (None, "")],
)
def test_what_was_repaired_is_said_to_be(repair: object, word: str) -> None:
    found = (source_finding(), source_finding(code="epsilon-differs", fix="equal it"))
    result = export_result(findings=found, calibration=repair)
    text = shown(result)
    assert ("error (" + word + ") never-updated:" if word else "error never-updated:") in text
    assert "error epsilon-differs:" in text
    assert ("fix: train it" in text) == (word != "repaired")
    assert "fix: equal it" in text
    told = [one["repaired"] for one in json.report(result)["findings"]]
    assert told == [word == "repaired", False]
    badge = f">error, {word}<" if word else ">error<"
    assert badge in re.sub(r"<svg.*?</svg>", "", html.page(result))


def test_what_is_only_worth_knowing_was_not_repaired() -> None:
    result = export_result(findings=(source_finding("info"),), calibration=WHOLE)
    assert "info never-updated" in shown(result)
    assert not json.report(result)["findings"][0]["repaired"]
    assert WORSE not in shown(result)


def test_what_is_left_in_the_converted_model_was_not_repaired() -> None:
    fold = fold_result(findings=(finding(),))
    result = export_result(findings=(source_finding(),), calibration=WHOLE, fold=fold)
    assert "error training-mode" in shown(result)
    assert [one["repaired"] for one in json.report(result)["findings"]] == [True, False]


@pytest.mark.parametrize(
    ("others", "repair", "warns"),
    [
        ((), WHOLE, True),
        ((source_finding(code="updates-not-run"),), WHOLE, False),
        ((source_finding(code="wrong-scope"),), WHOLE, False),
        ((source_finding(code="wrong-scope", site="bn1"),), WHOLE, True),
        ((source_finding(code="one-step"),), WHOLE, True),
        ((), None, False),
    ],
)
def test_what_never_moved_may_have_been_right(
    others: tuple[object, ...], repair: object, warns: bool
) -> None:
    result = export_result(findings=(source_finding(), *others), calibration=repair)
    assert (WORSE in shown(result)) == warns
    assert any(WORSE in note for note in json.report(result)["notes"]) == warns
    assert (WORSE in Page(html.page(result)).text) == warns


def test_another_repair_has_no_such_note() -> None:
    moved = export_result(findings=(source_finding(code="one-step"),), calibration=calibration(2))
    assert WORSE not in shown(moved)


@pytest.mark.parametrize("kind", ["keras", "saved-model"])
@pytest.mark.parametrize("turned", [False, True])
def test_variables_of_keras_have_an_order(kind: str, turned: bool) -> None:
    wanted = [
        Variable(f"{layer}/{role}", role, (4,), None, 0.0, 1.0)
        for layer in ("bn", "bn_2", "bn_2²", "bn_10", f"bn_{'9' * 5000}")
        for role in ("gamma", "beta", "moving_mean", "moving_variance", "biased")
    ]
    result = export_result(kind=kind, variables=tuple(wanted[::-1] if turned else wanted))
    names = [one.name for one in wanted]
    assert [one["name"] for one in json.report(result)["variables"]] == names
    rows = rows_of(Page(html.page(result)), "Still initial")
    assert [row["Role"] for row in rows] == [one.role.replace("_", " ") for one in wanted]


def test_the_order_of_other_sources_stays() -> None:
    turned = export_result().variables[::-1]
    names = [one["name"] for one in json.report(export_result(variables=turned))["variables"]]
    assert names == [one.name for one in turned]
