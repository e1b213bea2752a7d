"""A tapped model in onnxruntime: feeds in, moments out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bnopt.calibration.moments import Moments
from bnopt.errors import ExecutionError
from bnopt.runtime.dataset import count_samples
from bnopt.runtime.feeds import batch_symbol

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnopt.calibration.taps import Place
    from bnopt.runtime.interface import TensorInfo

    Feed: TypeAlias = dict[str, NDArray[Any]]
    Run: TypeAlias = Callable[[Sequence[Feed]], list[Feed]]

CHUNK_BYTES = 32 << 20
"""Feeds that are run at a time; one feed may be larger."""


@dataclass(frozen=True, slots=True)
class Part:
    """The moments of some feeds.

    Attributes:
        feeds: How many feeds.
        samples: How many samples they held.
        moments: One for each place; None where there was nothing to count.
    """

    feeds: int
    samples: int
    moments: tuple[Moments | None, ...]

    @staticmethod
    def empty(places: int) -> Part:
        """No feeds at all."""
        return Part(0, 0, (None,) * places)

    def merge(self, other: Part) -> Part:
        """Both together; the order of merging matters only up to rounding."""
        merged = tuple(
            _merged(mine, theirs) for mine, theirs in zip(self.moments, other.moments, strict=True)
        )
        return Part(self.feeds + other.feeds, self.samples + other.samples, merged)


def _merged(mine: Moments | None, theirs: Moments | None) -> Moments | None:
    if mine is None or theirs is None:
        return theirs if mine is None else mine
    return mine.merge(theirs)


@dataclass(slots=True)
class Runner:
    """Runs feeds and reads the moments off the outputs.

    Attributes:
        run: Outputs for each of a few feeds.
        places: What the outputs mean.
        inputs: Of the model.
        singly: Whether samples may be run one by one where a feed of several fails.
        notes: What was done otherwise than asked for.
    """

    run: Run
    places: Sequence[Place]
    inputs: Sequence[TensorInfo]
    singly: bool = False
    notes: list[str] = field(default_factory=list[str])

    def part(self, feeds: Sequence[Feed]) -> Part:
        """The moments of some feeds, merged in their order.

        Raises:
            ExecutionError: The model does not run.
        """
        whole = Part.empty(len(self.places))
        for chunk in _chunks(feeds):
            for feed, found in self._outputs(chunk):
                samples = count_samples(feed, self.inputs)
                whole = whole.merge(Part(1, samples, tuple(map(found.__getitem__, self.places))))
        return whole

    def _outputs(self, feeds: Sequence[Feed]) -> list[tuple[Feed, _Outputs]]:
        """What comes out of each feed, or of its samples one by one if it can only be had so."""
        if not self.notes:
            try:
                return self._call(feeds)
            except ExecutionError as error:
                singles = [one for feed in feeds for one in self._singles(feed)]
                # not a condition: the same feeds would fail again
                if not self.singly or len(singles) == len(feeds):
                    raise
                found = self._call(singles)
                self.notes.append(f"measured one sample at a time: {error.message}")
                return found
        return self._call([one for feed in feeds for one in self._singles(feed)])

    def _call(self, feeds: Sequence[Feed]) -> list[tuple[Feed, _Outputs]]:
        return list(zip(feeds, map(_Outputs, self.run(feeds)), strict=True))

    def _singles(self, feed: Feed) -> Iterator[Feed]:
        symbol = batch_symbol(self.inputs)
        batched = {
            info.name
            for info in self.inputs
            if info.shape and symbol is not None and info.shape[0] in (symbol, None)
        }
        count = count_samples(feed, self.inputs) if batched else 1
        for index in range(count):
            yield {
                name: array[index : index + 1] if name in batched and count > 1 else array
                for name, array in feed.items()
            }


@dataclass(frozen=True, slots=True)
class _Outputs:
    """What came out of one feed."""

    arrays: Feed

    def __getitem__(self, place: Place) -> Moments | None:
        shift = self.arrays[place.shift].reshape(-1)
        count = int(self.arrays[place.size]) // max(shift.size, 1)
        if count == 0:
            return None
        return Moments.about(shift, count, self.arrays[place.total], self.arrays[place.squares])


def sound(moments: Moments | None) -> bool:
    """Whether there are moments, and all of them are finite."""
    return moments is not None and bool(np.isfinite([moments.mean, moments.m2]).all())


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
