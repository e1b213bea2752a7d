"""Run one job of a tool in a process of its own: a crash, a hang or a leak ends that job only.

A tool calls `run(__file__, job)`; the same file is started again with `--job`, and its `main` hands
the job to `serve`, which writes what the job returns where `run` reads it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Job = dict[str, Any]
POLL_SECONDS = 0.005
# The line of a traceback that names the exception; more lines may follow, as part of its message.
EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Fail|Graph|Argument)\b.*:")


@dataclass(frozen=True)
class Outcome:
    """What came of one job.

    Attributes:
        status: `ok`; `failed` (an exception); `crashed` (killed by a signal); `timeout`.
        result: What the job returned; empty unless `ok`.
        message: The exception, else the last line it printed, or the signal's name.
        seconds: Wall time of the whole process, interpreter start and imports included.
        peak_mb: Peak resident memory in MiB of the process or of its largest child; after a
            signal or the time limit, at least what the caller itself had resident (see `_wait`).
    """

    status: Literal["ok", "failed", "crashed", "timeout"]
    result: Job
    message: str
    seconds: float
    peak_mb: float


def run(
    script: str,
    job: Job,
    *,
    python: str = sys.executable,
    timeout: float = 600.0,
    watch: Callable[[int], None] = lambda _: None,
) -> Outcome:
    """Run `script --job` in a new process group, and end the whole group at the time limit.

    `watch` is called with the process id every few milliseconds while the job runs.
    """
    with tempfile.TemporaryDirectory(prefix="bnopt-job-") as folder:
        answer, errors = Path(folder, "answer.json"), Path(folder, "stderr.txt")
        request = json.dumps({**job, "answer": str(answer)})
        start = time.perf_counter()
        with errors.open("wb") as stderr:
            child = subprocess.Popen(
                [python, script, "--job", request],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                timed_out, status, peak_kib = _wait(child.pid, start + timeout, watch)
            except BaseException:
                _kill_group(child.pid)
                raise
            child.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        said = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        message = next(filter(EXCEPTION.match, reversed(said)), said[-1] if said else "")
        told = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else {}
        result = told.get("result") or {}
        if timed_out:
            kind, message = "timeout", f"still running after {timeout:g} s"
        elif child.returncode < 0:
            kind, message = "crashed", signal.Signals(-child.returncode).name
        elif child.returncode or "result" not in told:
            kind = "failed"
        else:
            kind = "ok"
    return Outcome(kind, result, message, seconds, told.get("peak_kib", peak_kib) / 1024)


def _wait(pid: int, deadline: float, watch: Callable[[int], None]) -> tuple[bool, int, int]:
    """(timed out, wait status, peak KiB) of a child.

    Only wait4 tells the memory of one child among several. Linux carries the caller's own peak over
    into it (fork, then exec), which is why `serve` measures again from inside.
    """
    timed_out = False
    while True:
        ended, status, usage = os.wait4(pid, 0 if timed_out else os.WNOHANG)
        if ended:
            return timed_out, status, usage.ru_maxrss
        if time.perf_counter() > deadline:
            timed_out = True
            _kill_group(pid)
        watch(pid)
        time.sleep(POLL_SECONDS)


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def run_all(
    script: str, jobs: list[Job], *, workers: int = 1, python: str = sys.executable, timeout: float
) -> list[Outcome]:
    """Every job's outcome, in order; on a terminal, stderr counts along."""
    done = 0

    def one(job: Job) -> Outcome:
        nonlocal done
        outcome = run(script, job, python=python, timeout=timeout)
        done += 1
        if sys.stderr.isatty():
            print(f"\r{done}/{len(jobs)} ", end="", file=sys.stderr, flush=True)
        return outcome

    with ThreadPoolExecutor(workers) as pool:
        outcomes = list(pool.map(one, jobs))
    if sys.stderr.isatty():
        print(file=sys.stderr)
    return outcomes


def serve(request: str, work: Callable[[Job], Job]) -> None:
    """The child's side: do the job and write the answer for `run`, also of one that fails."""
    job = json.loads(request)
    answer = Path(job.pop("answer"))
    told: Job = {}
    try:
        told["result"] = work(job)
    finally:
        told["peak_kib"] = max(
            _high_water(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        )
        answer.write_text(json.dumps(told), encoding="utf-8")


def _high_water() -> int:
    """Peak resident KiB of this process since its program was started."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
