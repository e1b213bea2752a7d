"""A job that crashes, raises or hangs ends itself only, and says what happened."""

from __future__ import annotations

import os
import textwrap
import time
from pathlib import Path

import _process
import pytest

SCRIPT = """
import os, signal, subprocess, sys, time
sys.path.insert(0, {tools!r})
import _process

def work(job):
    if job["do"] == "raise":
        raise ValueError("no such luck")
    if job["do"] == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job["do"] == "hang":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, file=open(job["pid_file"], "w"), flush=True)
        time.sleep(60)
    if job["do"] == "grow":
        block = bytearray(200 << 20)
        block[::4096] = b"x" * len(block[::4096])
    print("chatter on stdout")
    return {{"did": job["do"]}}

_process.serve(sys.argv[2], work)
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "job.py"
    tools = str(Path(_process.__file__).parent)
    path.write_text(textwrap.dedent(SCRIPT).format(tools=tools), encoding="utf-8")
    return str(path)


def test_result_comes_back_whatever_is_printed(script: str) -> None:
    outcome = _process.run(script, {"do": "work"})
    assert (outcome.status, outcome.result) == ("ok", {"did": "work"})


def test_exception_is_told_by_its_last_line(script: str) -> None:
    outcome = _process.run(script, {"do": "raise"})
    assert (outcome.status, outcome.message) == ("failed", "ValueError: no such luck")


def test_signal_is_named(script: str) -> None:
    outcome = _process.run(script, {"do": "crash"})
    assert (outcome.status, outcome.message) == ("crashed", "SIGSEGV")


def test_time_limit_ends_the_whole_process_group(script: str, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    outcome = _process.run(script, {"do": "hang", "pid_file": str(pid_file)}, timeout=1.5)
    assert outcome.status == "timeout"
    pid = int(pid_file.read_text())
    for _ in range(100):
        if not _running(pid):
            return
        time.sleep(0.05)
    pytest.fail("the job's own child outlived it")


def test_peak_memory_is_the_childs(script: str) -> None:
    small = _process.run(script, {"do": "work"}).peak_mb
    assert 190 < _process.run(script, {"do": "grow"}).peak_mb - small < 260


def test_outcomes_keep_the_order_of_the_jobs(script: str) -> None:
    jobs = [{"do": name} for name in ("work", "raise", "work")]
    outcomes = _process.run_all(script, jobs, workers=2, timeout=60)
    assert [outcome.status for outcome in outcomes] == ["ok", "failed", "ok"]


def _running(pid: int) -> bool:
    """False for a zombie too: nobody may be there to collect an orphan."""
    try:
        os.kill(pid, 0)
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
