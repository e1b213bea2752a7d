"""A report to a file, all or nothing."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from bnopt.io.target import check_target, save_error
from bnopt.report.html.page import Shown, page


def write(
    result: Shown, path: str | os.PathLike[str], *, stopped: bool = False, why: str = ""
) -> Path:
    """Write the page of `result`; the target is what it was, or complete.

    Args:
        result: What to show.
        path: The target. Its folder must exist.
        stopped: Whether an error kept the command from finishing.
        why: The error's line, as for `page`.

    Returns:
        The path.

    Raises:
        SaveError: The folder is missing or not writable, the disk is full, the name is too long,
            or `path` is no regular file.
    """
    target = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow symbolic links
    check_target(target)
    text = page(result, stopped=stopped, why=why)
    temporary = target.parent / f".bnopt-{secrets.token_hex(8)}.html"
    try:
        # Mode 0o666 lets the umask decide, as for any file that a program makes.
        handle = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        with contextlib.suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise save_error(target, error) from error
        raise
    return target
