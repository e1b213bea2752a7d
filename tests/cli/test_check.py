"""`bnopt check`: what it prints in each format, what it refuses, its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cli_models import conv_bn, write
from cli_runner import Done, bnopt
from graphs import model as graph
from graphs import normal, statistics

import bnopt as library
from bnopt.cli import main


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "good.onnx", conv_bn(blocks=2))


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Five batch norms in training mode."""
    return write(tmp_path / "bad.onnx", conv_bn(blocks=5, training=True))


def check(*arguments: object) -> Done:
    return bnopt("check", *arguments, "--no-run")


def quick(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """The same without a process: exit code, stdout, stderr."""
    code = main(["check", *map(str, arguments), "--no-run"])
    done = capsys.readouterr()
    return code, done.out, done.err


def refused(done: tuple[int, str, str], says: str) -> None:
    code, out, err = done
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1, err
    assert says in err


def test_clean(good: Path) -> None:
    before = good.read_bytes()
    done = check(good)
    assert done.code == 0, done
    assert done.err == ""
    text = " ".join(done.out.split())
    assert text.startswith("clean: 2 batch norms checked, model not run, statistics not compared")
    assert "next: bnopt fold " in done.out
    assert [entry.name for entry in good.parent.iterdir()] == ["good.onnx"]
    assert good.read_bytes() == before


def test_errors(bad: Path) -> None:
    done = check(bad)
    assert done.code == 1, done
    assert done.err == ""
    assert done.out.startswith("NOT ok: 5 of 5 batch norms run in training mode: ")
    assert "error training-mode\n" in done.out
    assert "  ... and 2 more, --verbose lists all" in done.out
    assert f"next: bnopt calibrate {bad} --data D" in " ".join(done.out.split())
    assert all(len(line) <= 80 for line in done.out.splitlines())


@pytest.mark.parametrize("option", ["-v", "--verbose"])
def test_verbose(bad: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    code, out, _ = quick(capsys, bad, option)
    assert code == 1
    assert all(f"'bn{number}'" in out for number in range(5))
    assert "more" not in out


def test_json(good: Path, bad: Path) -> None:
    done = check(bad, "--json")
    assert done.code == 1
    report = done.json()
    assert report["command"] == "check"
    assert report["ok"] is False
    assert report["error"] is None
    assert report["causes"][0]["code"] == "training-mode"
    assert report["causes"][0]["found"] == report["causes"][0]["of"] == 5
    assert len(report["statistics"]) == 5
    assert len(report["statistics"][0]["variance"]) == 3
    assert report["behaviour"] is None
    assert report["samples"] == 0
    clean = check(good, "--output-format", "json")
    assert clean.code == 0
    assert clean.json()["ok"] is True
    assert clean.json()["findings"] == []


def test_json_may_be_said_twice(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = quick(capsys, good, "--json", "--output-format", "json")
    assert code == 0
    assert json.loads(out)["ok"] is True


@pytest.mark.parametrize("form", ["text", "sarif", "github"])
def test_json_and_another_format_contradict(
    good: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    assert main(["check", str(good), "--no-run", "--json", "--output-format", form]) == 2
    assert f"--json and --output-format {form} exclude each other" in capsys.readouterr().err


def test_sarif(bad: Path) -> None:
    done = bnopt("check", "bad.onnx", "--no-run", "--output-format", "sarif", cwd=bad.parent)
    assert done.code == 1
    (run,) = done.json()["runs"]
    assert [entry["ruleId"] for entry in run["results"]] == ["training-mode"] * 5
    location = run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]
    assert location["uri"] == "bad.onnx"


def test_github(bad: Path, good: Path) -> None:
    done = bnopt("check", "bad.onnx", "--no-run", "--output-format", "github", cwd=bad.parent)
    assert done.code == 1
    first, last = done.out.splitlines()
    assert first.startswith("::error file=bad.onnx,title=bnopt training-mode::5 of 5 batch norms")
    assert last == "bnopt: NOT ok; 5 batch norms, 5 errors, 0 warnings"
    done = check(good, "--output-format", "github")
    assert done.code == 0
    assert done.out == "bnopt: ok; 2 batch norms, 0 errors, 0 warnings\n"


@pytest.mark.parametrize("allow", ["training-mode", "all"])
def test_allow(bad: Path, capsys: pytest.CaptureFixture[str], allow: str) -> None:
    code, out, _ = quick(capsys, bad, "--allow", allow, "--json")
    assert code == 0
    report = json.loads(out)
    assert report["ok"] is True
    assert report["allowed"] == [allow]
    assert len(report["findings"]) == 5
    code, out, _ = quick(capsys, bad, "--allow", "non-finite")
    assert code == 1


def codes(capsys: pytest.CaptureFixture[str], *arguments: object) -> set[str]:
    _, out, _ = quick(capsys, *arguments, "--json")
    return {entry["code"] for entry in json.loads(out)["findings"]}


def test_select_and_ignore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proto = conv_bn(blocks=2)
    path = write(tmp_path / "net.onnx", proto)
    nan = np.full(3, np.nan, np.float32).tobytes()
    for tensor in proto.graph.initializer:
        if tensor.name == "var0":
            tensor.raw_data = nan
        if tensor.name == "var1":
            tensor.raw_data = (-np.ones(3, np.float32)).tobytes()
    write(path, proto)
    assert codes(capsys, path) >= {"non-finite", "negative-variance"}
    assert codes(capsys, path, "--select", "non-finite") == {"non-finite"}
    both = {"non-finite", "negative-variance"}
    assert codes(capsys, path, "--select", "non-finite, negative-variance") == both
    separate = ("--select", "non-finite", "--select", "negative-variance")
    assert codes(capsys, path, *separate) == both
    assert "non-finite" not in codes(capsys, path, "--ignore", "non-finite")
    code, out, _ = quick(capsys, path, "--select", "training-mode")
    assert code == 0
    assert "note: only these rules were applied: training-mode" in out
    code, out, _ = quick(capsys, path, "--ignore", "non-finite,negative-variance")
    assert "note: these rules were left out: non-finite, negative-variance" in " ".join(out.split())


@pytest.mark.parametrize("option", ["--select", "--ignore", "--allow"])
def test_unknown_codes(good: Path, capsys: pytest.CaptureFixture[str], option: str) -> None:
    says = "no rule has the code 'trainingmode'; did you mean 'training-mode'"
    refused(quick(capsys, good, option, "trainingmode"), says)


@pytest.mark.parametrize("value", ["", ",", "non-finite,", "non-finite,,training-mode"])
def test_missing_codes(good: Path, capsys: pytest.CaptureFixture[str], value: str) -> None:
    refused(quick(capsys, good, "--select", value), "a code is missing")


def test_all_is_no_rule(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(quick(capsys, good, "--ignore", "all"), "no rule has the code 'all'")


def test_contradiction(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--select", "training-mode,non-finite", "--ignore", "non-finite")
    refused(quick(capsys, good, *words), "'non-finite' is both selected and ignored")


def test_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused(quick(capsys, tmp_path / "missing.onnx"), "missing.onnx")
    code, out, _ = quick(capsys, tmp_path / "missing.onnx", "--json")
    assert code == 2
    assert json.loads(out)["command"] == "check"
    assert json.loads(out)["error"]["code"] == "load"
    (tmp_path / "text.onnx").write_text("no model")
    refused(quick(capsys, tmp_path / "text.onnx"), "text.onnx")


def test_set_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = """g (float[N,3,6,6] x, bool training) => (float[N,4,6,6] y) {
        c = Conv(x, W)
        y = If (training) <
            then_branch = t () => (float[N,4,6,6] p) {
                p, pm, pv = BatchNormalization<training_mode = 1>(c, g, b, m, v) },
            else_branch = e () => (float[N,4,6,6] q) { q = BatchNormalization(c, g, b, m, v) }>
    }"""
    path = write(tmp_path / "net.onnx", graph(text, W=normal(4, 3, 1, 1), **statistics(4)))
    select = ("--select", "training-mode")
    for value, code in (("false", 0), ("true", 1)):
        assert quick(capsys, path, "--set-input", f"training={value}", *select)[0] == code
    refused(quick(capsys, path, "--set-input", "is_training=false"), "no such input")


@pytest.mark.parametrize("command", ["check", "fold"])
def test_html(good: Path, command: str) -> None:
    page = good.parent / "report.html"
    options = ("--no-run",) if command == "check" else ("--no-validate",)
    done = bnopt(command, good, "--html", page, *options)
    assert done.code == 0, done
    assert page.read_text(encoding="utf-8").lower().startswith("<!doctype html>")


@pytest.mark.parametrize("command", ["check", "fold"])
def test_html_of_a_failure(bad: Path, command: str) -> None:
    page = bad.parent / "report.html"
    options = ("--no-run",) if command == "check" else ()
    done = bnopt(command, bad, "--html", page, *options)
    assert done.code == 1, done
    text = page.read_text(encoding="utf-8")
    assert "training-mode" in text
    assert ("Stopped, nothing written. Would fold" in text) == (command == "fold")


@pytest.mark.parametrize("command", ["check", "fold"])
@pytest.mark.parametrize(
    ("page", "says"),
    [
        ("missing/report.html", "no such folder: "),
        (".", "is a folder"),
        ("good.onnx", "--html would replace the model"),
        ("a" * 300, "is no path"),
    ],
)
def test_html_that_cannot_be_written(
    good: Path, capsys: pytest.CaptureFixture[str], command: str, page: str, says: str
) -> None:
    before = good.read_bytes()
    # Not joined: pathlib would drop the dot.
    code = main([command, str(good), "--html", f"{good.parent}/{page}"])
    done = capsys.readouterr()
    refused((code, done.out, done.err), says)
    assert [entry.name for entry in good.parent.iterdir()] == ["good.onnx"]
    assert good.read_bytes() == before


def test_html_may_not_replace_what_fold_writes(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = good.with_name("good.folded.onnx")
    code = main(["fold", str(good), "--html", str(page)])
    done = capsys.readouterr()
    refused((code, done.out, done.err), "--html would replace the model")
    assert not page.exists()


def test_it_runs_the_model(good: Path) -> None:
    done = bnopt("check", good, "--json")
    assert done.code == 0, done
    assert done.err == ""
    report = done.json()
    assert report["behaviour"]["batch"] > 1
    assert [output["name"] for output in report["behaviour"]["outputs"]] == ["r1"]
    assert report["samples"] == 0


def test_data(good: Path) -> None:
    np.savez(good.parent / "data.npz", x=normal(32, 3, 8, 8))
    done = bnopt("check", good, "--data", good.parent / "data.npz", "--no-run", "--json")
    assert done.code in (0, 1), done
    report = done.json()
    assert report["samples"] == 32
    assert report["behaviour"] is None
    measured = [entry["measured"] for entry in report["statistics"]]
    assert [entry["samples"] for entry in measured] == [32, 32]
    assert measured[0]["count"] == 32 * 8 * 8
    done = bnopt("check", good, "--data", good.parent / "missing.npz", "--no-run")
    assert done.code == 2
    assert len(done.err.splitlines()) == 1


def test_missing_cuda_is_never_a_pass_on_cpu(good: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is built for CUDA")
    done = bnopt("check", good, "--provider", "cuda")
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1
    assert "bnopt[gpu]" in done.err


def test_python() -> None:
    result = library.check(conv_bn(training=True), run=False)
    assert isinstance(result, library.CheckResult)
    assert not result.ok
    assert library.check(conv_bn(training=True), run=False, allow=["training-mode"]).ok
    assert library.check(conv_bn(), run=False).ok
