"""Feeds in which one sample stays and the others go, and whether that makes sense for a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bnopt.runtime.feeds import batch_symbol, fixed_batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bnopt.runtime.interface import Interface, TensorInfo

    Feed: TypeAlias = dict[str, NDArray[Any]]

_RECURRENT = frozenset(("GRU", "LSTM", "RNN", "Scan"))
_BATCH_NAMES = ("batch", "sample")
_OTHER_NAMES = ("seq", "time", "len", "frame", "step", "node", "edge", "token", "word", "point")
_IMAGE_RANK = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """Along which axis each input holds samples.

    Attributes:
        axes: Input name -> the axis; inputs that are the same for all samples are not listed.
        size: The fixed batch size; None if it is open.
    """

    axes: dict[str, int]
    size: int | None

    @staticmethod
    def of(inputs: Sequence[TensorInfo]) -> Batch:
        """The batch of a model: the open leading dimension that its inputs share, or a fixed one.

        An input may hold the same symbol on a later axis, as the state of an LSTM does.
        """
        symbol, size = batch_symbol(inputs), fixed_batch(inputs)
        axes: dict[str, int] = {}
        for info in inputs:
            shape = info.shape or ()
            if symbol is None:
                # A vector of as many numbers is as likely a parameter; not to change it is safe.
                found = [0] if len(shape) > 1 and shape[0] == size else []
            else:
                found = [a for a, dim in enumerate(shape) if dim == symbol or (a, dim) == (0, None)]
            if found:
                axes[info.name] = found[0]
        return Batch(axes, None if symbol is not None else size)

    def count(self, feed: Feed) -> int:
        """How many samples a feed holds; 1 if nothing in it is a batch."""
        return min((feed[name].shape[axis] for name, axis in self.axes.items()), default=1)

    def take(self, feed: Feed, index: int) -> Feed:
        """The feed with one sample only."""
        return {
            name: np.take(array, [index], self.axes[name]) if name in self.axes else array
            for name, array in feed.items()
        }

    def joined(self, first: Feed, second: Feed) -> Feed:
        """The samples of one feed, then those of another."""
        return {
            name: np.concatenate([array, second[name]], self.axes[name])
            if name in self.axes
            else array
            for name, array in first.items()
        }

    def keep(self, feed: Feed, index: int, others: Feed) -> Feed:
        """`others` with the sample `index` of `feed` in its place."""
        kept: Feed = {}
        for name, array in feed.items():
            kept[name] = array
            if name in self.axes:
                where = (slice(None),) * self.axes[name] + (index,)
                kept[name] = others[name].copy()
                kept[name][where] = array[where]
        return kept


def doubt(interface: Interface) -> str:
    """Why the leading axis may not be a batch; empty if nothing speaks against it.

    Time is the leading axis of recurrent networks as often as not, nodes are that of graph
    networks, and either may mix what stands along it.
    """
    inputs = interface.inputs
    leading = [info.shape[0] for info in inputs if info.shape]
    symbol = next((dim for dim in leading if isinstance(dim, str)), "")
    if any(name in symbol.lower() for name in _BATCH_NAMES):
        return ""
    if any(name in symbol.lower() for name in _OTHER_NAMES):
        return f"the leading dimension '{symbol}' is not a batch"
    twice = [info for info in inputs if info.shape and symbol and info.shape.count(symbol) > 1]
    if twice:
        return f"input '{twice[0].name}' has the leading dimension on two axes"
    recurrent = sorted(interface.op_types & _RECURRENT)
    if recurrent and not any(len(info.shape or ()) == _IMAGE_RANK for info in inputs):
        return f"the leading axis of a model with {recurrent[0]} may be time"
    return ""
