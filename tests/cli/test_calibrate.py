"""`bnopt calibrate`: what it prints and writes, what it refuses, its exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cli_models import conv_bn, write
from cli_runner import Done, bnopt, environment
from graphs import model

from bnopt.cli import main


@pytest.fixture
def bad(tmp_path: Path) -> Path:
    """Two batch norms in training mode."""
    return write(tmp_path / "bad.onnx", conv_bn(blocks=2, training=True))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.npz"
    random = np.random.default_rng(0)
    np.savez(path, x=random.normal(size=(100, 3, 8, 8)).astype(np.float32))
    return path


def calibrate(*arguments: object, **options: object) -> Done:
    return bnopt("calibrate", *arguments, **options)


def test_from_broken_to_folded(bad: Path, data: Path, tmp_path: Path) -> None:
    assert bnopt("check", bad, "--data", data).code == 1
    done = calibrate(bad, "--data", data)
    assert done.code == 0
    assert done.err == ""
    out = tmp_path / "bad.calibrated.onnx"
    assert out.exists()
    assert "calibrated 2 of 2 batch norms" in done.out
    assert "bnopt fold" in done.out
    assert bnopt("check", out, "--data", data).code == 0
    folded = bnopt("fold", out, "--json").json()
    assert folded["summary"]["folded"] == 2


def test_fold_does_it_all(bad: Path, data: Path, tmp_path: Path) -> None:
    done = bnopt("fold", bad, "--training-mode", "eval", "--data", data, "--json").json()
    assert done["ok"]
    assert done["summary"]["folded"] == 2
    assert done["calibration"]["samples"] == 100
    assert (tmp_path / "bad.folded.onnx").exists()


def test_json(bad: Path, data: Path, tmp_path: Path) -> None:
    report = calibrate(
        bad, "--data", data, "-o", tmp_path / "o.onnx", "--method", "sequential", "--samples", 64,
        "--seed", 1, "--batch-size", 16, "--json",
    ).json()  # fmt: skip
    assert report["command"] == "calibrate"
    assert report["ok"]
    assert report["error"] is None
    assert (report["samples"], report["batch_size"], report["seed"]) == (64, 16, 1)
    assert (report["method"], report["engine"], report["passes"]) == ("sequential", "local", 2)
    assert [len(layer["mean"]) for layer in report["layers"]] == [3, 3]
    assert report["output"] == str(tmp_path / "o.onnx")
    assert report["validation"]["equivalent"]


def test_html(bad: Path, data: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert calibrate(bad, "--data", data, "--html", page).code == 0
    assert "bnopt calibrate" in page.read_text(encoding="utf-8")


def test_in_place(bad: Path, data: Path) -> None:
    before = bad.read_bytes()
    assert calibrate(bad, "--data", data, "--in-place").code == 0
    assert bad.read_bytes() != before
    assert bnopt("check", bad, "--data", data).code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--data"),
        (["--data", "DATA", "--in-place", "-o", "x.onnx"], "exclude"),
        (["--data", "DATA", "-o", "MODEL"], "is the input"),
        (["--data", "missing.npz"], "no such file"),
        (["--data", "DATA", "--method", "exact"], "invalid value"),
        (["--data", "DATA", "--samples", "0"], "invalid value"),
        (["--data", "DATA", "--batch-size", "x"], "invalid value"),
        (["--data", "DATA", "--workers", "2"], "--engine dask"),
        (["--data", "DATA", "--resume", "MODEL"], "would replace"),
        (["--data", "DATA", "--resume", "DATA"], "would replace"),
        (["--data", "DATA", "--resume", "no/such/file"], "no folder"),
        (["--data", "DATA", "--html", "MODEL"], "would replace"),
        (["--data", "DATA", "--preprocess", "imagenet"], "images"),
        (["--data", "DATA", "--set-input", "y=1"], "y"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], words: str, bad: Path, data: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    names = {"DATA": str(data), "MODEL": str(bad)}
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    code = main(["calibrate", str(bad), *(names.get(word, word) for word in arguments)])
    done = capsys.readouterr()
    assert code == 2
    assert done.out == ""
    assert len(done.err.splitlines()) == 1
    assert words in done.err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_nothing_to_calibrate_is_a_refusal(tmp_path: Path, data: Path) -> None:
    path = write(
        tmp_path / "m.onnx", model("g (float[N,3,8,8] x) => (float[N,3,8,8] y) { y = Relu(x) }")
    )
    done = calibrate(path, "--data", data, "--json")
    assert done.code == 1
    assert done.json()["error"]["code"] == "refused"
    assert not (tmp_path / "m.calibrated.onnx").exists()


def test_ctrl_c_leaves_partial_moments_only(bad: Path, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text(
        "import time\nimport numpy as np\n"
        "def feeds():\n"
        "    random = np.random.default_rng(0)\n"
        "    for number in range(400):\n"
        "        if number > 40:\n"
        "            time.sleep(0.05)\n"
        "        yield {'x': random.normal(size=(8, 3, 8, 8)).astype(np.float32)}\n",
        encoding="utf-8",
    )
    names = {path.name for path in tmp_path.iterdir()}
    command = [
        sys.executable, "-m", "bnopt", "calibrate", str(bad), "--data", "slow:feeds",
        "--resume", "partial",
    ]  # fmt: skip
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "partial").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert err == b"bnopt: interrupted\n"
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == names | {"partial"}
    (tmp_path / "slow.py").write_text(
        (tmp_path / "slow.py").read_text(encoding="utf-8").replace("0.05", "0"), encoding="utf-8"
    )
    done = calibrate(bad, "--data", "slow:feeds", "--resume", "partial", "--json", cwd=tmp_path)
    report = json.loads(done.out)
    assert report["resumed"] > 0
    assert report["samples"] == 3200
    assert not (tmp_path / "partial").exists()
