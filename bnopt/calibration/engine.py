"""Engines: they map shards of a dataset to moments, here or on other machines.

A shard is a fixed number of consecutive feeds. Every engine computes the same parts and they are
merged in the order of the shards, so that which engine ran, with how many workers, in which order
they finished, and whether some were taken from an earlier run, makes no difference to the result.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from typing import TYPE_CHECKING, Protocol, cast

from bnopt.calibration.runner import Part, Runner
from bnopt.runtime.process import Worker

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from bnopt.calibration.runner import Feed
    from bnopt.calibration.taps import Place
    from bnopt.runtime.dataset import Dataset
    from bnopt.runtime.interface import TensorInfo

SHARD = 4
"""Feeds in a shard."""


@dataclass(frozen=True, slots=True)
class Task:
    """One pass over a dataset.

    Attributes:
        path: A model whose outputs are the moments of one feed.
        places: What these outputs mean.
        inputs: Of the model.
        dataset: What to run.
        provider: `cpu` or `cuda`.
        singly: Whether samples may be run one by one where a feed of several fails.
    """

    path: Path
    places: tuple[Place, ...]
    inputs: tuple[TensorInfo, ...]
    dataset: Dataset
    provider: str = "cpu"
    singly: bool = False

    @property
    def shards(self) -> int | None:
        """How many; None if the dataset does not say how many feeds it has."""
        total = self.dataset.total
        return None if total is None else -(-total // SHARD)


class Engine(Protocol):
    """Runs tasks, one after another.

    Attributes:
        notes: What a reader of the result should know.
    """

    notes: list[str]

    def parts(self, task: Task, done: Container[int]) -> Iterator[tuple[int, Part]]:
        """Each shard that is not in `done`, by number, as it is finished, in any order.

        Raises:
            DataError: Data that does not fit the model.
            ExecutionError: The model does not run.
        """
        ...


class LocalEngine:
    """Runs every shard in one worker process on this machine; a context manager that ends it.

    Args:
        timeout: Seconds that one chunk of feeds may take.
    """

    def __init__(self, timeout: float = 300.0) -> None:
        self.notes: list[str] = []
        self._worker = Worker(timeout)

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._worker.close()

    def parts(self, task: Task, done: Container[int]) -> Iterator[tuple[int, Part]]:
        """See `Engine`."""

        def run(feeds: Sequence[Feed]) -> list[Feed]:
            result = self._worker.call(
                "bnopt.runtime.session:run_kept",
                str(task.path),
                list(feeds),
                provider=task.provider,
                task="onnxruntime",
            )
            return cast("list[Feed]", result)

        runner = Runner(run, task.places, task.inputs, task.singly)
        for number, feeds in shards(task, done):
            yield number, runner.part(feeds)
        self.notes += [note for note in runner.notes if note not in self.notes]


def shards(task: Task, done: Container[int]) -> Iterator[tuple[int, list[Feed]]]:
    """The feeds of every shard that is not in `done`, read one shard at a time."""
    if task.shards is not None:
        for number in range(task.shards):
            if number not in done:
                yield number, shard(task, number)
        return
    feeds = task.dataset.feeds()
    for number in count():
        chunk = list(islice(feeds, SHARD))
        if chunk and number not in done:
            yield number, chunk
        if len(chunk) < SHARD:
            return


def shard(task: Task, number: int) -> list[Feed]:
    """The feeds of one shard."""
    return list(task.dataset.feeds(number * SHARD, (number + 1) * SHARD))
