"""An export at the terminal, beyond what `tests/frontends/test_export.py` looks at."""

from __future__ import annotations

import io

import pytest
from report_records import calibrate_result, export_result, finding, fold_result, source_finding

from bnopt.report import terminal
from bnopt.results import Timings


def shown(**changes: object) -> str:
    file = io.StringIO()
    terminal.show(terminal.text(export_result(**changes)), file)
    return " ".join(file.getvalue().split())


def test_times_name_the_fold() -> None:
    assert "22.0 s (convert 8.00, fold 13.2, compare 0.50, save 0.25)" in shown()
    assert "8.75 s (convert 8.00, compare 0.50, save 0.25)" in shown(fold=None)
    repair = calibrate_result(timings=Timings(calibrate=4.0))
    assert "calibrate 4.00, fold 13.2" in shown(calibration=repair)
    assert "calibrate 4.00" not in shown(fold=fold_result(calibration=repair))


def test_calibration_of_a_refused_fold_is_shown() -> None:
    repair = calibrate_result()
    for changes in ({"calibration": repair}, {"fold": fold_result(calibration=repair)}):
        text = shown(**changes)
        assert "calibrated 5 of 6 batch norms from 500 samples" in text
        assert "agrees with tensorflow, the converted model" in text


def test_next_step_explains_an_error_before_what_is_only_worth_knowing() -> None:
    mild = source_finding("info", code="few-steps")
    assert "next: bnopt explain few-steps" in shown(output=None, findings=(mild,))
    grave = fold_result(findings=(finding(code="half-overflow"),))
    text = shown(output=None, findings=(mild,), fold=grave)
    assert "next: bnopt explain half-overflow" in text
    assert "next:" not in shown(output=None)


def test_a_code_is_told_once_unless_it_was_repaired() -> None:
    fold = fold_result(findings=(finding(),))
    assert shown(output=None, fold=fold).count("training-mode: ") == 1
    twice = {"output": None, "fold": fold, "findings": (source_finding(code="training-mode"),)}
    text = shown(**twice)
    assert "in the converted model" not in text
    assert text.count("training-mode: ") == 1
    assert "in the converted model" in shown(**twice, calibration=calibrate_result())
    mild = source_finding("info", code="training-mode")
    assert "in the converted model" in shown(output=None, fold=fold, findings=(mild,))


@pytest.mark.parametrize(
    ("told", "found", "new"),
    [
        ("warning", "error", True),
        ("warning", "warning", False),
        ("error", "error", False),
        ("error", "warning", False),
        ("info", "info", True),
    ],
)
def test_what_was_told_less_gravely_of_another_layer_hides_nothing(
    told: str, found: str, new: bool
) -> None:
    source = source_finding(told, code="training-mode")
    text = shown(output=None, fold=fold_result(findings=(finding(found),)), findings=(source,))
    assert ("in the converted model" in text) == new


def test_the_gravest_that_was_told_counts() -> None:
    every = [source_finding(each, code="training-mode") for each in ("warning", "error", "warning")]
    text = shown(output=None, fold=fold_result(findings=(finding(),)), findings=tuple(every))
    assert "in the converted model" not in text


def test_notes_are_not_repeated() -> None:
    text = shown()
    assert text.count("note: a note") == 1
    assert "note: a weight was copied" in text
