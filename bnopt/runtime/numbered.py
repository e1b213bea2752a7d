"""Numbered feeds made from each kind of source; the same whenever and wherever they are read."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.errors import DataError
from bnopt.runtime.batches import (
    Feed,
    batched,
    check_dtype,
    check_feed,
    check_shape,
    clipped,
    count_samples,
)
from bnopt.runtime.feeds import fixed_batch

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnopt.runtime.interface import TensorInfo
    from bnopt.runtime.samples import Samples
    from bnopt.runtime.sources import Listed, Streamed


class Dataset(ABC):
    """Numbered feeds. Picklable where what it was opened on is; files are opened again.

    Attributes:
        where: For messages.
        total: Number of feeds; None if it is not known before they are read.
        samples: Samples in all feeds together; likewise.
        batch_size: Samples in every feed but the last; None for feeds of sizes of their own.
        by_reference: Whether another process that sees the same files can read it.
    """

    def __init__(
        self,
        source: Samples | Listed | Streamed,
        inputs: Sequence[TensorInfo],
        notes: Sequence[str] = (),
    ) -> None:
        self.where = source.where
        self.by_reference = source.by_reference
        self.total: int | None = None
        self.samples: int | None = None
        self.batch_size: int | None = None
        self._inputs = tuple(inputs)
        self._notes: dict[str, None] = dict.fromkeys(notes)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was left out or cast; there may be more of them after feeds were read."""
        return tuple(self._notes)

    @abstractmethod
    def feeds(self, start: int = 0, stop: int | None = None) -> Iterator[Feed]:
        """The feeds from number `start` up to, not including, `stop`; feed i is always the same.

        Raises:
            DataError: A feed that cannot be read or does not fit the model.
        """

    def _note(self, text: str) -> None:
        self._notes[f"data '{self.where}': {text}"] = None

    def _checked(self, feed: Mapping[str, Any], place: str = "") -> Feed:
        checked, casts = check_feed(feed, self.where, self._inputs, place)
        if count_samples(checked, self._inputs) == 0:
            raise DataError(f"data '{self.where}': {place} holds no samples")
        self._notes.update(dict.fromkeys(casts))
        return checked


class SampleBatches(Dataset):
    """Batches of numbered samples.

    Args:
        source: The samples.
        inputs: The model's inputs.
        size: Samples in a feed, unless the model fixes it.
        first: Samples in the first feed, if other than that.
        max_samples: Samples beyond this are left out.
        seed: Shuffles before any are left out.
        notes: To begin with.

    Raises:
        DataError: Shapes or dtypes that do not fit, or too few samples.
    """

    def __init__(
        self,
        source: Samples,
        inputs: Sequence[TensorInfo],
        *,
        size: int,
        first: int | None = None,
        max_samples: int | None = None,
        seed: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(source, inputs, [*source.notes, *notes])
        self._source = source
        count = len(source)
        used = min(count, max_samples or count)
        self._order: NDArray[np.int64] | range = range(used)
        if seed is not None:
            self._order = np.random.default_rng(seed).permutation(count)[:used]
        if used < count:
            chosen = f"first {used}" if seed is None else f"{used} (seed {seed})"
            self._note(f"only the {chosen} of {count} samples were used")
        fixed = fixed_batch(inputs)
        size = fixed or size
        if fixed is not None:
            if used < fixed:
                raise DataError(
                    f"data '{self.where}': {used} samples, but the model's batch size is {fixed}"
                )
            if used % fixed:
                self._note(f"{used % fixed} samples do not fill a batch")
            used -= used % fixed
        self._first = fixed or min(first or size, used)
        self.batch_size = size
        self.samples = used
        self.total = 1 + -(-(used - self._first) // size)
        for info in inputs:
            header = source.headers[info.name]
            check_shape(info, (self._first, *header.shape[1:]), self.where)
            check_dtype(info, header.dtype, self.where)

    def feeds(self, start: int = 0, stop: int | None = None) -> Iterator[Feed]:
        """See `Dataset`."""
        assert self.batch_size is not None
        for number in range(*slice(start, stop).indices(self.total or 0)):
            end = min(self._first + number * self.batch_size, self.samples or 0)
            begin = self._first + (number - 1) * self.batch_size if number else 0
            yield self._checked(self._source.take(self._order[begin:end]))


class WholeFeeds(Dataset):
    """Numbered feeds, used as they are.

    Args:
        source: The feeds.
        inputs: The model's inputs.
        max_samples: Samples beyond this are left out.
        seed: Shuffles the feeds before any are left out.
        notes: To begin with.

    Raises:
        DataError: The first feed cannot be cut down to `max_samples`.
    """

    def __init__(
        self,
        source: Listed,
        inputs: Sequence[TensorInfo],
        *,
        max_samples: int | None = None,
        seed: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(source, inputs, notes)
        self._source = source
        count = len(source.sizes)
        if 0 in source.sizes:
            empty = source.sizes.index(0)
            raise DataError(f"data '{self.where}': feed {empty} holds no samples")
        order = range(count) if seed is None else np.random.default_rng(seed).permutation(count)
        available = sum(source.sizes)
        left = available if max_samples is None else max_samples
        self._picked: list[tuple[int, int]] = []
        for number in order:
            size = source.sizes[number]
            if left == 0 or (size > left and not batched(inputs)):
                break
            self._picked.append((int(number), min(size, left)))
            left -= min(size, left)
        self.total = len(self._picked)
        self.samples = sum(size for _, size in self._picked)
        if not self._picked:
            raise DataError(_too_large(self.where, source.sizes[order[0]], max_samples))
        if self.samples < available:
            chosen = f"first {self.samples}" if seed is None else f"{self.samples} (seed {seed})"
            self._note(f"only the {chosen} of {available} samples were used")

    def feeds(self, start: int = 0, stop: int | None = None) -> Iterator[Feed]:
        """See `Dataset`."""
        for number, size in self._picked[start:stop]:
            feed = self._checked(self._source.feed(number), f"feed {number}")
            whole = size == count_samples(feed, self._inputs)
            yield feed if whole else clipped(feed, self._inputs, size)


class FeedStream(Dataset):
    """Feeds one after another; each reading begins with the first.

    Args:
        source: Gives the feeds.
        inputs: The model's inputs.
        max_samples: Samples beyond this are left out.
        notes: To begin with.
    """

    def __init__(
        self,
        source: Streamed,
        inputs: Sequence[TensorInfo],
        *,
        max_samples: int | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(source, inputs, notes)
        self._call: Callable[[], Iterator[Mapping[str, Any]]] = source.call
        self._max_samples = max_samples

    def feeds(self, start: int = 0, stop: int | None = None) -> Iterator[Feed]:
        """See `Dataset`."""
        yield from islice(self._all(), start, stop)

    def _all(self) -> Iterator[Feed]:
        used = 0
        for number, raw in enumerate(self._call()):
            feed = self._checked(raw, f"feed {number}")
            size = count_samples(feed, self._inputs)
            left = size if self._max_samples is None else self._max_samples - used
            if size > left:
                left = left if batched(self._inputs) else 0
                used += left
                if used == 0:
                    raise DataError(_too_large(self.where, size, self._max_samples))
                self._note(f"only the first {used} samples were used")
                if left:
                    yield clipped(feed, self._inputs, left)
                return
            used += size
            yield feed
        if used == 0:
            raise DataError(f"data '{self.where}': it holds no samples")


def _too_large(where: str, size: int, limit: int | None) -> str:
    return f"data '{where}': a feed holds {size} samples and cannot be cut down to {limit}"
