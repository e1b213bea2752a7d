"""Workflow commands of GitHub: the escapes, and nothing that a model's name can smuggle in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from report_records import INFO, check_result, finding, site

from bnopt.findings import Cause
from bnopt.report import annotations
from bnopt.results import CheckResult


def lines(result: CheckResult) -> list[str]:
    text = annotations.text(result)
    assert text.endswith("\n")
    return text.splitlines()


def test_one_for_each_cause() -> None:
    command, counts = lines(check_result(26))
    head, message = command.split("::", 2)[1:]
    assert head == "error file=/models/net.onnx,title=bnopt training-mode"
    assert message.split("%0A") == [
        "26 of 26 batch norms run in training mode: eval() was not called",
        *(f"bn{number}: mode {number} is wrong" for number in range(5)),
        "... and 21 more",
        "fix: call eval()",
    ]
    assert counts == "bnopt: NOT ok; 26 batch norms, 26 errors, 0 warnings"


@pytest.mark.parametrize(
    ("severity", "command"), [("error", "error"), ("warning", "warning"), ("info", "notice")]
)
def test_levels(severity: str, command: str) -> None:
    cause = Cause("training-mode", severity, 1, 1, "m", "f")  # type: ignore[arg-type]
    result = check_result(findings=(finding(severity),), causes=(cause,))
    assert lines(result)[0].startswith(f"::{command} ")


def test_clean_has_no_command() -> None:
    assert lines(check_result()) == ["bnopt: ok; 26 batch norms, 0 errors, 0 warnings"]


def test_allowed_is_a_notice() -> None:
    command, counts = lines(check_result(1, allowed=("training-mode",)))
    assert command.startswith("::notice file=")
    assert "title=bnopt training-mode (allowed)::" in command
    assert counts.startswith("bnopt: ok;")


def test_file_is_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    inside = replace(INFO, path=str(tmp_path / "a" / "net.onnx"))
    assert lines(check_result(1, info=inside))[0].startswith("::error file=a/net.onnx,title=")
    memory = replace(INFO, path=None)
    assert lines(check_result(1, info=memory))[0].startswith("::error title=bnopt training-mode::")


def test_escapes() -> None:
    """A message escapes percent signs and line ends, a property colons and commas too."""
    cause = Cause("training-mode", "error", 1, 1, "50% of x::y, z", "do: a, b")
    found = (finding(message="100%"),)
    info = replace(INFO, path="/m/50%,a:b\r\nc.onnx")
    (command, _) = lines(check_result(findings=found, causes=(cause,), info=info))
    head = "::error file=/m/50%25%2Ca%3Ab\\r\\nc.onnx,title=bnopt training-mode::"
    assert command == f"{head}50%25 of x::y, z%0Abn0: 100%25%0Afix: do: a, b"


@pytest.mark.parametrize(
    "name",
    ["x\n::error::pwned", "x\r::set-output name=a::b", "\x1b[31m", "\u2028::warning::", "\ud800"],
)
def test_names_cannot_start_a_command(name: str) -> None:
    result = check_result(
        1,
        sites=(replace(site(0), name=name),),
        info=replace(INFO, path=f"/m/{name}.onnx"),
        causes=(Cause("training-mode", "error", 1, 1, name, name),),
        findings=(finding(message=name), finding(site=name)),
    )
    found = lines(result)
    assert len(found) == 2
    assert found[0].startswith("::error file=")
    assert "".join(found).isprintable()


def test_old_commands_cannot_stand_in_the_last_line() -> None:
    """`##[...]` is obeyed anywhere in a line that is no command itself."""
    hostile = "##[add-mask]a"
    result = check_result(
        1,
        sites=(replace(site(0), name=hostile),),
        info=replace(INFO, path=f"/m/{hostile}.onnx", producer=hostile),
        notes=(hostile,),
    )
    assert all(line.startswith("::") for line in lines(result) if hostile in line)
