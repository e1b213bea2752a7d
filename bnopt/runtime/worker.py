"""The other end of `process.Worker`: runs one job after another until its input closes.

Started as `python -m bnopt.runtime.worker`; not meant to be imported.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
import time
from typing import TYPE_CHECKING, BinaryIO, cast

from bnopt.errors import BnoptError
from bnopt.runtime import wire
from bnopt.runtime.messages import is_out_of_memory, one_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO


def _private_pipes() -> tuple[FileIO, BinaryIO]:
    """Move the job pipes off descriptors 0 and 1, which any library may read or print to."""
    jobs = os.fdopen(os.dup(0), "rb", buffering=0)
    replies = os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    return jobs, replies


def _die_with(parent: int) -> None:
    """End the process once the parent is gone, even in the middle of a job."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1.0)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _run(job: tuple[str, tuple[object, ...], dict[str, object]]) -> tuple[str, object]:
    function, args, kwargs = job
    module, _, name = function.partition(":")
    try:
        return "done", getattr(importlib.import_module(module), name)(*args, **kwargs)
    except BnoptError as error:
        return "refused", (type(error).__name__, error.message)
    except MemoryError:
        return "memory", ""
    # A worker reports whatever a job raises; the parent turns it into an ExecutionError.
    except Exception as error:
        text = one_line(error)
        return ("memory", text) if is_out_of_memory(text) else ("failed", text)


def main() -> None:
    """Serve jobs until end of file."""
    jobs, replies = _private_pipes()
    _die_with(os.getppid())
    read = cast("Callable[[memoryview], int]", jobs.readinto)
    while True:
        try:
            job = wire.receive(read)
        except EOFError:
            return
        reply = _run(cast("tuple[str, tuple[object, ...], dict[str, object]]", job))
        sys.stderr.flush()
        wire.send(replies, reply)


if __name__ == "__main__":
    main()
