"""What runs on dask's workers: one pass over a dataset, shipped whole and run shard by shard.

onnxruntime runs in a process of its own beside the dask worker, as it does on one machine, so that
a crash costs one attempt at one shard and not the dask worker with all that it holds.
"""

from __future__ import annotations

import pickle
import tempfile
import threading
import weakref
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from bnopt.calibration.engine import SHARD
from bnopt.calibration.runner import Part, Runner
from bnopt.errors import BnoptError, DataError, ExecutionError, UsageError
from bnopt.runtime.dependencies import installed, require_onnxruntime
from bnopt.runtime.messages import one_line
from bnopt.runtime.process import Worker

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnopt.calibration.runner import Feed
    from bnopt.calibration.taps import Place
    from bnopt.runtime.dataset import Dataset
    from bnopt.runtime.interface import TensorInfo

Content: TypeAlias = "NDArray[np.uint8]"
"""Bytes of a file; an array, which unlike `bytes` is pickled without another copy of it."""

LIMIT = 2 << 30
"""Bytes of a model that is shipped; it passes whole through the scheduler's memory."""

MODEL = "model.onnx"
"""Name of the model among the shipped files; external data keeps the name that the model gives."""


@dataclass(frozen=True, slots=True)
class Order:
    """All that a worker has to know of a pass, apart from the files.

    Attributes:
        places: As in `Task`.
        inputs: As in `Task`.
        provider: As in `Task`.
        singly: As in `Task`.
        dataset: The pickled dataset; None where feeds come with each shard.
        origin: Where the files of the dataset are, if it has any.
        timeout: Seconds that one chunk of feeds may take.
        slots: Host -> how many shards may run there at a time.
    """

    places: tuple[Place, ...]
    inputs: tuple[TensorInfo, ...]
    provider: str
    singly: bool
    dataset: bytes | None
    origin: str
    timeout: float
    slots: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a shard.

    Attributes:
        worker: Address of the dask worker that ran it.
        part: Its moments; None if it was refused.
        notes: What a reader of the result should know.
        refusal: Class and message of an error that another attempt would meet again.
    """

    worker: str
    part: Part | None
    notes: tuple[str, ...] = ()
    refusal: tuple[str, str] = ("", "")


class Job:
    """A pass, as a value in a dask worker's memory.

    dask sends it to each worker once, makes it again if the only worker that had it dies, and
    drops it when the client is done or gone. Files and processes go with it.

    Args:
        files: Relative path -> content; the model and its external data.
        order: What to do.
    """

    def __init__(self, files: dict[str, Content], order: Order) -> None:
        self.order = order
        self._files: dict[str, Content | None] = {**files}
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._lock = threading.Lock()
        self._idle: list[_Lane] = []
        self._processes: list[Worker] = []
        weakref.finalize(self, _close, self._processes)

    def __reduce__(self) -> tuple[type[Job], tuple[dict[str, Content], Order]]:
        return Job, ({name: self._content(name) for name in self._files}, self.order)

    @contextmanager
    def lane(self) -> Generator[_Lane]:
        """A process and a dataset for one thread at a time."""
        with self._lock:
            lane = self._idle.pop() if self._idle else self._new_lane()
        try:
            yield lane
        finally:
            self._idle.append(lane)

    def model(self, folder: str) -> Path:
        """The model as a file, with its external data beside it.

        Args:
            folder: Where it may be written.
        """
        with self._lock:
            if self._folder is None:
                made = tempfile.TemporaryDirectory(prefix="bnopt-", dir=folder)
                for name, content in self._files.items():
                    path = Path(made.name) / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(b"" if content is None else content.data)
                self._folder = made
                self._files = dict.fromkeys(self._files)
            return Path(self._folder.name) / MODEL

    def _content(self, name: str) -> Content:
        content = self._files[name]
        if content is not None:
            return content
        assert self._folder is not None
        return content_of(Path(self._folder.name) / name)

    def _new_lane(self) -> _Lane:
        process = Worker(self.order.timeout)
        self._processes.append(process)
        return _Lane(self.order, process)


class _Lane:
    """What one thread of a dask worker needs for itself.

    Attributes:
        crashed: Whether the process did not survive the last run.
    """

    def __init__(self, order: Order, process: Worker) -> None:
        self._order = order
        self._process = process
        self._dataset: Dataset | None = None
        self.crashed = False

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say of the data that was read here."""
        return () if self._dataset is None else tuple(self._dataset.notes)

    def read(self, number: int) -> list[Feed]:
        """The feeds of one shard.

        Raises:
            DataError: They cannot be read on this worker.
        """
        try:
            if self._dataset is None:
                self._dataset = cast("Dataset", pickle.loads(self._order.dataset or b""))
            return list(self._dataset.feeds(number * SHARD, (number + 1) * SHARD))
        # A module that is not installed here, a file that is not, or a bug in a user's function.
        except Exception as error:
            if not Path(self._order.origin).exists():
                raise DataError(
                    f"'{self._order.origin}' does not exist there; each worker reads the data "
                    "itself, so it must be there under this path"
                ) from None
            if isinstance(error, BnoptError):
                raise
            raise DataError(f"the data cannot be read there: {one_line(error)}") from None

    def run(self, model: Path, feeds: Sequence[Feed], threads: int) -> list[Feed]:
        """What the model makes of some feeds."""
        try:
            result = self._process.call(
                "bnopt.runtime.session:run_kept",
                str(model),
                list(feeds),
                provider=self._order.provider,
                threads=threads,
                task="onnxruntime",
            )
        finally:
            self.crashed = self._process.pid is None
        return cast("list[Feed]", result)


