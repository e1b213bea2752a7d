"""Readers for the file formats of user data; each failure is one line that names the file.

Headers are read without the arrays, and arrays are mapped into memory where the file allows it, so
that neither a file larger than memory nor many of them need be held. Nothing is ever unpickled.
"""

from __future__ import annotations

import importlib
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy

from bnopt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bnopt.runtime.interface import TensorInfo

_LOCAL_HEADER = struct.Struct("<26xHH")
_BROKEN = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,  # encrypted, or a compression that zipfile does not know
    zlib.error,
    zipfile.BadZipFile,
)


class Header(NamedTuple):
    """What an array will be."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Its size in memory."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


class _Stored(NamedTuple):
    """An array in a file, with the offset of its first value from the start of its `.npy`."""

    header: Header
    fortran: bool
    offset: int


@dataclass(frozen=True, slots=True)
class NpzFile:
    """An `.npz` file."""

    path: Path

    def headers(self) -> dict[str, Header]:
        """Name -> header of every array.

        Raises:
            DataError: Not an `.npz`, truncated, or an array of Python objects in it.
        """
        with _named(self.path), zipfile.ZipFile(self.path) as archive:
            return {name: self._stored(archive, info).header for name, info in _members(archive)}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name -> array: mapped where it was stored as it is, in memory where it was compressed.

        Raises:
            DataError: As for `headers`.
        """
        with _named(self.path), zipfile.ZipFile(self.path) as archive:
            return {name: self._array(archive, info) for name, info in _members(archive)}

    @staticmethod
    def _stored(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Stored:
        with archive.open(info) as stream:
            return _stored(stream, info.file_size)

    def _array(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> NDArray[Any]:
        stored = self._stored(archive, info)
        if info.compress_type == zipfile.ZIP_STORED:
            with self.path.open("rb") as file:
                file.seek(info.header_offset)
                name, extra = _LOCAL_HEADER.unpack(file.read(_LOCAL_HEADER.size))
            start = info.header_offset + _LOCAL_HEADER.size + name + extra
            return _mapped(self.path, stored, start + stored.offset)
        with archive.open(info) as stream:
            return npy.read_array(stream, allow_pickle=False)


@dataclass(frozen=True, slots=True)
class NpyFiles:
    """One `.npy` file for each name."""

    files: tuple[tuple[str, Path], ...]

    def headers(self) -> dict[str, Header]:
        """Name -> header.

        Raises:
            DataError: Not an `.npy`, truncated, or an array of Python objects.
        """
        return {name: self._stored(path).header for name, path in self.files}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Name -> array, mapped.

        Raises:
            DataError: As for `headers`.
        """
        found: dict[str, NDArray[Any]] = {}
        for name, path in self.files:
            stored = self._stored(path)
            with _named(path):
                found[name] = _mapped(path, stored, stored.offset)
        return found

    @staticmethod
    def _stored(path: Path) -> _Stored:
        with _named(path), path.open("rb") as stream:
            return _stored(stream, path.stat().st_size)


def read_test_set(folder: Path, inputs: Sequence[TensorInfo]) -> dict[str, NDArray[Any]]:
    """`input_0.pb`, `input_1.pb`, ... of the ONNX model zoo: one feed, in the order of the inputs.

    Raises:
        DataError: More files than inputs, or a file that is not a `TensorProto`.
    """
    import onnx
    from google.protobuf.message import DecodeError

    files = sorted(folder.glob("input_*.pb"), key=lambda file: (len(file.stem), file.stem))
    if len(files) > len(inputs):
        raise DataError(f"data '{folder}': {len(files)} inputs for a model that has {len(inputs)}")
    feed: dict[str, NDArray[Any]] = {}
    for info, file in zip(inputs, files, strict=False):
        tensor = onnx.TensorProto()
        try:
            tensor.ParseFromString(file.read_bytes())
            feed[info.name] = onnx.numpy_helper.to_array(tensor)
        except (OSError, DecodeError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"data '{file}': not a TensorProto ({reason(error)})") from None
    return feed


@dataclass(frozen=True, slots=True)
class Function:
    """`package.module:function`; modules of `folder` are found."""

    source: str
    folder: str

    def __call__(self) -> Iterator[Mapping[str, Any]]:
        """Call it.

        Raises:
            DataError: It cannot be imported or called, or does not give dicts.
        """
        module_name, _, name = self.source.partition(":")
        sys.path.insert(0, self.folder)
        try:

            def run() -> Iterable[Any]:
                return getattr(importlib.import_module(module_name), name)()

            yield from Call(self.source, run)()
        finally:
            sys.path.remove(self.folder)


@dataclass(frozen=True, slots=True)
class Call:
    """Something of the user's that gives feeds; picklable if that is."""

    where: str
    function: Callable[[], Iterable[Any]]

    def __call__(self) -> Iterator[Mapping[str, Any]]:
        """Call it.

        Raises:
            DataError: Whatever it raises, and where it does not give dicts.
        """
        try:
            for feed in self.function():
                yield as_mapping(self.where, feed)
        except DataError:
            raise
        # The user's code may raise anything; whatever it is, it is their data that cannot be had.
        except Exception as error:
            raise DataError(
                f"data '{self.where}': {type(error).__name__}: {reason(error)}"
            ) from None


def as_mapping(where: str, feed: Any) -> Mapping[str, Any]:
    """A feed.

    Raises:
        DataError: It is something else.
    """
    if not isinstance(feed, Mapping):
        raise DataError(
            f"data '{where}': expected dicts of input name -> array, got a {type(feed).__name__}"
        )
    return cast("Mapping[str, Any]", feed)


def reason(error: Exception) -> str:
    """An error's message in one line, or its type."""
    text = " ".join(str(error).split()) or type(error).__name__
    if "pickle" in text.lower():
        return "it holds Python objects or is not a numpy file; save plain numeric arrays"
    return text


@contextmanager
def _named(path: Path) -> Generator[None]:
    """Whatever fails inside is about this file."""
    try:
        yield
    except _BROKEN as error:
        raise DataError(f"data '{path}': {reason(error)}") from None


def _members(archive: zipfile.ZipFile) -> Iterator[tuple[str, zipfile.ZipInfo]]:
    for info in archive.infolist():
        yield info.filename.removesuffix(".npy"), info


def _stored(stream: IO[bytes], size: int) -> _Stored:
    """The header of an `.npy` of `size` bytes."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError("it holds records, not plain arrays")
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    header = Header(shape, dtype)
    if dtype.hasobject:
        raise ValueError("it holds Python objects; save plain numeric arrays")
    if min(shape, default=0) < 0 or stream.tell() + header.nbytes > size:
        raise ValueError("it is truncated")
    return _Stored(header, fortran, stream.tell())


def _mapped(path: Path, stored: _Stored, offset: int) -> NDArray[Any]:
    shape, dtype = stored.header
    order = "F" if stored.fortran else "C"
    return np.memmap(path, dtype, "r", offset, shape, order)
