"""Data as numbered feeds that can be read again and again, here and in other processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bnopt.errors import DataError, UsageError
from bnopt.runtime.batches import Feed, count_samples
from bnopt.runtime.feeds import fixed_batch
from bnopt.runtime.numbered import Dataset, FeedStream, SampleBatches, WholeFeeds
from bnopt.runtime.samples import Samples
from bnopt.runtime.sources import FeedList, Listed, find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnopt.runtime.data import DataSource
    from bnopt.runtime.interface import TensorInfo

__all__ = ["BATCH_SIZE", "Dataset", "Feed", "count_samples", "open_dataset"]

BATCH_SIZE = 32
"""Samples in a feed of a model whose batch is open."""


def open_dataset(
    source: DataSource,
    inputs: Sequence[TensorInfo],
    *,
    batch_size: int | None = None,
    max_samples: int | None = None,
    seed: int | None = None,
    usual: int = BATCH_SIZE,
) -> Dataset:
    """Open user data as numbered feeds for a model.

    Args:
        source: See `bnopt.runtime.data`.
        inputs: The model's inputs, in order.
        batch_size: Samples in a feed; None stands for `usual`, or for what the model fixes.
        max_samples: Samples beyond this are left out; None takes all.
        seed: Shuffles with `numpy.random.default_rng` before any are left out: samples, or feeds
            where these are given whole. None takes them as they come.
        usual: See `batch_size`.

    Raises:
        DataError: Data that cannot be read or does not fit the model; another batch size than it
            fixes; a seed for feeds whose number is not known.
        DependencyError: Images without Pillow.
        UsageError: A number that is out of range.
    """
    for name, value, least in (
        ("batch_size", batch_size, 1),
        ("max_samples", max_samples, 1),
        ("seed", seed, 0),
    ):
        if value is not None and value < least:
            raise UsageError(f"{name} must be at least {least}, not {value}")
    found = find(source, inputs)
    fixed = fixed_batch(inputs)
    if fixed is not None and batch_size not in (None, fixed):
        raise DataError(f"a batch size of {batch_size}, but the model's batch size is {fixed}")
    if isinstance(found, Samples):
        size = batch_size or usual
        return SampleBatches(found, inputs, size=size, max_samples=max_samples, seed=seed)
    notes: list[str] = []
    if batch_size is not None and fixed is None:
        notes.append(f"data '{found.where}': its feeds are used whole, whatever the batch size")
    if isinstance(found, Listed):
        return WholeFeeds(found, inputs, max_samples=max_samples, seed=seed, notes=notes)
    if seed is not None:
        raise DataError(
            f"data '{found.where}': no seed; the order of a function's feeds is its own"
        )
    stream = FeedStream(found, inputs, max_samples=max_samples, notes=notes)
    if not found.once:
        return stream
    # What comes only once is kept, and is all there is.
    held = FeedList(found.where, list(stream.feeds()), inputs)
    return WholeFeeds(held, inputs, notes=stream.notes)
