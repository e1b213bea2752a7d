"""The dask engine: shards of a dataset on other processes or machines.

Each shard is one dask task with a name of its own, which dask runs again elsewhere if its worker
dies. A result is taken once for each shard, and merged here in the order of the shards, so neither
the number of workers nor their deaths can be seen in the moments.
"""

from __future__ import annotations

import importlib.util
import pickle
import queue
import time
import uuid
from collections.abc import Container, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bnopt import errors
from bnopt.calibration.engine import shards
from bnopt.errors import BnoptError, DependencyError, ExecutionError, UsageError
from bnopt.runtime.messages import one_line

if TYPE_CHECKING:
    from types import TracebackType

    from bnopt.calibration.dask_cluster import Cluster
    from bnopt.calibration.dask_job import Reply
    from bnopt.calibration.engine import Task
    from bnopt.calibration.runner import Part

IN_FLIGHT = 1 << 30
"""Bytes of feeds that are under way at a time, unless one shard has more."""

AHEAD = 3
"""Shards under way for each that a worker can run at a time.

From more than two on, dask spreads tasks evenly in place of sending them all to the worker that
was the first to have the model.
"""

ATTEMPTS = 3
"""How often a shard may crash onnxruntime."""


class DaskEngine:
    """Runs shards on the workers of a dask cluster.

    Use it as a context manager: it connects on entry, and on exit ends what it started.

    Attributes:
        notes: As in `Engine`.

    Args:
        scheduler: Address of a running scheduler, such as `tcp://host:8786`; None starts a
            cluster on this machine.
        workers: How many processes to start on this machine; None starts one for each core.
        timeout: Seconds that one chunk of feeds may take.
        patience: Seconds to wait for the scheduler and for its first worker.
        alone: Seconds to go on without any worker.

    Raises:
        UsageError: `workers` is less than 1, or given together with `scheduler`.
    """

    def __init__(
        self,
        scheduler: str | None = None,
        workers: int | None = None,
        *,
        timeout: float = 300.0,
        patience: float = 5.0,
        alone: float = 60.0,
    ) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"the number of workers is {workers}; it must be at least 1")
        if scheduler is not None and workers is not None:
            raise UsageError("a dask scheduler has the workers it has; leave out their number")
        self.notes: list[str] = []
        self._scheduler = scheduler
        self._workers = workers
        self._timeout = timeout
        self._patience = patience
        self._alone = alone
        self._cluster: Cluster | None = None

    def __enter__(self) -> DaskEngine:
        if importlib.util.find_spec("distributed") is None:
            raise DependencyError("dask is not installed; run: pip install 'bnopt[dask]'")
        from dask.system import CPU_COUNT

        from bnopt.calibration.dask_cluster import Cluster

        self._cluster = Cluster(self._scheduler, self._workers or CPU_COUNT, self._patience)
        self._note(*self._cluster.notes)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._cluster is not None:
            self._cluster.close()
            self._cluster = None

    def parts(self, task: Task, done: Container[int]) -> Iterator[tuple[int, Part]]:
        """See `Engine`.

        Raises:
            DataError: Data that does not fit the model, or that a worker cannot read.
            ExecutionError: The model does not run, workers die of it, or the cluster is gone.
            UsageError: A model too large to ship.
        """
        assert self._cluster is not None, "use the engine as a context manager"
        run = _Pass(self._cluster, task, self._timeout, self._alone)
        try:
            for number, reply in run.replies(done):
                self._note(*reply.notes)
                yield number, _part(number, reply)
        finally:
            deaths = run.close()
            if deaths:
                who, its = ("1 worker", "its") if deaths == 1 else (f"{deaths} workers", "their")
                self._note(f"{who} died; {its} shards were run again")

    def _note(self, *notes: str) -> None:
        self.notes += [note for note in dict.fromkeys(notes) if note not in self.notes]


