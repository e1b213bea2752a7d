"""Datasets that misbehave on a dask worker, and functions that give feeds; workers import this."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bnopt.errors import ExecutionError
from bnopt.runtime.dataset import Dataset

TESTS = Path(__file__).parent


class Wrapped:
    """A dataset that does something before each feed it reads."""

    def __init__(self, inner: Dataset) -> None:
        self.where, self.notes = inner.where, inner.notes
        self.total, self.samples = inner.total, inner.samples
        self.batch_size, self.by_reference = inner.batch_size, inner.by_reference
        self.inner = inner

    def before(self, number: int) -> None:
        raise NotImplementedError

    def feeds(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        for number, feed in enumerate(self.inner.feeds(start, stop), start):
            self.before(number)
            yield feed


class Slow(Wrapped):
    """A tenth of a second for each feed."""

    def before(self, number: int) -> None:
        time.sleep(0.1)


class Deadly(Wrapped):
    """Feed 9 kills whoever reads it."""

    def before(self, number: int) -> None:
        if number == 9:
            os.kill(os.getpid(), signal.SIGKILL)


class Broken(Wrapped):
    """A bug in a user's own dataset."""

    def before(self, number: int) -> None:
        raise ZeroDivisionError("a bug of the user's")


class Refusing(Wrapped):
    """An error of a class that bnopt knows."""

    def before(self, number: int) -> None:
        raise ExecutionError("refused")


class Bomb(np.ndarray):
    """An array that ends the process that unpickles it."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return os.abort, ()


class Crashing(Wrapped):
    """The process beside the dask worker that gets feed 9 crashes, the first few times."""

    def __init__(self, inner: Dataset, folder: Path, times: int) -> None:
        super().__init__(inner)
        self.folder, self.times = folder, times

    def feeds(self, start: int = 0, stop: int | None = None) -> Iterator[Any]:
        for number, feed in enumerate(self.inner.feeds(start, stop), start):
            tries = len(list(self.folder.glob("try*")))
            if number == 9 and tries < self.times:
                (self.folder / f"try{tries}").touch()
                feed = {name: array.view(Bomb) for name, array in feed.items()}
            yield feed
