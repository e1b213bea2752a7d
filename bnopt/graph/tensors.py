"""A weight times a per-channel factor, computed when it is written and a block at a time.

The weights of a folded model are a product of what lies on disk and a short vector. Computing them
only while they are written keeps the memory of folding a model of many gigabytes to a few blocks.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, MutableMapping
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

BLOCK_BYTES = 16 << 20

# (block of the source, matching block of positions in the leading axes) -> block in the new dtype
BlockFunction = Callable[[npt.NDArray[Any], tuple[slice | int, ...]], npt.NDArray[Any]]


def blocks(
    array: npt.NDArray[Any], limit: int | None = None, prefix: tuple[slice | int, ...] = ()
) -> Iterator[tuple[npt.NDArray[Any], tuple[slice | int, ...]]]:
    """Cut `array` into C-ordered blocks of at most about `limit` bytes, each with its index.

    The limit is BLOCK_BYTES unless given.
    """
    limit = BLOCK_BYTES if limit is None else limit
    if array.nbytes <= limit or array.ndim == 0:
        yield array, prefix
        return
    row = array.nbytes // array.shape[0]
    if row > limit:
        for i in range(array.shape[0]):
            yield from blocks(array[i], limit, (*prefix, i))
        return
    step = limit // row
    for i in range(0, array.shape[0], step):
        yield array[i : i + step], (*prefix, slice(i, i + step))


class BlockwiseTensor(ir.TensorProtocol):
    """A tensor whose numbers are a function of another tensor's, block by block.

    Args:
        source: Where the numbers come from; it must stay readable.
        view: A shape of the same size, in which `function` sees blocks of the source.
        function: Maps a block of the viewed source, and its index, to a block of `dtype`.
        name: The tensor's name.
    """

    def __init__(
        self,
        source: ir.TensorProtocol,
        view: tuple[int, ...],
        function: BlockFunction,
        name: str | None = None,
    ) -> None:
        self.name = name
        self.dtype = source.dtype
        self.shape = ir.Shape(source.shape.numpy())
        self.doc_string = None
        self.raw = source
        self.metadata_props: MutableMapping[str, str] = {}
        self.meta: MutableMapping[str, Any] = {}
        self._source = source
        self._view = view
        self._function = function

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self._view)

    @property
    def nbytes(self) -> int:
        """Number of bytes."""
        return self._source.nbytes

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        array = self.numpy()
        return array if dtype is None else array.astype(dtype)

    def __dlpack__(self, *, stream: Any = None) -> Any:
        return self.numpy().__dlpack__(stream=stream)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.numpy().__dlpack_device__()

    def __repr__(self) -> str:
        return f"BlockwiseTensor<{self.dtype},{self.shape}>(name={self.name!r})"

    def numpy(self) -> npt.NDArray[Any]:
        """The whole array, computed anew at each call."""
        source = self._source.numpy().reshape(self._view)
        result = np.empty(self._view, source.dtype)
        for block, index in blocks(source):
            result[index] = self._function(block, index)
        return result.reshape(self._source.numpy().shape)

    def tobytes(self) -> bytes:
        """The bytes in the order that ONNX stores them: C order, little endian."""
        return _little_endian(self.numpy()).tobytes()

    def tofile(self, file: BinaryIO) -> None:
        """Write the bytes to `file`, one block at a time."""
        for block, index in blocks(self._source.numpy().reshape(self._view)):
            file.write(_little_endian(self._function(block, index)).tobytes())


def _little_endian(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return array if sys.byteorder == "little" else array.byteswap()
