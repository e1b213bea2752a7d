"""The ONNX checker's verdict on a file or a proto, as a value instead of an exception."""

from __future__ import annotations

from pathlib import Path

import onnx


def checker_complaint(source: Path | onnx.ModelProto) -> str | None:
    """Run `onnx.checker.check_model` without shape inference.

    The built-in checker pass of onnx_ir accepts models that this one rejects, so the final bytes
    are always shown to this one.

    Args:
        source: A model file (external data is looked up beside it) or a proto below 2 GB.

    Returns:
        None if the checker accepts the model, else its complaint on one line.
    """
    try:
        onnx.checker.check_model(str(source) if isinstance(source, Path) else source)
    except Exception as error:
        # The C++ checker has no single exception type: ValidationError, RuntimeError for
        # unreadable bytes, ValueError for protos above 2 GB.
        return one_line(error)
    return None


def one_line(error: BaseException) -> str:
    """The first line of an exception's text that says something, or its type's name."""
    for line in str(error).splitlines():
        if line.strip():
            return line.strip()
    return type(error).__name__


def root_cause(error: BaseException) -> BaseException:
    """The exception at the start of a chain of `raise ... from`."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
