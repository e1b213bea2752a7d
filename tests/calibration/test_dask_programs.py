"""Whole programs: what is seen on the terminal, and what is left behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from dask_data import TESTS
from dask_runs import (
    ROOT,
    SHARDS,
    Net,
)

pytest.importorskip("distributed", reason="distributed is not installed (the extra dask)")
pytestmark = pytest.mark.usefixtures("importable")

PROGRAM = """
import os, pickle, signal, sys
from dask_data import Slow
from dataclasses import replace
from bnopt.calibration.dask_engine import DaskEngine

def kill_the_busiest(engine):
    tasks = engine._cluster.client.processing()
    busiest = max(tasks, key=lambda address: len(tasks[address]))
    os.kill(engine._cluster.client.run(os.getpid)[busiest], signal.SIGKILL)

# No `if __name__ == "__main__"`: workers must not run this again.
task = pickle.loads(open(sys.argv[1], "rb").read())
with DaskEngine(workers=2) as engine:
    pids = sorted(engine._cluster.client.run(os.getpid).values())
    print(*pids, engine._cluster._process.pid, flush=True)
    parts = engine.parts(replace(task, dataset=Slow(task.dataset)), ())
    for number, part in parts:
        if sys.argv[2] == "kill":
            kill_the_busiest(engine)
            sys.argv[2] = "killed"
        print("part", flush=True)
    print(engine.notes)
"""


@pytest.fixture
def program(net: Net, tmp_path: Path) -> Any:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "task").write_bytes(pickle.dumps(net.task))

    def start(what: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "task"), what],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]),
                "TMPDIR": str(tmp_path),
            },
        )

    return start


def gone(pids: list[int]) -> bool:
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("what", ["nothing", "kill"])
def test_nothing_is_printed(program: Any, tmp_path: Path, what: str) -> None:
    child = program(what)
    out, err = child.communicate(timeout=120)
    assert err == ""
    first, *parts, notes = out.splitlines()
    assert parts == ["part"] * SHARDS
    assert notes == ("[]" if what == "nothing" else "['1 worker died; its shards were run again']")
    assert gone([int(pid) for pid in first.split()])
    assert not list(tmp_path.glob("bnopt-*"))
    assert child.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_was_started_ends_with_the_client(
    program: Any, tmp_path: Path, number: signal.Signals
) -> None:
    child = program("nothing")
    pids = [int(pid) for pid in child.stdout.readline().split()]
    assert child.stdout.readline() == "part\n"
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert gone(pids)
    if number == signal.SIGINT:
        assert err.splitlines()[-1] == "KeyboardInterrupt"
        assert "distributed" not in err.replace("distributed/", "")
        assert not list(tmp_path.glob("bnopt-*"))
