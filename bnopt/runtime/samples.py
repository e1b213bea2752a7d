"""Data whose samples are numbered: arrays in memory, and in one or many files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from bnopt.errors import DataError
from bnopt.runtime.batches import check_names
from bnopt.runtime.datafiles import Header

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bnopt.runtime.batches import Feed
    from bnopt.runtime.interface import TensorInfo

MAX_OPEN = 64
"""Files that are kept open."""
MAX_BYTES = 64 << 20
"""What files that had to be decompressed may take in memory together, unless one needs more."""


class Samples(ABC):
    """Samples by number.

    Attributes:
        where: For messages.
        by_reference: Whether another process that sees the same files can read it.
        headers: Input name -> what all samples together are, along the leading axis.
        notes: What a reader of the result should know.
    """

    where: str
    by_reference: bool
    headers: Mapping[str, Header]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many."""
        return min(header.shape[0] for header in self.headers.values())

    @abstractmethod
    def take(self, numbers: Sequence[int] | NDArray[np.int64]) -> Feed:
        """These samples in this order, along the leading axis.

        Raises:
            DataError: They cannot be read.
        """


class Part(Protocol):
    """Some arrays with samples along their leading axis."""

    def headers(self) -> dict[str, Header]:
        """Name -> header."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name -> array."""
        ...


@dataclass(frozen=True, slots=True)
class InMemory:
    """Arrays that the caller holds."""

    held: dict[str, NDArray[Any]]

    def headers(self) -> dict[str, Header]:
        """Name -> header."""
        return {name: Header(array.shape, array.dtype) for name, array in self.held.items()}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name -> array."""
        return self.held


class ArraySamples(Samples):
    """The samples of several parts, one part after another.

    Parts are opened when they are needed, and again in each process that gets this by pickle.

    Args:
        where: For messages.
        parts: At least one, all with the same arrays.
        inputs: The model's.
        by_reference: Whether the parts are files.

    Raises:
        DataError: A part that cannot be read, names that are not the model's inputs, parts that do
            not join, arrays of different lengths, no samples at all.
    """

    def __init__(
        self, where: str, parts: Sequence[Part], inputs: Sequence[TensorInfo], *, by_reference: bool
    ) -> None:
        self.where = where
        self.by_reference = by_reference
        self._parts = tuple(parts)
        self._headers = [part.headers() for part in parts]
        if any(set(headers) != set(self._headers[0]) for headers in self._headers):
            raise DataError(f"data '{where}': its files hold different arrays")
        check_names(self._headers[0], where, inputs)
        self.headers = {name: self._joined(name) for name in self._headers[0]}
        counts = {name: header.shape[0] for name, header in self.headers.items()}
        if not all(counts.values()) or not counts:
            raise DataError(f"data '{where}': it holds no samples")
        lengths = [{header.shape[0] for header in part.values()} for part in self._headers]
        if any(len(found) > 1 for found in lengths):
            listed = ", ".join(f"{name} {number}" for name, number in counts.items())
            raise DataError(f"data '{where}': different numbers of samples ({listed})")
        self._ends = np.cumsum([found.pop() for found in lengths])
        self._open: OrderedDict[int, Feed] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict()}

    def take(self, numbers: Sequence[int] | NDArray[np.int64]) -> Feed:
        """See `Samples`."""
        wanted = np.asarray(numbers, dtype=np.int64)
        owners = np.searchsorted(self._ends, wanted, side="right")
        taken = {
            name: np.empty((len(wanted), *header.shape[1:]), header.dtype)
            for name, header in self.headers.items()
        }
        for owner in np.unique(owners).tolist():
            mine = owners == owner
            start = 0 if owner == 0 else int(self._ends[owner - 1])
            for name, array in self._arrays(owner).items():
                taken[name][mine] = array[wanted[mine] - start]
        return taken

    def _joined(self, name: str) -> Header:
        headers = [part[name] for part in self._headers]
        if any(not header.shape for header in headers):
            raise DataError(
                f"data '{self.where}': '{name}' is a single value; "
                "the leading axis of an array counts samples"
            )
        shape = headers[0].shape[1:]
        odd = next((header.shape[1:] for header in headers if header.shape[1:] != shape), None)
        if odd is not None:
            raise DataError(
                f"data '{self.where}': its files do not join "
                f"('{name}' holds samples of shape {shape} and of shape {odd})"
            )
        dtypes = dict.fromkeys(header.dtype for header in headers)
        try:
            dtype = np.result_type(*dtypes)
        except TypeError:
            raise DataError(
                f"data '{self.where}': its files do not join "
                f"('{name}' is {' and '.join(dtype.name for dtype in dtypes)})"
            ) from None
        return Header((sum(header.shape[0] for header in headers), *shape), dtype)

    def _arrays(self, owner: int) -> Feed:
        if owner in self._open:
            self._open.move_to_end(owner)
            return self._open[owner]
        headers = self._headers[owner]
        size = sum(header.nbytes for header in headers.values())
        while len(self._open) >= MAX_OPEN or self._held() > max(MAX_BYTES - size, 0):
            self._open.popitem(last=False)
        arrays = self._parts[owner].arrays()
        if {name: Header(array.shape, array.dtype) for name, array in arrays.items()} != headers:
            raise DataError(f"data '{self.where}': a file was changed while it was read")
        self._open[owner] = arrays
        return arrays

    def _held(self) -> int:
        return sum(
            array.nbytes
            for arrays in self._open.values()
            for array in arrays.values()
            if not isinstance(array, np.memmap)
        )
