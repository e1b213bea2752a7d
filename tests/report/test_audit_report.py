"""What a reader sees of a check: the verdict with its cause first, then causes, not findings."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from report_records import (
    BEHAVIOUR,
    INFO,
    check_result,
    finding,
    fold_result,
    inspect_result,
    site,
    with_causes,
)

from bnopt.findings import REPAIRABLE, Cause, Kept, Summary
from bnopt.report import terminal
from bnopt.report.text import clean
from bnopt.results import CheckResult, FoldResult, InspectResult

WARNING = Cause("epsilon", "warning", 1, 26, "epsilon is odd in 1 of 26", "look at it")
INFORMATION = Cause("unknown", "info", 0, 26, "nothing can be known", "give data")


def shown(result: CheckResult | FoldResult | InspectResult, *, verbose: bool = False) -> list[str]:
    stream = io.StringIO()
    terminal.show(terminal.text(result, verbose=verbose), stream)
    lines = stream.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert not any(line != line.rstrip() for line in lines)
    return lines


def joined(lines: list[str]) -> str:
    return " ".join(" ".join(lines).split())


def test_many_findings_are_one_paragraph() -> None:
    lines = shown(check_result(26))
    assert lines[0].startswith("NOT ok: 26 of 26 batch norms run in training mode: eval() was")
    start = lines.index("error training-mode")
    assert lines[start + 1 : start + 6] == [
        "  fix: call eval()",
        "  bn0: mode 0 is wrong",
        "  bn1: mode 1 is wrong",
        "  bn2: mode 2 is wrong",
        "  ... and 23 more, --verbose lists all",
    ]
    assert joined(lines).count("run in training mode") == 1
    assert lines[-1] == "next: bnopt calibrate /models/net.onnx --data D"


def test_verbose_lists_all() -> None:
    lines = shown(check_result(26), verbose=True)
    assert all(f"  bn{number}: mode {number} is wrong" in lines for number in range(26))
    assert "more" not in joined(lines)


def test_what_was_looked_at() -> None:
    text = joined(shown(check_result(1)))
    assert "looked at 26 batch norms, model run on a batch of 8, measured 64 samples" in text
    assert "1.25 s" in text
    assert "note: a note" in text
    text = joined(shown(check_result(1, behaviour=None, samples=0)))
    assert "model not run, no data given (--data D compares the statistics" in text
    text = joined(shown(check_result(1, behaviour=replace(BEHAVIOUR, outputs=()))))
    assert "model could not be run" in text


def test_batch_norms_that_were_folded_before_are_counted() -> None:
    text = joined(shown(check_result(2, 3, sites=(site(0),))))
    assert "looked at 3 batch norms (2 folded before), model run" in text


def test_clean() -> None:
    lines = shown(check_result())
    assert joined(lines).startswith(
        "clean: 26 batch norms checked, model run on a batch of 8, statistics compared with 64 "
        "samples /models/net.onnx"
    )
    assert lines[-1] == "next: bnopt fold /models/net.onnx"
    text = joined(shown(check_result(behaviour=None, samples=0)))
    assert text.startswith("clean: 26 batch norms checked, model not run, statistics not compared")
    assert "--data D" in text


@pytest.mark.parametrize("code", sorted(REPAIRABLE))
@pytest.mark.parametrize("severity", ["error", "warning"])
def test_next_step_is_to_calibrate_where_data_repairs(code: str, severity: str) -> None:
    found = (finding(severity, code=code),)
    result = with_causes(check_result(findings=found, info=replace(INFO, path="/my models/n.onnx")))
    assert shown(result)[-1] == "next: bnopt calibrate '/my models/n.onnx' --data D"


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        ({"code": "epsilon"}, {}),
        ({"code": "wrong-data-range"}, {}),
        ({"code": "never-updated", "severity": "info"}, {}),
        ({"code": "never-updated", "site": "main:folded-by-an-exporter"}, {}),
        ({"code": "never-updated", "site": None}, {}),
        ({"code": "never-updated"}, {"allowed": ("never-updated",)}),
        ({"code": "never-updated"}, {"allowed": ("all",)}),
    ],
)
def test_next_step_is_to_explain_where_data_does_not_repair(
    changes: dict[str, object], more: dict[str, object]
) -> None:
    found = (finding(**changes),)  # type: ignore[arg-type]
    result = with_causes(check_result(findings=found, **more))  # type: ignore[arg-type]
    assert shown(result)[-1] == f"next: bnopt explain {changes['code']}"


def test_data_of_another_range_repairs_nothing() -> None:
    found = (finding(code="never-updated"), finding(code="wrong-data-range", site=None))
    assert shown(with_causes(check_result(findings=found)))[-1].startswith("next: bnopt explain")
    allowed = with_causes(check_result(findings=found, allowed=("wrong-data-range",)))
    assert shown(allowed)[-1].startswith("next: bnopt calibrate")


def test_next_step_when_nothing_can_be_folded() -> None:
    kept = replace(site(0), decision=Kept("not-linear", "Relu"))
    result = check_result(sites=(kept,), summary=Summary(1, kept=1))
    assert shown(result)[-1] == "next: bnopt explain not-linear"
    nothing = shown(check_result(sites=(), summary=Summary()))
    assert nothing[0] == "no batch norm found, nothing to check"
    assert "next:" not in joined(nothing)


def test_warnings_are_no_verdict() -> None:
    found = (finding("warning", code="epsilon", message="it is 0.1"),)
    lines = shown(check_result(findings=found, causes=(WARNING,)))
    assert lines[0] == "no error, but epsilon is odd in 1 of 26"
    assert "warning epsilon" in lines
    assert "  bn0: it is 0.1" in lines
    whole = (finding("info", code="unknown", site=None, message="nothing can be known"),)
    lines = shown(check_result(findings=whole, causes=(INFORMATION,)))
    assert lines[0] == "no error, but nothing can be known"
    assert joined(lines).count("nothing can be known") == 1


def test_what_is_allowed_is_not_the_verdict() -> None:
    found = (*check_result(1).findings, finding("warning", code="epsilon"))
    causes = (*check_result(1).causes, WARNING)
    result = check_result(findings=found, causes=causes, allowed=("training-mode",))
    lines = shown(result)
    assert lines[0] == "no error, but epsilon is odd in 1 of 26"
    assert "error (allowed) training-mode: 1 of 26 batch norms run in" in joined(lines)
    assert lines[-1] == "next: bnopt explain epsilon"
    assert shown(check_result(1, allowed=("all",)))[0].startswith("allowed: 1 of 26 batch norms")


def test_the_gravest_findings_of_a_cause_come_first() -> None:
    mild = [
        finding("warning", site=f"main:y{number}", message=f"mild {number}") for number in range(3)
    ]
    grave = finding(site="main:y3", message="grave")
    lines = shown(check_result(1, findings=(*mild, grave)))
    assert lines.index("  bn3: grave") < lines.index("  bn0: mild 0")


def test_a_name_is_not_said_twice_and_an_unknown_site_by_its_id() -> None:
    found = (
        finding(message="'bn0' is wrong"),
        finding(site="main:folded", message="is wrong too"),
    )
    lines = shown(check_result(1, findings=found))
    assert "  'bn0' is wrong" in lines
    assert "  main:folded: is wrong too" in lines


@pytest.mark.parametrize("make", [fold_result, inspect_result])
def test_fold_and_inspect_group_likewise(make: object) -> None:
    lines = shown(make(findings=check_result(26).findings))  # type: ignore[operator]
    assert "  ... and 23 more, --json lists all" in lines
    assert sum("mode" in line and "is wrong" in line for line in lines) <= 4


@pytest.mark.parametrize(
    "name", ["\x1b[2J\x1b[31mred", "two\nlines\r", "a\u202eb", "\ud800", "[bold]x[/]", "x" * 300]
)
def test_names_are_shown_not_obeyed(name: str) -> None:
    hostile = replace(site(0), name=name)
    result = check_result(
        1,
        sites=(hostile,),
        info=replace(INFO, path=f"/models/{name}.onnx", producer=name),
        findings=(finding(message=f"{name} 1", fix=name), finding(site=name)),
        causes=(Cause("training-mode", "error", 1, 1, name, name),),
        notes=(name,),
    )
    text = "\n".join(shown(result))
    assert clean(name)[:20] in text.replace("\n", "")
    assert text.replace("\n", "").isprintable()
