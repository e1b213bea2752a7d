"""Which data file a replaced model leaves behind, if nothing else can still want it."""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from bnopt.io.protos import is_external, tensors

_MODEL_SUFFIXES = (".onnx", ".pb")


def stale_data_files(target: Path, *, keep: Path | None) -> tuple[Path, ...]:
    """Data files that only the model at `target` uses, to be removed once it is replaced.

    A file qualifies if the present model refers to it, its name is one that bnopt gives to that
    model's data (`NAME.data`, `NAME.1.data`, ...), and no other model file of the folder contains
    that name: a copy of the model alone, kept as a backup, still needs the data.

    Args:
        target: The model that is about to be replaced; it may be missing or broken.
        keep: The data file of its successor.
    """
    pattern = re.compile(re.escape(target.name) + r"(\.\d+)?\.data")
    try:
        siblings = sorted(target.parent.iterdir())
        candidates = [f for f in siblings if pattern.fullmatch(f.name) and f != keep]
        if not candidates or not target.is_file():
            return ()
        used = _locations(target)
    except (OSError, DecodeError, UnicodeDecodeError):
        return ()
    models = [f for f in siblings if f.suffix.lower() in _MODEL_SUFFIXES and f != target]
    return tuple(
        f
        for f in candidates
        if f.name in used
        and f.is_file()
        and not f.is_symlink()
        and not any(_mentions(model, f.name) for model in models)
    )


def _locations(model: Path) -> set[str]:
    proto = onnx.ModelProto.FromString(model.read_bytes())
    return {
        entry.value
        for _, tensor in tensors(proto)
        if is_external(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    }


def _mentions(model: Path, name: str) -> bool:
    try:
        with model.open("rb") as file:
            if model.stat().st_size == 0:
                return False
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return content.find(name.encode()) >= 0
    except (OSError, ValueError):
        # What cannot be read may still be someone's model.
        return True
