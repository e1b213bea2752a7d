"""Where external data may stand, and tensors that read it through one shared mapping per file.

A location is a relative path below the model's folder, without `..`, not through a symbolic link
that leaves the folder, and to a regular file with one hard link: onnx refuses the rest as well
(https://github.com/onnx/onnx/blob/main/docs/ExternalDataSecurity.md), but some of it late or not
for every reader.
"""

from __future__ import annotations

import mmap
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir

from bnopt.errors import LoadError, UnsafePathError, UnsupportedModelError
from bnopt.io.protos import is_external, payload_bytes, rare_tensors, tensors

_CHUNK = 1 << 26


class DataFile:
    """An open, mapped external data file.

    It stays readable when the path is replaced or removed, so a model can be saved over itself.

    Attributes:
        path: Where it was opened.
        size: Its size in bytes when it was opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.size = os.fstat(descriptor).st_size
            # An empty file cannot be mapped, and nothing can be read from it.
            self._map = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) if self.size else b""
        finally:
            os.close(descriptor)

    def view(self, offset: int, length: int) -> memoryview:
        """The bytes `[offset, offset + length)` of the file, not copied."""
        return memoryview(self._map)[offset : offset + length]


class MappedTensor(ir.ExternalTensor):
    """An `onnx_ir.ExternalTensor` over a shared `DataFile`.

    The base class maps the whole file once per tensor and keeps a descriptor for each: models with
    more external tensors than `ulimit -n` allows cannot be read, and two threads that read the same
    tensor first trip an assertion. This one keeps no state of its own.
    """

    __slots__ = ("_file",)

    def __init__(self, tensor: ir.ExternalTensor, file: DataFile) -> None:
        super().__init__(
            tensor.location,
            tensor.offset or 0,
            tensor.nbytes,
            tensor.dtype,
            shape=tensor.shape,
            name=tensor.name,
            doc_string=tensor.doc_string,
            metadata_props=dict(tensor.metadata_props) or None,
            base_dir=tensor.base_dir,
        )
        self._file = file

    def _view(self) -> memoryview:
        return self._file.view(self.offset or 0, self.nbytes)

    def numpy(self) -> npt.NDArray[Any]:
        """The values; a read-only view of the mapped file for dtypes of whole bytes."""
        shape = tuple(self.shape.numpy())
        if self.dtype.bitwidth < 8:
            return ir.serde.deserialize_tensor(self._packed()).numpy()
        array: Any = np.frombuffer(self._view(), dtype=self.dtype.numpy()).reshape(shape)
        return array if sys.byteorder == "little" else array.byteswap()

    def _packed(self) -> onnx.TensorProto:
        return onnx.TensorProto(
            data_type=self.dtype.value, dims=list(self.shape.numpy()), raw_data=bytes(self._view())
        )

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.numpy().__array__(dtype)

    def tobytes(self) -> bytes:
        """A copy of the data: little endian, sub-byte dtypes packed."""
        return bytes(self._view())

    def tofile(self, file: Any) -> None:
        """Write the data to a binary file object, in pieces straight from the mapping."""
        view = self._view()
        for start in range(0, len(view), _CHUNK):
            file.write(view[start : start + _CHUNK])


def open_data_files(model: onnx.ModelProto, path: Path) -> dict[str, DataFile]:
    """Guard every external reference of a model, then open each file once.

    Args:
        model: The parsed proto.
        path: The model file, absolute.

    Returns:
        The open files by location, as written in the model.

    Raises:
        UnsafePathError: A location that leaves the model's folder.
        LoadError: A file that is missing, unreadable, too short, or does not fit its tensor.
        UnsupportedModelError: External data where no operator of the standard has it.
    """
    for place, tensor in rare_tensors(model):
        if is_external(tensor):
            raise UnsupportedModelError(f"{path}: {place} stands in external data")
    files: dict[str, DataFile] = {}
    for place, tensor in tensors(model):
        if not is_external(tensor):
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        subject = f"{path}: {place}"
        if location not in files:
            files[location] = _open(guard_location(location, path.parent, subject), subject)
        _check_extent(tensor, entries, files[location], subject)
    return files


def guard_location(location: str, folder: Path, subject: str) -> Path:
    """The file that a location names, if it is safe to read.

    Args:
        location: As written in the model.
        folder: The model's folder, absolute.
        subject: Start of the error message: the model and the tensor.

    Raises:
        UnsafePathError: It is absolute, has `..`, or resolves to a place outside `folder`.
        LoadError: It is empty or cannot be a file name.
    """
    if not location or "\0" in location:
        raise LoadError(f"{subject} has external data without a usable location")
    windows = PureWindowsPath(location)
    posix = PurePosixPath(location)
    if posix.is_absolute() or windows.drive or windows.root:
        raise UnsafePathError(f"{subject} points to the absolute path '{location}'; not read")
    if ".." in posix.parts or ".." in windows.parts:
        raise UnsafePathError(f"{subject} points outside the model's folder: '{location}'")
    target = folder / location
    try:
        resolved = target.resolve()
        inside = resolved.is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError) as error:
        raise LoadError(f"{subject}: cannot resolve '{location}': {error}") from error
    if not inside:
        raise UnsafePathError(
            f"{subject} leads through a symbolic link out of the model's folder: '{location}'; "
            "copy the file beside the model"
        )
    return target


def _open(target: Path, subject: str) -> DataFile:
    try:
        status = target.stat()
        if not stat.S_ISREG(status.st_mode):
            raise LoadError(f"{subject}: external data {target} is not a regular file")
        if status.st_nlink > 1:
            raise UnsafePathError(
                f"{subject}: external data {target} has {status.st_nlink} hard links, which may "
                "hide a file from elsewhere; copy it"
            )
        return DataFile(target)
    except FileNotFoundError as error:
        raise LoadError(f"{subject}: external data {target} is missing") from error
    except OSError as error:
        raise LoadError(
            f"{subject}: cannot read external data {target}: {error.strerror}"
        ) from error


def _check_extent(
    tensor: onnx.TensorProto, entries: Mapping[str, str], file: DataFile, subject: str
) -> None:
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", "0"))
    except ValueError as error:
        raise LoadError(f"{subject}: offset or length of its external data is no number") from error
    needed = payload_bytes(tensor)
    if tensor.data_type == onnx.TensorProto.STRING or needed is None:
        raise LoadError(f"{subject}: its data type cannot stand in external data")
    if offset < 0 or length < 0:
        raise LoadError(f"{subject}: offset or length of its external data is negative")
    if length not in (0, needed):
        raise LoadError(
            f"{subject}: external data of {length} bytes, but its shape {list(tensor.dims)} "
            f"needs {needed}"
        )
    if offset + needed > file.size:
        raise LoadError(
            f"{subject}: external data {file.path} is truncated: it has {file.size} bytes, "
            f"{offset + needed} are needed"
        )