def content_of(path: Path) -> Content:
    """A file, read."""
    return np.fromfile(path, np.uint8)


def files_of(path: Path) -> dict[str, Content]:
    """The model and its external data, by what they are called on a worker.

    Raises:
        UsageError: They are too large to ship.
    """
    import onnx

    from bnopt.io.external import guard_location
    from bnopt.io.protos import is_external, tensors

    found = {MODEL: path}
    for place, tensor in tensors(onnx.load(path, load_external_data=False)):
        for entry in tensor.external_data if is_external(tensor) else ():
            if entry.key == "location":
                found[entry.value] = guard_location(entry.value, path.parent, f"{path}: {place}")
    size = sum(file.stat().st_size for file in found.values())
    if size > LIMIT:
        raise UsageError(
            f"the model has {size / 2**30:.1f} GiB and the dask engine ships at most "
            f"{LIMIT / 2**30:.1f} GiB to workers; use the local engine"
        )
    return {name: content_of(file) for name, file in found.items()}


def run_shard(job: Job, number: int, shipped: bytes | None) -> Reply:
    """The moments of one shard, on a dask worker.

    Args:
        job: What to do.
        number: Of the shard.
        shipped: Its pickled feeds; None where the worker reads them itself.

    Raises:
        ExecutionError: onnxruntime crashed or hung; another attempt may fare better.
    """
    from dask.system import CPU_COUNT
    from distributed import get_worker

    here: Any = get_worker()
    order = job.order
    threads = max(1, CPU_COUNT // order.slots.get(host(here.address), here.state.nthreads))
    with job.lane() as lane:
        try:
            feeds = lane.read(number) if shipped is None else pickle.loads(shipped)
            model = job.model(here.local_directory)
            runner = Runner(
                lambda some: lane.run(model, some, threads),
                order.places,
                order.inputs,
                order.singly,
            )
            part = runner.part(feeds)
        except BnoptError as error:
            if isinstance(error, ExecutionError) and lane.crashed:
                raise ExecutionError(f"worker {here.address}: {error.message}") from None
            return Reply(here.address, None, refusal=(type(error).__name__, error.message))
        return Reply(here.address, part, (*lane.notes, *runner.notes))


def host(address: str) -> str:
    """A dask address without its port."""
    return address.rpartition(":")[0]


def facts() -> dict[str, str]:
    """What a worker has installed; run on each before the first shard.

    Returns:
        `onnxruntime`: its version, with the name of the distribution.

    Raises:
        DependencyError: No usable onnxruntime.
    """
    from importlib import metadata

    require_onnxruntime()
    names = installed()
    return {"onnxruntime": f"{names[0]} {metadata.version(names[0])}" if names else "onnxruntime"}


def _close(processes: list[Worker]) -> None:
    for process in processes:
        process.close()
