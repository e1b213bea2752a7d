"""What the commands print, write and return."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from cli_models import conv_bn, write
from cli_runner import bnopt, environment

from bnopt import __version__
from bnopt.cli import main
from bnopt.cli.group import COMMANDS, group
from bnopt.cli.options import default_output


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(tmp_path / "net.onnx", conv_bn(blocks=2))


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_fold_writes_beside_the_input(model: Path) -> None:
    before = model.read_bytes()
    done = bnopt("fold", model)
    assert done.code == 0, done
    assert done.err == ""
    assert done.out.startswith("folded 2 of 2 batch norms; equivalent; wrote")
    assert names(model.parent) == ["net.folded.onnx", "net.onnx"]
    assert operators(model.parent / "net.folded.onnx") == ["Conv", "Relu"] * 2
    assert model.read_bytes() == before


def test_fold_json(model: Path) -> None:
    done = bnopt("fold", "net.onnx", "-o", "out.onnx", "--json", cwd=model.parent)
    assert done.code == 0, done
    assert done.err == ""
    report = done.json()
    assert report["ok"] is True
    assert report["summary"]["folded"] == 2
    assert report["validation"]["equivalent"] is True
    assert report["validation"]["providers"] == ["cpu"]
    assert Path(report["output"]).name == "out.onnx"
    assert report["nodes"]["after"] == {"Conv": 2, "Relu": 2}
    assert names(model.parent) == ["net.onnx", "out.onnx"]


def test_fold_in_place(model: Path) -> None:
    done = bnopt("fold", model, "--in-place", "--no-validate")
    assert done.code == 0, done
    assert "not validated" in done.out
    assert names(model.parent) == ["net.onnx"]
    assert operators(model) == ["Conv", "Relu"] * 2


def test_dry_run_writes_nothing(model: Path) -> None:
    done = bnopt("fold", model, "--dry-run", "-o", model.parent / "o.onnx")
    assert done.code == 0, done
    assert done.out.startswith("would fold 2 of 2")
    assert names(model.parent) == ["net.onnx"]


def test_refusal_still_reports(tmp_path: Path) -> None:
    model = write(tmp_path / "net.onnx", conv_bn(training=True))
    done = bnopt("fold", model)
    assert done.code == 1, done
    assert done.out.startswith("would fold 0 of 1 batch norm; stopped, nothing written")
    assert "training-mode" in done.out
    assert len(done.err.splitlines()) == 1
    done = bnopt("fold", model, "--json")
    assert done.code == 1
    report = done.json()
    assert report["ok"] is False
    assert report["error"]["code"] == "refused"
    assert report["sites"][0]["reason"] == "training-mode"
    assert report["findings"][0]["code"] == "training-mode"
    assert report["output"] is None
    assert names(tmp_path) == ["net.onnx"]


@pytest.mark.parametrize("code", ["training-mode", "all"])
def test_allow(tmp_path: Path, code: str) -> None:
    model = write(tmp_path / "net.onnx", conv_bn(training=True))
    assert bnopt("fold", model, "--allow", code, "--no-validate").code == 0


def test_inspect(model: Path, tmp_path: Path) -> None:
    done = bnopt("inspect", model)
    assert done.code == 0, done
    assert done.out.startswith("2 batch norms; fold would remove 2")
    report = bnopt("inspect", model, "--json").json()
    assert [site["decision"] for site in report["sites"]] == ["folded", "folded"]
    training = write(tmp_path / "training.onnx", conv_bn(training=True))
    assert bnopt("inspect", training).code == 1


def test_validate(model: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other.onnx", conv_bn(blocks=2, gamma=1.6))
    done = bnopt("validate", model, model)
    assert done.code == 0, done
    assert done.out.startswith("equivalent")
    done = bnopt("validate", model, other)
    assert done.code == 1, done
    assert done.out.startswith("NOT equivalent")
    assert len(done.err.splitlines()) == 1
    report = bnopt("validate", model, other, "--json").json()
    assert report["ok"] is False
    assert report["error"]["code"] == "not-equivalent"
    assert report["validation"]["outputs"][0]["worst"]["channel"] is not None
    assert bnopt("validate", model, other, "--rtol", "10", "--atol", "10").code == 0


def test_missing_cuda_is_never_a_pass_on_cpu(model: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is built for CUDA")
    done = bnopt("fold", model, "--provider", "cuda")
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1
    assert "bnopt[gpu]" in done.err
    assert names(model.parent) == ["net.onnx"]


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> str:
        assert main(["explain", *arguments]) == 0
        return capsys.readouterr().out

    listing, page = run(), run("training-mode")
    assert "not-linear" in listing
    assert "training-mode" in listing
    assert "How to fix" in page
    assert all(len(line) <= 80 for line in (listing + page).splitlines())
    entries = json.loads(run("not-linear", "--json"))["entries"]
    assert [entry["code"] for entry in entries] == ["not-linear"]
    assert len(json.loads(run("--json"))["entries"]) > 20


def test_every_code_that_exists_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    from bnopt.reasons import CALIBRATION_REASONS, REASONS
    from bnopt.rules import RULES

    assert not REASONS.keys() & CALIBRATION_REASONS.keys()
    for code in [*REASONS, *CALIBRATION_REASONS, *(rule.code for rule in RULES)]:
        assert main(["explain", code]) == 0
        assert code in capsys.readouterr().out


def test_version_and_help() -> None:
    assert __version__ in bnopt("--version").out
    text = bnopt("--help").out
    assert all(f"  {name} " in text and line in text for name, line in COMMANDS.items())
    assert "_BNOPT_COMPLETE" in text


@pytest.mark.parametrize("name", COMMANDS)
def test_summaries_are_the_first_lines_of_the_commands(name: str) -> None:
    command = group.get_command(None, name)  # type: ignore[arg-type]
    assert command is not None
    assert command.name == name
    assert command.help is not None


def test_shell_completion() -> None:
    done = bnopt(_BNOPT_COMPLETE="bash_source")
    assert done.code == 0
    assert "_bnopt_completion" in done.out
    done = bnopt(_BNOPT_COMPLETE="bash_complete", COMP_WORDS="bnopt fo", COMP_CWORD="1")
    assert "fold" in done.out


def test_no_color_in_a_pipe(model: Path) -> None:
    assert "\x1b" not in bnopt("inspect", model).out


def test_ascii_output_never_fails(tmp_path: Path) -> None:
    model = conv_bn()
    model.graph.node[1].name = "größe-\u4e2d"
    path = write(tmp_path / "net.onnx", model)
    done = bnopt("inspect", path, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert done.code == 0, done
    assert done.out.isascii()


def test_checker_noise_stays_off_stdout(tmp_path: Path) -> None:
    model = conv_bn()
    model.graph.node.insert(
        0, onnx.helper.make_node("ImageScaler", ["x"], ["s"], scale=1.0, bias=[0.0, 0.0, 0.0])
    )
    model.graph.node[1].input[0] = "s"
    path = write(tmp_path / "net.onnx", model)
    done = bnopt("fold", path, "--no-validate", "--json")
    assert done.code == 0, done
    assert done.json()["summary"]["folded"] == 1


def test_closed_pipe(model: Path) -> None:
    command = f"'{sys.executable}' -m bnopt inspect '{model}' | true"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    model = write(tmp_path / "net.onnx", conv_bn(blocks=30))
    # The interrupt comes at the worst moment: everything is staged, nothing is renamed.
    script = f"""
