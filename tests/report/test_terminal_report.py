"""What a reader sees: the result first, 80 columns, nothing that a model's name can smuggle in."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from report_records import (
    BAD,
    GOOD,
    INFO,
    finding,
    fold_result,
    inspect_result,
    site,
    validate_result,
    validation,
)

from bnopt.findings import Kept, Validation
from bnopt.report import terminal
from bnopt.report.text import clean, number, size


def shown(result: object, *, stopped: bool = False) -> list[str]:
    stream = io.StringIO()
    terminal.show(terminal.text(result, stopped=stopped), stream)  # type: ignore[arg-type]
    lines = stream.getvalue().splitlines()
    assert all(len(line) <= 80 for line in lines)
    assert not any(line != line.rstrip() for line in lines)
    return lines


def test_fold_headline() -> None:
    first, second = shown(fold_result(53, 0))[:2]
    expected = "folded 53 of 53 batch norms; equivalent; wrote /models/net.folded.onnx"
    assert f"{first} {second}".startswith(expected)


def test_fold_shows_everything() -> None:
    text = "\n".join(shown(fold_result()))
    for part in (
        "IR 8, opset 17, com.microsoft 1, pytorch 2.5, 176 nodes",
        "BatchNormalization       3      1",
        "total                    8      6",
        "bn2   not-linear  Relu 'r' stands in front",
        "bn0     conv0        64",
        "1.2e-07      4e-06",
        "channel 3",
        "cpu: ran on CPUExecutionProvider; 70 nodes on CPUExecutionProvider",
        "12 runs, batch sizes 1, 3",
        "note: weight 'w' was copied",
        "weights 97.5 MB -> 97.3 MB",
        "validate 12.3",
        "next: bnopt explain not-linear",
    ):
        assert part in text or part in text.replace("\n", " ")
    assert "Relu  " not in text.split("kept")[0], "operators that did not change are left out"


def test_long_list_of_folded_is_cut_but_kept_are_all_shown() -> None:
    text = "\n".join(shown(fold_result(53, 30)))
    assert "... and 33 more folded, --json lists all" in text
    assert all(f"bn{i} " in text for i in range(53, 83))


def test_dry_run() -> None:
    result = fold_result(dry_run=True, validation=None, output=None)
    lines = shown(result)
    assert lines[0] == "would fold 2 of 3 batch norms; dry run"
    assert lines[-1] == "next: bnopt fold /models/net.onnx"


def test_next_step_after_a_full_fold_is_the_readers_own_data() -> None:
    last = " ".join(shown(fold_result(2, 0))[-2:])
    assert last.endswith("bnopt validate /models/net.onnx /models/net.folded.onnx --data D")
    assert "next:" not in "\n".join(shown(fold_result(2, 0, output=Path("/models/net.onnx"))))


def test_not_validated() -> None:
    lines = shown(fold_result(validation=None))
    assert "not validated" in lines[0]
    assert lines[-1] == "next: bnopt validate /models/net.onnx /models/net.folded.onnx"
    assert "nothing to prove" in shown(fold_result(0, 1, validation=None))[0]


def test_stopped() -> None:
    result = fold_result(findings=(finding(),), output=None, validation=None)
    lines = shown(result, stopped=True)
    assert lines[0] == "would fold 2 of 3 batch norms; stopped, nothing written"
    assert "error training-mode: training_mode=1" in lines
    assert "  fix: call model.eval() before export" in lines
    assert lines[-1] == "next: bnopt explain training-mode"


def test_not_equivalent() -> None:
    lines = shown(fold_result(validation=validation(GOOD, BAD), output=None), stopped=True)
    assert "NOT equivalent" in lines[0]
    text = "\n".join(lines)
    assert "z: channel 3 differs by 0.25" in text
    assert text.index("DIFFERS") < text.index("  ok")


def test_not_proven() -> None:
    unknown = Validation(None, "none", notes=("onnxruntime crashed",))
    text = "\n".join(shown(fold_result(validation=unknown)))
    assert "equivalence not proven" in text
    assert "note: onnxruntime crashed" in text


def test_inspect() -> None:
    lines = shown(inspect_result())
    assert lines[0] == "1 batch norm; fold would remove 1"
    assert lines[-1] == "next: bnopt fold /models/net.onnx"
    assert shown(inspect_result(findings=(finding(),)))[0].endswith("; 1 error")


def test_validate() -> None:
    assert shown(validate_result(GOOD))[0] == "equivalent"
    assert shown(validate_result(BAD))[0] == "NOT equivalent"


@pytest.mark.parametrize(
    "name",
    [
        "[bold red]evil[/]",
        "[link=http://x]y[/link]",
        "\x1b[2J\x1b[31mred",
        "two\nlines\r",
        "a\u202eb\u2066c",
        "\ud800",
        ":smile:",
        "x" * 300,
    ],
)
def test_names_are_shown_not_obeyed(name: str) -> None:
    hostile = replace(site(0), name=name, decision=Kept("not-linear", f"{name} stands in front"))
    output = replace(BAD, name=name, message=f"{name} differs")
    result = fold_result(
        sites=(hostile, replace(site(1), name=name)),
        info=replace(INFO, path=f"/models/{name}.onnx", producer=name, opset={name: 1}),
        findings=(finding(message=name, fix=name),),
        validation=validation(output),
        notes=(name,),
        output=Path(f"/out/{name}.onnx"),
    )
    text = "\n".join(shown(result))
    assert clean(name)[:20] in text.replace("\n", "")
    assert text.replace("\n", "").isprintable()


def test_color_only_when_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    stream.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal.show(terminal.text(fold_result()), stream)
    assert "\x1b[" in stream.getvalue()
    plain = io.StringIO()
    plain.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.show(terminal.text(fold_result()), plain)
    assert "\x1b[3" not in plain.getvalue()


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (97_500_000, "97.5 MB"), (5e12, "5000 GB")],
)
def test_size(count: float, text: str) -> None:
    assert size(int(count)) == text


def test_number() -> None:
    values = [None, 0.0, float("nan"), float("inf"), 1.23456e-7]
    assert [number(value) for value in values] == ["-", "0", "nan", "inf", "1.23e-07"]
