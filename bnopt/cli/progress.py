"""A progress bar on stderr, only where stderr is a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator

_VERBS = {
    "load": "loading",
    "plan": "planning",
    "apply": "folding",
    "save": "writing",
    "validate": "validating",
    "run": "running the model",
    "measure": "measuring",
    "calibrate": "calibrating",
}


@contextlib.contextmanager
def progress_bar() -> Generator[Callable[[str, int, int], None] | None, None, None]:
    """A callback (stage, done, total) that draws; None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(file=sys.stderr)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TextColumn("{task.fields[rate]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("loading", total=None, rate="")
        shown = "load"

        def tell(stage: str, done: int, total: int) -> None:
            nonlocal shown
            if stage != shown:
                # A new clock, or its rate would be that of all stages together.
                bar.reset(task, start=True, rate="")
                shown = stage
            # A stage of one step has no length that a bar could show.
            length = total if total > 1 else None
            name, _, rest = stage.partition(",")
            words = f"{_VERBS.get(name, name)}{f',{rest}' if rest else ''}"
            bar.update(task, description=words, completed=done, total=length)
            speed = bar.tasks[0].speed
            if name == "measure" and speed:
                bar.update(task, rate=f"{done} samples, {speed:.3g}/s")

        yield tell
