"""Schedulers and workers that a user has started, or has not."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from dask_data import Slow
from dask_runs import (
    Net,
    assert_same,
    run,
    scheduler,
    worker,
    workers_of,
)

from bnopt.calibration.dask_engine import DaskEngine
from bnopt.calibration.tally import Tally
from bnopt.errors import DependencyError, ExecutionError, UsageError

pytest.importorskip("distributed", reason="distributed is not installed (the extra dask)")
pytestmark = pytest.mark.usefixtures("importable")


@pytest.mark.slow
def test_a_scheduler_address(net: Net, tmp_path: Path) -> None:
    with ExitStack() as stack:
        address = stack.enter_context(scheduler(tmp_path))
        first = stack.enter_context(worker(address, tmp_path))
        with DaskEngine(address, patience=30) as engine:
            assert_same(run(engine, net.task), net.local)
            assert engine.notes == []
            # One joins, one dies.
            stack.enter_context(worker(address, tmp_path))
            while len(workers_of(engine)) < 2:
                time.sleep(0.1)
            slow = replace(net.task, dataset=Slow(net.task.dataset))
            tally = Tally.of(len(slow.places))
            for number, part in engine.parts(slow, tally):
                first.kill()
                tally.add(number, part)
            assert_same(tally.merged, net.local)
            assert engine.notes == ["1 worker died; its shards were run again"]
        # It was there before, and stays.
        with DaskEngine(address) as engine:
            assert len(workers_of(engine)) == 1
            # What was shipped is gone, files and processes.
            pid = workers_of(engine)[0]
            assert children(pid) == []
            assert list(tmp_path.rglob("bnopt-*")) == []


def children(pid: int) -> list[int]:
    import psutil

    for _ in range(50):
        found = [child.pid for child in psutil.Process(pid).children(recursive=True)]
        if not found:
            break
        time.sleep(0.1)
    return found


@pytest.mark.slow
def test_a_cluster_that_loses_all_its_workers(net: Net, tmp_path: Path) -> None:
    with scheduler(tmp_path) as address, worker(address, tmp_path) as only:
        slow = replace(net.task, dataset=Slow(net.task.dataset))
        with DaskEngine(address, patience=30, alone=2) as engine:
            parts = engine.parts(slow, ())
            next(parts)
            only.kill()
            with pytest.raises(ExecutionError, match=r"^no dask worker for 2 s: all have died"):
                list(parts)


@pytest.mark.slow
def test_a_scheduler_that_dies(net: Net, tmp_path: Path) -> None:
    with ExitStack() as stack:
        inner = stack.enter_context(ExitStack())
        address = inner.enter_context(scheduler(tmp_path))
        stack.enter_context(worker(address, tmp_path))
        slow = replace(net.task, dataset=Slow(net.task.dataset))
        with DaskEngine(address, patience=30) as engine:
            parts = engine.parts(slow, ())
            next(parts)
            inner.close()
            start = time.monotonic()
            with pytest.raises(ExecutionError, match=f"^lost the dask scheduler at {address}: "):
                list(parts)
        assert time.monotonic() - start < 45


@pytest.mark.slow
@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "no-such-host.invalid:1", ""])
def test_no_scheduler_there(address: str) -> None:
    start = time.monotonic()
    with pytest.raises(UsageError, match=f"^no dask scheduler at '{address}': .") as caught:
        DaskEngine(address, patience=2).__enter__()
    assert "\n" not in caught.value.message
    # Without `patience` it is dask's own time limit that ends it, 30 s; a busy machine takes 10.
    assert time.monotonic() - start < 25


@pytest.mark.slow
def test_a_scheduler_without_workers(tmp_path: Path) -> None:
    with scheduler(tmp_path) as address:
        match = f"^the dask scheduler at '{address}' has no workers; start some: dask worker"
        with pytest.raises(UsageError, match=match):
            DaskEngine(address, patience=1).__enter__()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("__version__ = '0.0.9'", r"has bnopt 0\.0\.9, but this is"),
        ("raise ImportError('not here')", r"cannot import bnopt \(not here\); there: pip install"),
    ],
)
def test_a_worker_with_another_bnopt(tmp_path: Path, content: str, message: str) -> None:
    other = tmp_path / "other" / "bnopt"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text(content)
    with (
        scheduler(tmp_path) as address,
        worker(address, tmp_path, other.parent),
        pytest.raises(DependencyError, match=rf"^worker tcp://[\d.:]+ {message}"),
    ):
        DaskEngine(address, patience=30).__enter__()


@pytest.mark.slow
def test_a_worker_without_onnxruntime(tmp_path: Path) -> None:
    hiding = tmp_path / "hiding"
    hiding.mkdir()
    (hiding / "sitecustomize.py").write_text(
        "import sys, importlib.metadata as metadata\n"
        "sys.modules['onnxruntime'] = None\n"
        "there = metadata.distribution\n"
        "def distribution(name):\n"
        "    if name.startswith('onnxruntime'): raise metadata.PackageNotFoundError(name)\n"
        "    return there(name)\n"
        "metadata.distribution = distribution\n"
    )
    with (
        scheduler(tmp_path) as address,
        worker(address, tmp_path, hiding),
        pytest.raises(DependencyError, match=r"^worker tcp://.*: onnxruntime is not installed"),
    ):
        DaskEngine(address, patience=30).__enter__()


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(DependencyError, match=r"pip install 'bnopt\[dask\]'"):
        DaskEngine().__enter__()


def test_numbers_of_workers_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="number of workers is 0"):
        DaskEngine(workers=0)
    with pytest.raises(UsageError, match="leave out their number"):
        DaskEngine("tcp://127.0.0.1:8786", 2)
