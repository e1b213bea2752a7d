"""Passes on dask and on this machine, and real schedulers and workers to run them on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from dask_data import TESTS
from graphs import model, normal
from measuring import tap

from bnopt import io
from bnopt.algebra.base import Context
from bnopt.calibration.dask_engine import DaskEngine
from bnopt.calibration.engine import SHARD, Engine, Task
from bnopt.calibration.runner import Part
from bnopt.calibration.tally import Tally, run_pass
from bnopt.calibration.taps import tapped
from bnopt.runtime.dataset import open_dataset
from bnopt.runtime.interface import read_interface

ROOT = TESTS.parent
SAMPLES = 500
FEEDS = -(-SAMPLES // 32)
SHARDS = -(-FEEDS // SHARD)

NETWORK = """g (float[N,3,20,20] x) => (float[N,10] y) {
    a = Conv<strides = [2, 2], pads = [1, 1, 1, 1]>(x, W1)  r = Relu(a)
    b = Conv<pads = [1, 1, 1, 1]>(r, W2)  s = Relu(b)
    c = Conv<pads = [1, 1, 1, 1], group = 16>(s, W3)  t = Relu(c)
    d = Conv(t, W4)  u = Relu(d)
    p = GlobalAveragePool(u)  f = Flatten(p)  y = MatMul(f, M) }"""


@dataclass(frozen=True)
class Net:
    """A tapped network in a file, its data in another, and what this machine makes of them."""

    model: ir.Model
    task: Task
    data: Path
    local: Part


def network() -> ir.Model:
    return ir.from_proto(
        model(
            NETWORK,
            W1=normal(16, 3, 3, 3),
            W2=normal(16, 16, 3, 3),
            W3=normal(16, 1, 3, 3),
            W4=normal(32, 16, 1, 1),
            M=normal(32, 10),
        )
    )


def task_of(graph: ir.Model, folder: Path, source: Any, **options: Any) -> Task:
    found = tapped(Context.of(graph), [tap(graph, name) for name in "abcdy"])
    path = io.stage(found.model, folder / "tapped.onnx", **options).path
    inputs = read_interface(path).inputs
    return Task(path, found.places, inputs, open_dataset(source, inputs))


def run(engine: Engine, task: Task) -> Part:
    """One pass; fails if a shard comes twice."""
    tally = Tally.of(len(task.places))
    seen: list[int] = []

    class Once:
        notes = engine.notes

        def parts(self, task: Task, done: Any) -> Iterator[tuple[int, Part]]:
            for number, part in engine.parts(task, done):
                seen.append(number)
                yield number, part

    whole = run_pass(Once(), task, tally, keep=lambda: None, tell=lambda done, total: None)
    assert sorted(seen) == list(range(len(seen)))
    return whole


def assert_same(mine: Part, theirs: Part) -> None:
    """Bit for bit, and every sample counted once."""
    assert (mine.feeds, mine.samples) == (theirs.feeds, theirs.samples)
    for one, other in zip(mine.moments, theirs.moments, strict=True):
        assert one is not None
        assert other is not None
        assert one.count == other.count
        np.testing.assert_array_equal(one.mean, other.mean)
        np.testing.assert_array_equal(one.m2, other.m2)


def client_of(engine: DaskEngine) -> Any:
    assert engine._cluster is not None
    return engine._cluster.client


def workers_of(engine: DaskEngine) -> list[int]:
    return sorted(client_of(engine).run(os.getpid).values())


def kill_the_busiest(engine: DaskEngine) -> int:
    client = client_of(engine)
    tasks: dict[str, Any] = client.processing()
    busiest = max(tasks, key=lambda address: len(tasks[address]))
    assert tasks[busiest]
    pid: int = client.run(os.getpid)[busiest]
    os.kill(pid, signal.SIGKILL)
    return pid


@contextmanager
def scheduler(folder: Path) -> Iterator[str]:
    told = folder / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard"]
    options += ["--scheduler-file", str(told)]
    with process("dask_scheduler", options, folder):
        yield address_in(told)


def address_in(told: Path) -> str:
    for _ in range(300):
        if told.exists() and told.read_text().strip():
            return str(json.loads(told.read_text())["address"])
        time.sleep(0.1)
    raise AssertionError("no scheduler")


@contextmanager
def process(name: str, options: list[str], folder: Path, *paths: Path | str) -> Iterator[Any]:
    """A command of dask as a user would start it, in a folder of its own."""
    with (folder / f"{name}.log").open("ab") as log:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", f"distributed.cli.{name}", *options],
            cwd=folder,
            stdout=log,
            stderr=log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [*paths, ROOT, TESTS]))},
        )
        try:
            yield child
        finally:
            child.kill()
            child.wait()


def worker(address: str, folder: Path, *paths: Path) -> Any:
    # Without a nanny one process is one worker, which is not started again.
    options = [address, "--nthreads", "2", "--no-nanny", "--no-dashboard"]
    return process("dask_worker", options, folder, *paths)