class _Pass:
    """The tasks of one pass."""

    def __init__(self, cluster: Cluster, task: Task, timeout: float, alone: float) -> None:
        import cloudpickle

        from bnopt.calibration.dask_job import Job, Order, files_of, host

        self._cluster = cluster
        self._client = cluster.client
        self._task = task
        self._alone = alone
        self._id = uuid.uuid4().hex
        self._slots = cluster.slots()
        self._looked = self._peopled = time.monotonic()
        dataset = task.dataset
        self._own = dataset.by_reference and task.shards is not None
        slots: dict[str, int] = {}
        for address, count in self._slots.items():
            slots[host(address)] = slots.get(host(address), 0) + count
        order = Order(
            task.places,
            task.inputs,
            task.provider,
            task.singly,
            cloudpickle.dumps(dataset) if self._own else None,
            str(Path(dataset.where).absolute()),
            timeout,
            slots,
        )
        self._running: dict[Any, tuple[int, int]] = {}
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()
        # A task and not scattered data, which is lost with the worker that holds it.
        self._job = self._submit(f"bnopt-job-{self._id}", Job, files_of(task.path), order)

    def replies(self, done: Container[int]) -> Iterator[tuple[int, Reply]]:
        """One for each shard that is not in `done`, as they come."""
        from bnopt.calibration.dask_job import run_shard

        waiting = self._shards(done)
        upcoming = next(waiting, None)
        while upcoming is not None or self._running:
            while upcoming is not None and self._room(upcoming[1]):
                number, feeds = upcoming
                # What stands before the id is how dask groups tasks to learn how long they take.
                key = (f"bnopt-shard-{self._id}", number)
                future = self._submit(
                    key, run_shard, self._job, number, feeds, retries=ATTEMPTS - 1
                )
                self._running[future] = (number, len(feeds or b""))
                future.add_done_callback(self._ended.put)
                upcoming = next(waiting, None)
            for future in self._finished():
                number, _ = self._running[future]
                try:
                    reply = self._reply(number, future)
                except TimeoutError:
                    # It was done, but its worker died before it was fetched: it is run again.
                    future.add_done_callback(self._ended.put)
                    continue
                del self._running[future]
                yield number, reply

    def close(self) -> int:
        """Cancel what is left and let go of the rest.

        Returns:
            How many workers died over shards of this pass.
        """
        if self._client.status != "running":
            return 0
        with suppress(OSError, RuntimeError, ValueError, CancelledError):
            self._client.cancel([*self._running, self._job])
            self._running.clear()
            events: Any = self._client.get_events("all")
            return sum(self._is_death(event) for _, event in events)
        return 0

    def _is_death(self, event: Any) -> bool:
        # Events of other kinds, and of other clients, may be anything.
        if not isinstance(event, dict):
            return False
        event = cast("dict[str, Any]", event)
        lost = [*event.get("processing-tasks", ()), *event.get("lost-computed-tasks", ())]
        return event.get("action") == "remove-worker" and any(self._id in str(key) for key in lost)

    def _shards(self, done: Container[int]) -> Iterator[tuple[int, bytes | None]]:
        if not self._own:
            for number, feeds in shards(self._task, done):
                yield number, pickle.dumps(feeds, protocol=5)
            return
        for number in range(self._task.shards or 0):
            if number not in done:
                yield number, None

    def _submit(self, key: object, function: Any, *args: Any, retries: int = 0) -> Any:
        import dask.config

        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "8GiB"}):
            return self._client.submit(function, *args, key=key, retries=retries, pure=False)

    def _room(self, feeds: bytes | None) -> bool:
        if not self._running:
            return True
        size = len(feeds or b"") + sum(size for _, size in self._running.values())
        return size <= IN_FLIGHT and len(self._running) < AHEAD * sum(self._slots.values())

    def _finished(self) -> list[Any]:
        """A future that has ended; none if there is none for a second or two."""
        now = time.monotonic()
        if now - self._looked > 1.0:
            self._slots = self._cluster.slots()
            self._looked = now
        if self._slots:
            self._peopled = now
        elif now - self._peopled > self._alone:
            raise ExecutionError(f"no dask worker for {self._alone:g} s: all have died or left")
        try:
            return [self._ended.get(timeout=2.0)]
        except queue.Empty:
            return []

    def _reply(self, number: int, future: Any) -> Reply:
        from distributed import KilledWorker

        error: Any = None
        try:
            return future.result(timeout=5.0)
        except TimeoutError:
            raise
        except CancelledError as cancelled:
            raise self._cluster.lost(cancelled) from None
        # A task ends with whatever exception; it is told apart below.
        except Exception as raised:
            error = raised
        if isinstance(error, KilledWorker):
            count, last = error.allowed_failures + 1, error.last_worker.address
            reason = f"{count} workers died that had it to run, the last {last}"
            raise ExecutionError(f"shard {number}: {reason}")
        if isinstance(error, BnoptError):
            raise type(error)(f"shard {number}, {ATTEMPTS} attempts, the last on {error.message}")
        raise ExecutionError(f"shard {number}: {one_line(error)}")


def _part(number: int, reply: Reply) -> Part:
    if reply.part is not None:
        return reply.part
    name, message = reply.refusal
    raise getattr(errors, name)(f"shard {number}, worker {reply.worker}: {message}")
