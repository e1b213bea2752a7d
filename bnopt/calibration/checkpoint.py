"""Partial moments in a file, so that a run that was cut short can go on where it stopped.

One `.npz` holds the identity of the run, the moments of every pass that is finished, and what is
known of the one that is not. It is replaced as a whole, by renaming, so that it is never half
written; nothing in it is unpickled.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bnopt.calibration.moments import Moments
from bnopt.calibration.runner import Part
from bnopt.calibration.tally import Tally
from bnopt.errors import SaveError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir
    from numpy.typing import NDArray

    from bnopt.runtime.dataset import Dataset

FORMAT = 1
_SECONDS_BETWEEN = 2.0


@dataclass(slots=True)
class Checkpoint:
    """The state of a run, in memory and, where a path is given, in a file.

    Attributes:
        identity: What the moments belong to; those of another run are refused.
        path: The file; None keeps nothing.
        finished: The moments of every finished pass, in order.
        tally: What is known of the pass that is under way; None before it has begun.
    """

    identity: dict[str, Any]
    path: Path | None = None
    finished: list[Part] = field(default_factory=list[Part])
    tally: Tally | None = None
    _saved: float = 0.0

    @staticmethod
    def open(path: Path | None, identity: dict[str, Any]) -> Checkpoint:
        """The state in the file, or an empty one if there is no such file.

        Raises:
            UsageError: The file is no such file, or of another run.
        """
        if path is None or not path.exists():
            return Checkpoint(identity, path)
        try:
            with np.load(path, allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
            about = json.loads(str(arrays.pop("about")))
            if about["format"] != FORMAT:
                raise UsageError(f"'{path}' was written by another version of bnopt")
            theirs = about["identity"]
            finished = [_read(arrays, about["parts"], f"pass{n}") for n in range(about["finished"])]
            tally = None
            if about["following"] is not None:
                merged = _read(arrays, about["parts"], "merged")
                waiting = {n: _read(arrays, about["parts"], f"shard{n}") for n in about["waiting"]}
                tally = Tally(merged, about["following"], waiting)
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(f"'{path}' holds no partial moments: {error}") from None
        for key, mine in identity.items():
            if theirs.get(key) != mine:
                raise UsageError(
                    f"'{path}' holds partial moments of another run: its {key} was "
                    f"{_short(theirs.get(key))}, now it is {_short(mine)}"
                )
        return Checkpoint(identity, path, finished, tally)

    @property
    def feeds(self) -> int:
        """Feeds that are done, in all passes."""
        under_way = 0 if self.tally is None else self.tally.feeds
        return sum(part.feeds for part in self.finished) + under_way

    def finish(self, part: Part) -> None:
        """End a pass."""
        self.finished.append(part)
        self.tally = None
        self.save()

    def save_now_and_then(self) -> None:
        """Save, unless that was done a moment ago."""
        if time.monotonic() - self._saved >= _SECONDS_BETWEEN:
            self.save()

    def save(self) -> None:
        """Write the file, if there is to be one.

        Raises:
            SaveError: It cannot be written.
        """
        if self.path is None:
            return
        arrays: dict[str, NDArray[Any]] = {}
        parts: dict[str, list[int]] = {}
        for name, part in self._named():
            parts[name] = [part.feeds, part.samples]
            for number, moments in enumerate(part.moments):
                if moments is not None:
                    numbers = np.stack([moments.mean, moments.m2])
                    arrays[f"{name}.{number}"] = np.column_stack(
                        [numbers, np.full(2, float(moments.count))]
                    )
            parts[name].append(len(part.moments))
        about = {
            "format": FORMAT,
            "identity": self.identity,
            "finished": len(self.finished),
            "following": None if self.tally is None else self.tally.following,
            "waiting": [] if self.tally is None else sorted(self.tally.waiting),
            "parts": parts,
        }
        _replace(self.path, {"about": np.array(json.dumps(about)), **arrays})
        self._saved = time.monotonic()

    def remove(self) -> None:
        """Delete the file: the run is complete."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def _named(self) -> Iterator[tuple[str, Part]]:
        for number, part in enumerate(self.finished):
            yield f"pass{number}", part
        if self.tally is not None:
            yield "merged", self.tally.merged
            for number, part in self.tally.waiting.items():
                yield f"shard{number}", part


def fingerprint(model: ir.Model) -> str:
    """A digest of the nodes, names and constants of a model's main graph."""
    digest = hashlib.sha256(repr(sorted(model.graph.opset_imports.items())).encode())
    for node in model.graph.all_nodes():
        attributes = sorted((name, str(attr)) for name, attr in node.attributes.items())
        reads = [value.name if value is not None else "" for value in node.inputs]
        gives = [value.name for value in node.outputs]
        digest.update(repr((node.domain, node.op_type, reads, gives, attributes)).encode())
    for name, value in sorted(model.graph.initializers.items()):
        tensor = value.const_value
        if tensor is not None:
            digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape.numpy()))).encode())
            digest.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return digest.hexdigest()


def identify(dataset: Dataset, seed: int | None) -> str:
    """A digest of a dataset: its files as they are, how it is cut into feeds, the first of them."""
    digest = hashlib.sha256()
    cut = (dataset.total, dataset.samples, dataset.batch_size, seed)
    digest.update(repr((cut, _stamp(Path(dataset.where)))).encode())
    for feed in dataset.feeds(0, 1):
        for name, array in sorted(feed.items()):
            digest.update(repr((name, array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """How many files there are, their bytes, and when the last of them was written."""
    try:
        files = [path] if path.is_file() else [one for one in path.rglob("*") if one.is_file()]
        stats = [file.stat() for file in files]
    except OSError:
        return None
    if not stats:
        return None
    return len(stats), sum(s.st_size for s in stats), max(s.st_mtime_ns for s in stats)


def _read(arrays: dict[str, NDArray[Any]], parts: dict[str, list[int]], name: str) -> Part:
    feeds, samples, places = parts[name]
    moments: list[Moments | None] = []
    for number in range(places):
        table = arrays.get(f"{name}.{number}")
        if table is None:
            moments.append(None)
        else:
            moments.append(Moments(int(table[0, -1]), table[0, :-1], table[1, :-1]))
    return Part(feeds, samples, tuple(moments))


def _replace(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    fresh = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with fresh.open("wb") as file:
            np.savez(file, **cast("Any", arrays))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError as error:
        raise SaveError(f"cannot write partial moments to '{path}': {error.strerror}") from None
    finally:
        with contextlib.suppress(OSError):
            fresh.unlink(missing_ok=True)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 20 else f"{text[:12]}..."
