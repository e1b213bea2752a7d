"""Which kind of TensorFlow model a path is, found without TensorFlow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from bnopt.errors import LoadError, UsageError
from bnopt.runtime.messages import one_line

if TYPE_CHECKING:
    import os

SourceKind: TypeAlias = Literal["saved-model", "keras", "frozen-graph", "checkpoint"]
KINDS: tuple[SourceKind, ...] = get_args(SourceKind)

_SAVED_MODEL = "saved_model.pb"
_KERAS = {".keras": b"PK\x03\x04", ".h5": b"\x89HDF\r\n\x1a\n", ".hdf5": b"\x89HDF\r\n\x1a\n"}
_SHARD = re.compile(r"\.(?:index|meta|data-\d{5}-of-\d{5})$")
_LATEST = re.compile(r'^model_checkpoint_path:\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Source:
    """A model on disk.

    Attributes:
        kind: What it is.
        path: The folder of a SavedModel, the file of a Keras model or of a frozen graph, the
            prefix of a checkpoint (its meta graph is `PREFIX.meta`).
    """

    kind: SourceKind
    path: Path


def detect(path: str | os.PathLike[str], kind: str = "auto") -> Source:
    """Find out what a path holds.

    Args:
        path: A folder, a file, or the prefix of a checkpoint.
        kind: What it must be, or `auto`.

    Raises:
        UsageError: There is no such kind.
        LoadError: There is nothing at the path, it is none of these kinds, not the one asked for,
            or cannot be read.
    """
    if kind != "auto" and kind not in KINDS:
        raise UsageError(f"unknown kind '{kind}'; one of: auto, {', '.join(KINDS)}")
    given = Path(path)
    try:
        found = _folder(given) if given.is_dir() else _file(given)
    # A name that is too long, a file that one may not read.
    except OSError as error:
        raise LoadError(f"{str(given)[:80]!r} cannot be read: {one_line(error)}") from None
    if kind not in ("auto", found.kind):
        raise LoadError(f"{given}: is a {found.kind}, not a {kind}")
    return found


def _folder(path: Path) -> Source:
    if (path / _SAVED_MODEL).is_file():
        return Source("saved-model", path)
    if (path / "checkpoint").is_file():
        return _checkpoint(path / _latest(path / "checkpoint"))
    raise LoadError(
        f"{path}: a folder with neither a SavedModel ({_SAVED_MODEL}) nor a checkpoint in it"
    )


def _file(path: Path) -> Source:
    suffix = path.suffix.lower()
    if _SHARD.search(path.name):
        return _checkpoint(path.with_name(_SHARD.sub("", path.name)))
    if not path.is_file():
        if any(path.with_name(path.name + end).is_file() for end in (".meta", ".index")):
            return _checkpoint(path)
        raise LoadError(f"{path}: no such file or folder")
    if suffix in _KERAS:
        with path.open("rb") as stream:
            if not stream.read(8).startswith(_KERAS[suffix]):
                raise LoadError(f"{path}: not a Keras model, whatever its name says")
        return Source("keras", path)
    if path.name == _SAVED_MODEL:
        return Source("saved-model", path.parent)
    if suffix == ".pb":
        return Source("frozen-graph", path)
    raise LoadError(
        f"{path}: not a model of TensorFlow; known are the folder of a SavedModel, "
        "a Keras model (.keras, .h5), a frozen graph (.pb) and a checkpoint (.meta)"
    )


def _latest(record: Path) -> str:
    """File name of the newest checkpoint; its folder is the record's, wherever it once was."""
    match = _LATEST.search(record.read_text(encoding="utf-8", errors="replace"))
    name = re.split(r"[/\\]", match[1])[-1] if match else ""
    if not name:
        raise LoadError(f"{record}: names no checkpoint")
    return name


def _checkpoint(prefix: Path) -> Source:
    meta, index = (prefix.with_name(prefix.name + end) for end in (".meta", ".index"))
    if not meta.is_file():
        raise LoadError(
            f"{prefix}: a checkpoint holds numbers and no graph, and there is no {meta.name} "
            "beside it; save a SavedModel with the code that built the network"
        )
    # The first format of checkpoints was one file of the prefix's name.
    if not index.is_file() and not prefix.is_file():
        raise LoadError(f"{prefix}: a graph without its variables: there is no {index.name}")
    return Source("checkpoint", prefix)
