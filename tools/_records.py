"""What `tools/peers.py` knows of one model through one tool, and where it keeps it between runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FAILURES = ("WRONG", "INVALID", "FAILED", "CRASHED")
LOAD_FAULT = "onnxruntime:"


@dataclass(frozen=True)
class Size:
    """What a model holds; see `_graphs.size`."""

    batch_norms: int
    decomposed: int
    nodes: int
    weight_bytes: int

    @property
    def left(self) -> int:
        """Batch norms in either form."""
        return self.batch_norms + self.decomposed


@dataclass(frozen=True)
class Record:
    """One model through one tool.

    Attributes:
        model: File name.
        before: The original.
        after: The result; None where the tool gave none.
        state: `ok`, `unproven`, or one of FAILURES.
        message: What was wrong.
        seconds: From reading the file to having written the result; None where it gave none.
        process_seconds: The whole process.
        peak_mb: Peak memory of the process.
        kept: Of bnopt: (site, form, reason, message) of every batch norm it keeps.
        shifts: Of bnopt: batch norms whose scale is folded while an Add of the shift stays.
    """

    model: str
    before: Size
    after: Size | None
    state: str
    message: str
    seconds: float | None
    process_seconds: float
    peak_mb: float
    kept: tuple[tuple[str, str, str, str], ...] = ()
    shifts: int = 0

    @property
    def right(self) -> bool:
        """Whether nothing is held against the result."""
        return self.state not in FAILURES

    @property
    def size(self) -> Size:
        """The result, or what stays if there is none."""
        return self.after or self.before


class Store:
    """A folder with one file per record, so that a run can be resumed.

    What a record depends on is in its file's name: the model's bytes and all that `of` is given.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, tool: str, model: Path, *of: str) -> Path:
        """Where the record is kept."""
        key = hashlib.sha256("\n".join([digest([model]), tool, *of]).encode())
        return self.folder / f"{tool}-{key.hexdigest()[:24]}.json"

    def get(self, path: Path) -> Record | None:
        """The record, if it is there."""
        if not path.exists():
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        for part in ("before", "after"):
            found[part] = found[part] and Size(**found[part])
        return Record(**{**found, "kept": tuple(map(tuple, found["kept"]))})

    def put(self, path: Path, record: Record) -> None:
        """Keep a record; whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(dataclasses.asdict(record), indent=1), encoding="utf-8")
        part.replace(path)


def digest(paths: Iterable[Path]) -> str:
    """One digest of the contents of files, in the order of their names."""
    whole = hashlib.sha256()
    for path in sorted(paths):
        whole.update(hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()
