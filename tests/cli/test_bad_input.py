"""Bad input: one line on stderr, exit 2, no traceback, nothing new on disk."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from cli_models import conv_bn, write
from cli_runner import Done, bnopt, environment


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def one_line(done: Done, says: str) -> None:
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1, done.err
    assert done.err.startswith("bnopt: ")
    assert says in done.err
    assert done.out == ""


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return write(tmp_path / "good.onnx", conv_bn())


def bad_inputs(folder: Path) -> dict[str, tuple[Path, str]]:
    """Name -> the argument, and what the message must say."""
    (folder / "folder.onnx").mkdir()
    (folder / "text.onnx").write_text("this is not a model\n")
    (folder / "empty.onnx").write_bytes(b"")
    content = conv_bn().SerializeToString()
    (folder / "cut.onnx").write_bytes(content[: len(content) // 2])
    (folder / "model.txt").write_bytes(content)
    hollow = conv_bn()
    del hollow.graph.node[:]
    write(folder / "hollow.onnx", hollow)
    external = conv_bn()
    external.graph.initializer[0].ClearField("raw_data")
    external.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    external.graph.initializer[0].external_data.add(key="location", value="gone.bin")
    write(folder / "external.onnx", external)
    external.graph.initializer[0].external_data[0].value = "/etc/passwd"
    write(folder / "attack.onnx", external)
    (folder / "model\n\x1b[2J.onnx").write_bytes(b"")
    return {
        "missing": (folder / "none.onnx", "no such file"),
        "directory": (folder / "folder.onnx", "is a directory"),
        "text": (folder / "text.onnx", "is a text file"),
        "empty file": (folder / "empty.onnx", "is empty"),
        "truncated": (folder / "cut.onnx", "truncated"),
        "empty graph": (folder / "hollow.onnx", "empty graph"),
        "wrong extension": (folder / "model.txt", "does not end in .onnx"),
        "external data missing": (folder / "external.onnx", "gone.bin is missing"),
        "external data outside": (folder / "attack.onnx", "absolute path '/etc/passwd'"),
        "hostile name": (folder / "model\n\x1b[2J.onnx", "model\\n\\x1b[2J.onnx is empty"),
    }


CASES = [
    "missing",
    "directory",
    "text",
    "empty file",
    "truncated",
    "empty graph",
    "wrong extension",
    "external data missing",
    "external data outside",
    "hostile name",
]


@pytest.mark.parametrize("case", CASES)
def test_fold(tmp_path: Path, case: str) -> None:
    path, says = bad_inputs(tmp_path)[case]
    before = tree(tmp_path)
    one_line(bnopt("fold", path), says)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("case", ["missing", "text", "external data missing"])
def test_inspect_and_validate(tmp_path: Path, good: Path, case: str) -> None:
    path, says = bad_inputs(tmp_path)[case]
    one_line(bnopt("inspect", path), says)
    one_line(bnopt("validate", good, path), says)


@pytest.mark.parametrize("case", CASES[:3])
def test_json(tmp_path: Path, case: str) -> None:
    path, says = bad_inputs(tmp_path)[case]
    done = bnopt("fold", path, "--json")
    assert done.code == 2
    report = done.json()
    assert report["ok"] is False
    assert report["command"] == "fold"
    assert report["error"]["code"] == "load"
    assert says in report["error"]["message"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["fold"], "missing argument"),
        (["fold", "good.onnx", "--no-such-option"], "no such option"),
        (["fold", "good.onnx", "-o", "o.onnx", "--in-place"], "exclude each other"),
        (["fold", "good.onnx", "-o", "good.onnx"], "--in-place"),
        (["fold", "good.onnx", "-o", "./sub/../good.onnx"], "--in-place"),
        (["fold", "good.onnx", "-o", "o.txt"], "must end in .onnx"),
        (["fold", "good.onnx", "-o", "none/o.onnx"], "no folder"),
        (["fold", "good.onnx", "-o", "sub"], "must end in .onnx"),
        (["fold", "good.onnx", "-o", "dir.onnx"], "is a directory"),
        (["fold", "good.onnx", "--provider", "tpu"], "cuda"),
        (["fold", "good.onnx", "--allow", "trainin-mode"], "'training-mode'"),
        (["fold", "good.onnx", "--data", "none.npz"], "none.npz"),
        (["validate", "good.onnx"], "missing argument"),
        (["validate", "good.onnx", "good.onnx", "--rtol", "nan"], "finite"),
        (["validate", "good.onnx", "good.onnx", "--atol", "-1"], "not negative"),
        (["explain", "not-liner"], "'not-linear'"),
        (["explain", "xyzzy"], "lists all"),
        (["flod", "good.onnx"], "'fold'"),
        (["--no-such"], "no such option"),
    ],
)
def test_usage(tmp_path: Path, good: Path, arguments: list[str], says: str) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "dir.onnx").mkdir()
    before = tree(tmp_path)
    one_line(bnopt(*arguments, cwd=tmp_path), says)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("arguments", [["fold"], ["flod", "x"], ["explain", "xyzzy"]])
def test_usage_json(arguments: list[str]) -> None:
    done = bnopt(*arguments, "--json")
    assert done.code == 2
    assert done.json()["error"]["code"] == "usage"
    assert len(done.err.splitlines()) == 1


def test_nothing_given() -> None:
    done = bnopt()
    assert done.code == 2
    assert done.out == ""
    assert "Commands:" in done.err


def in_child(before: str, *arguments: object, cwd: Path) -> Done:
    """Run the command in a process that first runs `before`."""
    script = f"import resource, signal, os, sys\n{before}\n"
    script += "from bnopt.cli import main\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(),
        timeout=300,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def test_output_larger_than_the_limit(tmp_path: Path, good: Path) -> None:
    limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, (100, {resource.RLIM_INFINITY}))"
    before = tree(tmp_path)
    one_line(in_child(limit, "fold", good, "--no-validate", cwd=tmp_path), "cannot write")
    assert tree(tmp_path) == before


def test_full_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount a small disk")
    try:
        model = write(tmp_path / "wide.onnx", conv_bn(blocks=20))
        one_line(bnopt("fold", model, "-o", disk / "o.onnx"), "No space left")
        assert tree(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_stdout_on_a_full_device(tmp_path: Path, good: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "bnopt", "inspect", str(good)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            check=False,
        )
    one_line(Done(done.returncode, "", done.stderr), "cannot write to stdout")
