"""A dask cluster to work on: one that is there already, or one started on this machine.

The workers of a cluster started here are `python -m distributed.cli.dask_worker` rather than
`multiprocessing` children of a `LocalCluster`: these would import the user's main script again,
and Ctrl-C on a terminal would reach each of them.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bnopt
from bnopt.calibration import dask_job
from bnopt.errors import BnoptError, DependencyError, ExecutionError, UsageError
from bnopt.runtime.messages import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_PACKAGE_ROOT = str(Path(__file__).resolve().parents[2])
_STOP = 3.0
"""Seconds that workers get to end in order."""


class Cluster:
    """A connection to a scheduler, as a context manager; what it started ends with it.

    Attributes:
        client: A `distributed.Client`.
        address: Of the scheduler.
        notes: What differs between the machines.

    Args:
        scheduler: Address of a running scheduler; None starts one, and workers.
        workers: How many to start.
        patience: Seconds to wait for the scheduler, and then for its first worker.

    Raises:
        UsageError: No scheduler or no worker there.
        DependencyError: A package is missing here or on a worker, or is of another version.
    """

    def __init__(self, scheduler: str | None, workers: int, patience: float) -> None:
        self.notes: list[str] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Any = None
        with ExitStack() as stack:
            stack.enter_context(_quiet())
            if scheduler is None:
                self.address = self._start(stack, workers)
            else:
                self.address = scheduler
            self.client = self._connect(stack, patience)
            self._check(workers if scheduler is None else 1, patience)
            self._stack = stack.pop_all()

    def close(self) -> None:
        """Disconnect, and end what was started."""
        self._stack.close()

    def slots(self) -> dict[str, int]:
        """Address of each worker -> how many tasks it runs at a time.

        Raises:
            ExecutionError: The connection is lost.
        """
        if self._process is not None and self._process.poll() is not None:
            raise ExecutionError(f"the dask workers ended: {self._last_words()}")
        try:
            return dict(self.client.nthreads())
        # Whatever the connection died of.
        except (OSError, RuntimeError, ValueError) as error:
            raise self.lost(error) from None

    def lost(self, error: BaseException) -> ExecutionError:
        """What to say when the scheduler does not answer any more."""
        return ExecutionError(f"lost the dask scheduler at {self.address}: {one_line(error)}")

    def _start(self, stack: ExitStack, workers: int) -> str:
        import distributed

        make: Any = distributed.LocalCluster
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cluster = make(
                n_workers=0, threads_per_worker=1, processes=True, dashboard_address=None
            )
        stack.callback(cluster.close)
        address = str(cluster.scheduler_address)
        folder = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="bnopt-dask-", ignore_cleanup_errors=True)
        )
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
        stack.callback(self._log.close)
        path = os.environ.get("PYTHONPATH")
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address]
        command += ["--nworkers", str(workers), "--nthreads", "1", "--memory-limit", "0"]
        command += ["--no-dashboard", "--local-directory", folder, "--death-timeout", "30"]
        self._process = subprocess.Popen(
            [*command, "--host", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([_PACKAGE_ROOT, *([path] if path else [])]),
                "PYTHONSAFEPATH": "1",
            },
            # Ctrl-C on a terminal goes to the client alone, which then decides.
            start_new_session=True,
        )
        stack.callback(_stop, self._process)
        return address

    def _connect(self, stack: ExitStack, patience: float) -> Any:
        import distributed

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                client: Any = distributed.Client(
                    self.address, timeout=patience, set_as_default=False
                )
        # dask raises what its transport raises: OSError, ValueError, a failed handshake.
        except Exception as error:
            raise UsageError(f"no dask scheduler at '{self.address}': {one_line(error)}") from None
        stack.callback(client.close, timeout=_STOP)
        return client

    def _check(self, workers: int, patience: float) -> None:
        self._wait_for(workers, patience)
        try:
            self.client.run_on_scheduler(pkgutil.resolve_name, "bnopt:__version__")
        except ImportError as error:
            raise DependencyError(_missing("the dask scheduler", error)) from None
        for address, found in self._ask(pkgutil.resolve_name, "bnopt:__version__"):
            if isinstance(found, BaseException):
                raise DependencyError(_missing(f"worker {address}", found))
            if found != bnopt.__version__:
                raise DependencyError(
                    f"worker {address} has bnopt {found}, but this is {bnopt.__version__}; "
                    "install the same version on both"
                )
        runtimes: dict[str, str] = {}
        for address, found in self._ask(dask_job.facts):
            if isinstance(found, BnoptError):
                raise DependencyError(f"worker {address}: {found.message}")
            if isinstance(found, BaseException):
                raise DependencyError(_missing(f"worker {address}", found))
            runtimes.setdefault(found["onnxruntime"], address)
        if len(runtimes) > 1:
            listed = ", ".join(f"{name} on {address}" for name, address in runtimes.items())
            self.notes.append(f"workers differ, so the last digits may: {listed}")

    def _wait_for(self, workers: int, patience: float) -> None:
        own = self._process is not None
        deadline = time.monotonic() + (60.0 if own else patience)
        while len(self.slots()) < workers:
            if time.monotonic() > deadline:
                if own:
                    raise ExecutionError(f"no dask workers after 60 s: {self._last_words()}")
                raise UsageError(
                    f"the dask scheduler at '{self.address}' has no workers; "
                    f"start some: dask worker {self.address}"
                )
            time.sleep(0.05)

    def _ask(self, function: Callable[..., Any], *args: object) -> list[tuple[str, Any]]:
        answers: dict[str, Any] = self.client.run(function, *args, on_error="return")
        return sorted(answers.items())

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        lines = [line for line in lines if " - INFO - " not in line]
        return lines[-1].strip() if lines else "no message"


def _missing(who: str, error: BaseException) -> str:
    return f"{who} cannot import bnopt ({one_line(error)}); there: pip install 'bnopt[cpu,dask]'"


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(_STOP)
    # Nannies and workers are in its group, even those that it left behind.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def _quiet() -> Generator[None]:
    """Keep dask's own log off the terminal: what matters in it is reported in other ways."""
    importlib.import_module("distributed")  # it sets the levels that are changed here
    levels = {
        logger: logger.level
        for name, logger in logging.root.manager.loggerDict.items()
        if isinstance(logger, logging.Logger)
        and name.partition(".")[0] in ("distributed", "tornado")
        and logger.level != logging.NOTSET
    }
    for logger in levels:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in levels.items():
            logger.setLevel(level)
