"""Length-prefixed pickles over a pipe, with array buffers sent as they are.

A message is: the number of parts (8 bytes, little endian), each part's length (8 bytes each), then
the parts. Part 0 is a pickle of protocol 5, the others are its out-of-band buffers, so an array
crosses the pipe without being copied into the pickle first.
"""

from __future__ import annotations

import pickle
import struct
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_WORD = struct.Struct("<Q")
_CHUNK = 1 << 24


class Sink(Protocol):
    """Anything that takes all the bytes it is given, such as a buffered writer."""

    def write(self, data: memoryview, /) -> object:
        """Write all of `data`."""
        ...

    def flush(self) -> None:
        """Hand over what is buffered."""
        ...


def send(sink: Sink, message: object) -> None:
    """Write one message and flush it."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(head), *(buffer.raw() for buffer in buffers)]
    sizes = [len(parts), *(part.nbytes for part in parts)]
    sink.write(memoryview(b"".join(_WORD.pack(size) for size in sizes)))
    for part in parts:
        # In pieces, because one write of more than 2 GiB is cut short by the kernel.
        for start in range(0, part.nbytes, _CHUNK):
            sink.write(part[start : start + _CHUNK])
    sink.flush()


def receive(read: Callable[[memoryview], int]) -> object:
    """Read one message.

    Args:
        read: Fills the start of a buffer and returns how many bytes it wrote; 0 means end of file.

    Raises:
        EOFError: The other side closed the pipe.
    """
    (count,) = _WORD.unpack(_exactly(read, _WORD.size))
    sizes = struct.unpack(f"<{count}Q", _exactly(read, count * _WORD.size))
    head, *buffers = [_exactly(read, size) for size in sizes]
    return pickle.loads(head, buffers=buffers)


def _exactly(read: Callable[[memoryview], int], size: int) -> bytearray:
    data = bytearray(size)
    view = memoryview(data)
    got = 0
    while got < size:
        count = read(view[got : got + _CHUNK])
        if count == 0:
            raise EOFError
        got += count
    return data
