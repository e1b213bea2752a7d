"""Where a file may be written, and one line for why it could not."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from bnopt.errors import SaveError
from bnopt.io.check import one_line


def check_target(path: str | os.PathLike[str]) -> None:
    """Refuse a target that cannot be written, before any work is done.

    Raises:
        SaveError: Its folder is missing or not to be read, its name is too long, or it is there
            and no regular file.
    """
    target = Path(os.path.abspath(path))  # noqa: PTH100 - resolve() would follow symbolic links
    try:
        if not target.parent.is_dir():
            raise SaveError(f"cannot write {target}: there is no folder {target.parent}")
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise save_error(target, error) from error
    except ValueError as error:
        raise SaveError(f"cannot write {target!s}: {error}") from error
    if stat.S_ISDIR(mode):
        raise SaveError(f"cannot write {target}: it is a directory")
    if stat.S_ISLNK(mode):
        # Renaming over a link would leave the file it points to as it was.
        raise SaveError(f"cannot write {target}: it is a symbolic link; name the file itself")
    if not stat.S_ISREG(mode):
        raise SaveError(f"cannot write {target}: it is not a regular file")


def save_error(target: Path, error: BaseException) -> SaveError:
    """One line for what went wrong while writing `target`."""
    reason = error.strerror if isinstance(error, OSError) else None
    return SaveError(f"cannot write {target}: {reason or one_line(error)[:300]}")
