"""What tools with child processes share: how they end, and what they ask of their children."""

from __future__ import annotations

from pathlib import Path

import _process
import pytest
from _command import fail, in_children, require

SCRIPT = """
import sys
sys.path.insert(0, {tools!r})
import _process

def work(job):
    if job["task"] == "train" and not job["good"]:
        raise ValueError("no such luck")
    return {{"did": job["task"], "folder": job["folder"]}}

_process.serve(sys.argv[2], work)
"""


@pytest.fixture
def script(tmp_path: Path) -> str:
    path = tmp_path / "job.py"
    path.write_text(SCRIPT.format(tools=str(Path(_process.__file__).parent)), encoding="utf-8")
    return str(path)


def ended(capsys: pytest.CaptureFixture[str], stopped: pytest.ExceptionInfo[SystemExit]) -> str:
    """What stands on stderr after "error: ", of a tool that ended with the code for bad input."""
    assert stopped.value.code == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def test_a_failure_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        fail("no folder nowhere")
    assert ended(capsys, stopped) == "no folder nowhere"


def test_missing_packages_are_one_line_that_says_what_to_install(
    capsys: pytest.CaptureFixture[str],
) -> None:
    require(("json",), "table", "json")
    with pytest.raises(SystemExit) as stopped:
        require(("no_such_package", "json", "nor_this"), "table", "'bnopt[cpu]' such")
    assert ended(capsys, stopped) == (
        "no no_such_package, nor_this in this Python; run `make table`, or "
        "`pip install 'bnopt[cpu]' such`"
    )


def test_answers_are_in_the_order_of_the_jobs(script: str) -> None:
    jobs = [{"folder": name, "good": True} for name in ("a", "b", "c")]
    answers = in_children(script, "train", jobs, workers=2, timeout=60)
    assert answers == [{"did": "train", "folder": name} for name in ("a", "b", "c")]
    assert all("task" not in job for job in jobs)


def test_a_job_that_fails_ends_the_tool(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [{"folder": f"store/{name}", "good": name == "a"} for name in ("a", "b")]
    assert len(in_children(script, "check", jobs, workers=2, timeout=60)) == 2
    with pytest.raises(SystemExit) as stopped:
        in_children(script, "train", jobs, workers=2, timeout=60)
    assert ended(capsys, stopped) == "train b: failed: ValueError: no such luck"


def test_a_time_limit_is_kept(script: str, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [{"folder": "store/a", "good": True}]
    with pytest.raises(SystemExit) as stopped:
        in_children(script, "train", jobs, workers=1, timeout=0.001)
    assert ended(capsys, stopped) == "train a: timeout: still running after 0.001 s"
