"""Read a model without trusting it.

Every way a file can be wrong ends in one `LoadError` line that names the path, never in a
traceback, and never in a model that silently lacks a part.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from bnopt.errors import LoadError, UnsupportedModelError
from bnopt.io.check import one_line, root_cause
from bnopt.io.external import DataFile, MappedTensor, open_data_files
from bnopt.io.interface import remember, set_aside
from bnopt.io.order import sort_nodes
from bnopt.io.pause import gc_paused
from bnopt.io.protos import is_external, tensors
from bnopt.io.scan import scan
from bnopt.io.tensors import slots

SUFFIXES = (".onnx", ".pb")
PROTOBUF_LIMIT = 2**31 - 1
_LFS = b"version https://git-lfs"


@dataclass(frozen=True)
class LoadedModel:
    """A model and where it came from.

    Attributes:
        model: The graph. External tensors stay on disk, mapped, read when used.
        path: The model file, absolute.
        data_files: The external data files that it refers to, absolute.
        file_bytes: Size of the model file and its data files together, in bytes.
    """

    model: ir.Model
    path: Path
    data_files: tuple[Path, ...]
    file_bytes: int

    @property
    def external_data(self) -> bool:
        """Whether any tensor stands outside the model file."""
        return bool(self.data_files)


def load(path: str | os.PathLike[str]) -> LoadedModel:
    """Read an ONNX model file.

    Args:
        path: A binary ONNX file, `.onnx` or `.pb`; external data is looked up beside it.

    Raises:
        LoadError: It is missing, no regular file, unreadable, not ONNX, truncated, without nodes,
            or its external data is missing or too short.
        UnsafePathError: Its external data points outside its folder.
        UnsupportedModelError: It holds something that would be lost or misread.
    """
    # onnx_ir checks containment of external data only below a base directory that is not empty,
    # so a bare file name must become absolute.
    absolute = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow symbolic links
    content = _read(absolute)
    size = len(content)
    with gc_paused():
        proto = _parse(content, absolute)
        # The parsed proto is a second copy; do not hold both while the graph is built.
        del content
        scan(proto, str(absolute))
        files = open_data_files(proto, absolute)
        model = _deserialize(proto, str(absolute))
        _map_external(model, absolute.parent, files)
    return LoadedModel(
        model=model,
        path=absolute,
        data_files=tuple(sorted({file.path for file in files.values()})),
        file_bytes=size + sum({file.path: file.size for file in files.values()}.values()),
    )


def from_proto(proto: onnx.ModelProto) -> ir.Model:
    """Build the graph of a model that is already in memory, behind the same guards.

    The proto is copied first: onnx_ir's tensors write their names through to the proto they wrap,
    and the caller's model must not change.

    Args:
        proto: The model; all its tensors must be in memory.

    Raises:
        LoadError: It has no graph or no nodes.
        UnsupportedModelError: It holds something that would be lost or misread, or refers to
            external data, which has no folder to be looked up in.
    """
    name = "the model"
    for place, tensor in tensors(proto):
        if is_external(tensor):
            raise UnsupportedModelError(
                f"{name}: {place} stands in external data; pass the model's path, or load it with "
                "onnx.load(path, load_external_data=True)"
            )
    scan(proto, name)
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    with gc_paused():
        return _deserialize(copy, name)


def _read(path: Path) -> bytes:
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise LoadError(f"{path} is a directory, not a model file")
        if not stat.S_ISREG(status.st_mode):
            raise LoadError(f"{path} is not a regular file")
        if path.suffix.lower() not in SUFFIXES:
            raise LoadError(
                f"{path} does not end in .onnx or .pb; rename it if it is a binary ONNX model"
            )
        if status.st_size > PROTOBUF_LIMIT:
            raise LoadError(
                f"{path} has {status.st_size} bytes; protobuf reads no file above 2 GB, so it is "
                "corrupt or no ONNX model"
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise LoadError(f"no such file: {path}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else one_line(error)
        raise LoadError(f"cannot read {path}: {reason}") from error


def _parse(content: bytes, path: Path) -> onnx.ModelProto:
    if not content:
        raise LoadError(f"{path} is empty")
    if content.startswith(_LFS):
        raise LoadError(
            f"{path} is a Git LFS pointer, not the model itself; run `git lfs pull` first"
        )
    try:
        proto = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise LoadError(f"{path} is {_guess(content)}") from error
    if not proto.HasField("graph") and _is_text(content):
        raise LoadError(f"{path} is {_guess(content)}")
    return proto


def _guess(content: bytes) -> str:
    if _is_text(content):
        return "a text file, not a binary ONNX model"
    return "not an ONNX model, or it is truncated"


def _is_text(content: bytes) -> bool:
    head = content[:4096]
    return not any(byte < 9 or 13 < byte < 32 for byte in head) and b"\x7f" not in head


def _deserialize(proto: onnx.ModelProto, name: str) -> ir.Model:
    kept = set_aside(proto)
    try:
        model = ir.serde.deserialize_model(proto)
    except Exception as error:
        # onnx_ir wraps every cause in SerdeErrors that quote whole protos; the root says it best.
        raise UnsupportedModelError(
            f"{name} cannot be represented: {one_line(root_cause(error))[:300]}"
        ) from error
    sort_nodes(model, name)
    remember(model, kept)
    return model


def _map_external(model: ir.Model, folder: Path, files: dict[str, DataFile]) -> None:
    shared: dict[int, MappedTensor] = {}
    for slot in slots(model):
        tensor = slot.tensor
        if isinstance(tensor, ir.ExternalTensor):
            tensor.base_dir = str(folder)
            mapped = shared.get(id(tensor))
            if mapped is None:
                mapped = MappedTensor(tensor, files[os.fspath(tensor.location)])
                shared[id(tensor)] = mapped
            slot.put(mapped)