import os, sys
import bnopt.io.save as save
def stop(*_args):
    os.kill(os.getpid(), {int(number)})
    import time; time.sleep(30)
save.StagedModel.commit = stop
from bnopt.cli import main
sys.exit(main(sys.argv[1:]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, "fold", str(model), "--no-validate", "--json"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=120,
        check=False,
    )
    assert done.returncode == 130
    assert done.stderr == "bnopt: interrupted\n"
    assert '"interrupted"' in done.stdout
    assert names(tmp_path) == ["net.onnx"]


def test_bug_is_one_line_unless_the_traceback_is_wanted(model: Path) -> None:
    script = """
import sys
import bnopt.api
def broken(*_args, **_keywords):
    raise ZeroDivisionError("a bug")
bnopt.api.inspect = broken
from bnopt.cli import main
sys.exit(main(["inspect", "m.onnx"]))
"""
    for wanted in ("0", "1"):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            env=environment(BNOPT_TRACEBACK=wanted),
            check=False,
        )
        assert done.returncode == 2
        assert "internal error: ZeroDivisionError: a bug; please report" in done.stderr
        assert ("Traceback" in done.stderr) is (wanted == "1")


def test_bytes_do_not_depend_on_the_hash_seed(model: Path) -> None:
    digests: set[str] = set()
    for seed in ("1", "2"):
        out = model.parent / f"{seed}.onnx"
        assert bnopt("fold", model, "-o", out, "--no-validate", PYTHONHASHSEED=seed).code == 0
        digests.add(hashlib.sha256(out.read_bytes()).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("given", "default"),
    [
        ("a/x.onnx", "a/x.folded.onnx"),
        ("x.onnx.pb", "x.folded.onnx"),
        ("x.pb", "x.folded.onnx"),
        ("x.y.ONNX", "x.y.folded.onnx"),
        (".onnx", ".onnx.folded.onnx"),
    ],
)
def test_default_output(given: str, default: str) -> None:
    assert default_output(given, "folded") == Path(default)


def test_working_directory_is_respected(model: Path) -> None:
    done = bnopt("fold", "net.onnx", "--no-validate", cwd=model.parent)
    assert done.code == 0
    assert "wrote net.folded.onnx" in done.out
    assert os.listdir(model.parent).count("net.folded.onnx") == 1
