"""Run data through a tapped model and merge what comes out."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from bnopt.algebra.base import Context
from bnopt.calibration.moments import Moments
from bnopt.calibration.taps import Place, Tap, Tapped, tapped
from bnopt.errors import ExecutionError
from bnopt.evidence import Measured
from bnopt.io import stage
from bnopt.runtime.data import load_data
from bnopt.runtime.feeds import batch_symbol
from bnopt.runtime.interface import read_interface
from bnopt.runtime.process import Worker

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnopt.runtime.data import DataSource
    from bnopt.runtime.interface import TensorInfo

    Feed: TypeAlias = dict[str, NDArray[Any]]

CHUNK_BYTES = 32 << 20
"""Feeds that are handed to the worker at a time; one feed may be larger."""


@dataclass(frozen=True, slots=True)
class Gathered:
    """What was measured.

    Attributes:
        samples: How many samples were run.
        moments: Site id -> moments, for every tap that could be measured.
        notes: What was left out.
    """

    samples: int
    moments: dict[str, Measured]
    notes: tuple[str, ...] = ()


def gather(
    work: ir.Model,
    taps: Sequence[Tap],
    data: DataSource,
    *,
    provider: str = "cpu",
    max_samples: int = 1024,
    progress: Callable[[str, int, int], None] | None = None,
    timeout: float = 300.0,
) -> Gathered:
    """Measure the moments per channel of the tensors at `taps`, over all of `data`.

    They are computed inside onnxruntime at its default optimizations; what leaves it are a few
    numbers per channel. Only what the taps need is run.

    Args:
        work: Only read.
        taps: Where to measure.
        data: As for validation (`bnopt.runtime.data`).
        provider: `cpu` or `cuda`.
        max_samples: Samples of `data` beyond this are left out, with a note.
        progress: Called with (`measure`, feeds done, feeds in all).
        timeout: Seconds that one chunk of feeds may take.

    Raises:
        DataError: Data that does not fit the model.
        DependencyError: No usable onnxruntime.
        ProviderError: The provider is not there.
        ExecutionError: The model does not run.
    """
    found = tapped(Context.of(work), taps)
    if not found.places:
        return Gathered(0, {}, found.notes)
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bnopt-"))
        path = stack.enter_context(stage(found.model, Path(folder) / "tapped.onnx")).path
        inputs = read_interface(path).inputs
        user = load_data(data, inputs, max_samples=max_samples)
        run = _Run(stack.enter_context(Worker(timeout)), str(path), provider, inputs)
        tally = _Tally(found.places)
        tell = progress or _silent
        done = 0
        for chunk in _chunks(user.feeds):
            tell("measure", done, len(user.feeds))
            tally.add(run.outputs(chunk), sum(run.samples(feed) for feed in chunk))
            done += len(chunk)
        tell("measure", done, len(user.feeds))
    return _gathered(found, tally, [*user.notes, *run.notes])


def _gathered(found: Tapped, tally: _Tally, notes: list[str]) -> Gathered:
    moments: dict[str, Measured] = {}
    odd = 0
    for place, whole in zip(found.places, tally.moments, strict=True):
        if whole is None or not np.isfinite([whole.mean, whole.m2]).all():
            odd += len(place.sites)
            continue
        measured = Measured(
            tally.samples, whole.count, tuple(whole.mean.tolist()), tuple(whole.variance.tolist())
        )
        moments.update((site, measured) for site in place.sites)
    if odd:
        notes.append(f"{odd} of {odd + len(moments)} inputs of batch norms are not finite or empty")
    return Gathered(tally.samples, moments, tuple(dict.fromkeys((*found.notes, *notes))))


class _Run:
    """The tapped model in the worker."""

    def __init__(
        self, worker: Worker, path: str, provider: str, inputs: Sequence[TensorInfo]
    ) -> None:
        self.notes: list[str] = []
        self._worker = worker
        self._path = path
        self._provider = provider
        self._inputs = inputs
        symbol = batch_symbol(inputs)
        self._batched = [
            info.name
            for info in inputs
            if info.shape and symbol is not None and info.shape[0] in (symbol, None)
        ]

    def outputs(self, feeds: Sequence[Feed]) -> list[Feed]:
        """What comes out of each feed, or of its samples one by one if it can only be had so."""
        if self.notes:
            return self._call([one for feed in feeds for one in self._singles(feed)])
        try:
            return self._call(feeds)
        except ExecutionError as error:
            singles = [one for feed in feeds for one in self._singles(feed)]
            # not a condition: the same feeds would fail again
            if len(singles) == len(feeds):
                raise
            outputs = self._call(singles)
            self.notes.append(f"measured one sample at a time: {error.message}")
            return outputs

    def samples(self, feed: Feed) -> int:
        """The length of the leading axis."""
        names = self._batched or [name for name, array in feed.items() if array.ndim]
        return int(feed[names[0]].shape[0]) if names else 1

    def _singles(self, feed: Feed) -> Iterator[Feed]:
        count = self.samples(feed) if self._batched else 1
        for index in range(count):
            yield {
                name: array[index : index + 1] if name in self._batched and count > 1 else array
                for name, array in feed.items()
            }

    def _call(self, feeds: Sequence[Feed]) -> list[Feed]:
        result = self._worker.call(
            "bnopt.runtime.session:run_kept",
            self._path,
            list(feeds),
            provider=self._provider,
            task="onnxruntime",
        )
        return cast("list[Feed]", result)


class _Tally:
    """Moments so far, one per place."""

    def __init__(self, places: Sequence[Place]) -> None:
        self.samples = 0
        self.moments: list[Moments | None] = [None] * len(places)
        self._places = places

    def add(self, outputs: Sequence[Feed], samples: int) -> None:
        self.samples += samples
        for found in outputs:
            for number, place in enumerate(self._places):
                shift = found[place.shift].reshape(-1)
                count = int(found[place.size]) // max(shift.size, 1)
                if count == 0:
                    continue
                part = Moments.about(shift, count, found[place.total], found[place.squares])
                before = self.moments[number]
                self.moments[number] = part if before is None else before.merge(part)


def _chunks(feeds: Sequence[Feed]) -> Iterator[list[Feed]]:
    chunk: list[Feed] = []
    size = 0
    for feed in feeds:
        weight = sum(array.nbytes for array in feed.values())
        if chunk and size + weight > CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
        chunk.append(feed)
        size += weight
    if chunk:
        yield chunk


def _silent(stage: str, done: int, total: int) -> None:
    return None
