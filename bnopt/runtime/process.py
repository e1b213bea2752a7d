"""Run functions in a worker process that may crash, hang or run out of memory.

onnxruntime segfaults on some models, so it never runs in the process that has the user's data.
The worker is a plain `python -m bnopt.runtime.worker` with pickles over its pipes rather than a
`multiprocessing` pool: it does not import the user's main script again, and it can be killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bnopt import errors
from bnopt.errors import ExecutionError
from bnopt.runtime import wire

if TYPE_CHECKING:
    from types import TracebackType

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])


class Worker:
    """A child process that runs named functions; started on the first call, again after a crash.

    Use it as a context manager. Not safe to share between threads.

    Args:
        timeout: Seconds a call may take before the worker is killed.
    """

    def __init__(self, timeout: float = 300.0) -> None:
        self.timeout = timeout
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """Process id of the running worker; None before the first call and after a crash."""
        return self._process.pid if self._process else None

    def call(
        self,
        function: str,
        /,
        *args: object,
        task: str = "worker",
        timeout: float | None = None,
        **kwargs: object,
    ) -> object:
        """Run `package.module:function` in the worker and return its result.

        Args:
            function: Dotted module, colon, name.
            *args: Picklable positional arguments.
            task: What is being done, as the start of an error message.
            timeout: Overrides the worker's own.
            **kwargs: Picklable keyword arguments.

        Raises:
            BnoptError: As the function raised it.
            ExecutionError: It raised that or anything else, crashed, hung or ran out of memory; one
                line that starts with `task`.
        """
        limit = self.timeout if timeout is None else timeout
        process = self._start()
        try:
            kind, value = self._exchange(process, (function, args, kwargs), limit)
        except (EOFError, BrokenPipeError):
            raise ExecutionError(f"{task}: {self._obituary()}") from None
        except TimeoutError:
            self._kill()
            raise ExecutionError(
                f"{task}: no answer within {limit:g} s, so it was stopped"
            ) from None
        except BaseException:
            # Ctrl-C, or a result that cannot be unpickled: the pipe is out of step from here on.
            self._kill()
            raise
        if kind == "done":
            return value
        if kind == "refused":
            name, message = cast("tuple[str, str]", value)
            if name == ExecutionError.__name__:
                raise ExecutionError(f"{task}: {message}")
            raise cast("type[errors.BnoptError]", getattr(errors, name))(message)
        if kind == "memory":
            # A heap that has failed once is not worth trusting.
            self._kill()
            raise ExecutionError(f"{task}: ran out of memory")
        raise ExecutionError(f"{task}: {value}")

    def close(self) -> None:
        """End the worker."""
        self._kill()
        self._stderr.close()

    def _start(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._process.poll() is None:
            return self._process
        self._kill()
        path = os.environ.get("PYTHONPATH")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bnopt.runtime.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([_PACKAGE_ROOT, *([path] if path else [])]),
                # `-m` would put the current folder first, where an `onnx` folder may lie.
                "PYTHONSAFEPATH": "1",
            },
            # Ctrl-C on a terminal goes to the parent alone, which then decides.
            start_new_session=True,
        )
        return self._process

    def _exchange(
        self, process: subprocess.Popen[bytes], job: object, limit: float
    ) -> tuple[str, object]:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stderr.seek(0)
        self._stderr.truncate()
        wire.send(process.stdin, job)
        descriptor = process.stdout.fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
        deadline = time.monotonic() + limit

        def read(view: memoryview) -> int:
            left = deadline - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000.0):
                raise TimeoutError
            return os.readv(descriptor, [view])

        return cast("tuple[str, object]", wire.receive(read))

    def _kill(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()

    def _obituary(self) -> str:
        """How the worker died, from its exit status and the last thing it wrote."""
        assert self._process is not None
        status = self._process.wait()
        self._kill()
        self._stderr.seek(0)
        written = self._stderr.read().decode(errors="replace").strip().splitlines()
        if "bad_alloc" in "".join(written[-3:]):
            return "ran out of memory"
        if status == -signal.SIGKILL:
            return "killed by the system (SIGKILL), most likely out of memory"
        if status < 0:
            return f"crashed ({signal.Signals(-status).name})"
        last = f": {written[-1].strip()}" if written else ""
        return f"ended with exit status {status}{last}"
