"""An export at the terminal, beyond what `tests/frontends/test_export.py` looks at."""

from __future__ import annotations

import io

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
    grave = fold_result(findings=(finding(),))
    text = shown(output=None, findings=(mild,), fold=grave)
    assert "next: bnopt explain training-mode" in text
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


def test_notes_are_not_repeated() -> None:
    text = shown()
    assert text.count("note: a note") == 1
    assert "note: a weight was copied" in text
