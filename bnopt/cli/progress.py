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
}


@contextlib.contextmanager
def progress_bar() -> Generator[Callable[[str, int, int], None] | None, None, None]:
    """A callback (stage, done, total) that draws; None where nobody would see it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    console = Console(file=sys.stderr)
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    with bar:
        task = bar.add_task("loading", total=None)

        def tell(stage: str, done: int, total: int) -> None:
            # A stage of one step has no length that a bar could show.
            length = total if total > 1 else None
            bar.update(task, description=_VERBS.get(stage, stage), completed=done, total=length)

        yield tell
