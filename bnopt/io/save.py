"""Write a model so that the target is either what it was, or complete.

The data file is written first, under a name that no file had, then a temporary model file that
refers to it, both in the target's folder. Renaming the model over the target is the one step that
counts, and the last. Until then the staged file can be loaded, validated, or dropped.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import secrets
import stat
from pathlib import Path
from types import TracebackType

import onnx_ir as ir

from bnopt.errors import InternalError, SaveError, UsageError
from bnopt.io.check import checker_complaint, root_cause
from bnopt.io.serialize import INLINE_LIMIT, goes_outside, tensor_bytes, to_bytes
from bnopt.io.stale import stale_data_files
from bnopt.io.target import check_target, save_error
from bnopt.io.tensors import slots


class StagedModel:
    """A complete model file beside its target, not yet in its place.

    As a context manager it discards itself unless it was committed.

    Attributes:
        path: The temporary model file; it can be loaded now, external data included.
        target: Where `commit` puts it.
        data_path: The external data file, under its final name; None if all is inline.
    """

    def __init__(self, path: Path, target: Path, data_path: Path | None) -> None:
        self.path = path
        self.target = target
        self.data_path = data_path
        self._open = True

    def __enter__(self) -> StagedModel:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.discard()

    def commit(self) -> Path:
        """Put the model in its place, durably, and drop the data file of the one it replaced.

        Returns:
            The target.

        Raises:
            SaveError: The operating system refused; the target is what it was.
        """
        stale = stale_data_files(self.target, keep=self.data_path)
        try:
            if self.data_path is not None:
                _sync(self.data_path)
            with contextlib.suppress(FileNotFoundError):
                self.path.chmod(stat.S_IMODE(self.target.stat().st_mode))
            _sync(self.path)
            # From here on the data file belongs to the target, whatever interrupts.
            self.path.replace(self.target)
            self._open = False
        except OSError as error:
            self.discard()
            raise save_error(self.target, error) from error
        with contextlib.suppress(OSError):
            _sync(self.target.parent)
        for file in stale:
            with contextlib.suppress(OSError):
                file.unlink()
        return self.target

    def discard(self) -> None:
        """Remove what was staged, unless it was committed; safe to call twice."""
        if self._open:
            self._open = False
            _remove(self.path, self.data_path)


def stage(
    model: ir.Model,
    path: Path,
    *,
    external_data: bool | None = None,
    must_check: bool = False,
) -> StagedModel:
    """Write `model` beside `path`, ready to take its place.

    Args:
        model: The model; the same before and after.
        path: The target, ending in `.onnx`. Its folder must exist.
        external_data: Whether tensors above 1 KiB go to a data file beside it. None: if one of
            them stands in one now, or if together they come near protobuf's limit of 2 GB.
        must_check: Whether the ONNX checker must accept the result. Say so only if it accepted the
            original: some models in use fail it, and folding is not what is wrong with them.

    Raises:
        UsageError: `path` does not end in `.onnx`.
        SaveError: The folder is missing or not writable, the disk is full, the name is too long,
            or `path` is no regular file.
        InternalError: `must_check`, and the checker rejects the result.
    """
    target = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow symbolic links
    if target.suffix.lower() != ".onnx":
        raise UsageError(f"the output {target} must end in .onnx")
    check_target(target)
    temporary: Path | None = None
    data_path: Path | None = None
    try:
        if external_data is False and tensor_bytes(model) > INLINE_LIMIT:
            raise SaveError(f"cannot write {target}: above 2 GB it needs external data")
        if _wants_data_file(model, external_data):
            data_path = _reserve_data_file(target)
        # Short, and of one length, so that only the target's own name can be too long.
        temporary = target.parent / f".bnopt-{secrets.token_hex(8)}.onnx"
        _create(temporary)
        temporary.write_bytes(to_bytes(model, data_path))
        if must_check and (complaint := checker_complaint(temporary)):
            raise InternalError(
                f"the ONNX checker rejects the result for {target} though it accepted the input: "
                f"{complaint}"
            )
    except BaseException as error:
        _remove(temporary, data_path)
        if isinstance(error, OSError | ir.serde.SerdeError):
            # onnx_ir wraps what a tensor raises while it is serialised.
            raise save_error(target, root_cause(error)) from error
        raise
    return StagedModel(temporary, target, data_path)


def _wants_data_file(model: ir.Model, external_data: bool | None) -> bool:
    candidates = [slot.tensor for slot in slots(model) if goes_outside(slot)]
    if not candidates or external_data is False:
        return False
    return (
        external_data is True
        or any(isinstance(tensor, ir.ExternalTensor) for tensor in candidates)
        or tensor_bytes(model) > INLINE_LIMIT
    )


def _reserve_data_file(target: Path) -> Path:
    for number in itertools.count():
        middle = f".{number}" if number else ""
        candidate = target.parent / f"{target.name}{middle}.data"
        try:
            _create(candidate)
        except FileExistsError:
            continue
        return candidate
    raise AssertionError  # pragma: no cover - itertools.count does not end


def _create(path: Path) -> None:
    # Mode 0o666 lets the umask decide, as for any file that a program makes.
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666))


def _remove(*paths: Path | None) -> None:
    for path in paths:
        if path is not None:
            with contextlib.suppress(OSError):
                path.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
