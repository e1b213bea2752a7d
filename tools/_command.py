"""What the command lines of tools that work in child processes share."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import _process


def fail(message: str) -> NoReturn:
    """End the tool with one line on stderr and the exit code 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


def require(modules: Sequence[str], target: str, packages: str) -> None:
    """Fail if a module is not installed.

    Args:
        modules: Their names, as they are imported.
        target: The target of the Makefile that installs them and runs the tool.
        packages: What pip would have to install.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        fail(
            f"no {', '.join(missing)} in this Python; run `make {target}`, or "
            f"`pip install {packages}`"
        )


def in_children(
    script: str, task: str, jobs: list[_process.Job], *, workers: int, timeout: float
) -> list[_process.Job]:
    """What each job returned, in order; fails with the message of the first that did not end well.

    Args:
        script: The tool's file. It is started with each job, which says under `task` what to do.
        task: What to do.
        jobs: Each has a `folder` of its own, which names it.
        workers: Jobs at a time.
        timeout: Seconds for each.
    """
    todo = [{"task": task, **job} for job in jobs]
    outcomes = _process.run_all(script, todo, workers=workers, timeout=timeout)
    for job, outcome in zip(jobs, outcomes, strict=True):
        if outcome.status != "ok":
            fail(f"{task} {Path(job['folder']).name}: {outcome.status}: {outcome.message}")
    return [outcome.result for outcome in outcomes]
