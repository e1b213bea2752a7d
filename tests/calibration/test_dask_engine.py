"""Moments from dask's workers against those of this machine, while workers live and while they die.

Nothing is mocked: schedulers and workers are real processes, and what dies dies by SIGKILL.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from dask_data import TESTS, Broken, Crashing, Deadly, Refusing, Slow
from graphs import model, normal
from measuring import tap

from bnopt import io
from bnopt.algebra.base import Context
from bnopt.calibration import dask_engine
from bnopt.calibration.dask_engine import DaskEngine
from bnopt.calibration.dask_job import MODEL, Job
from bnopt.calibration.engine import SHARD, Engine, LocalEngine, Task
from bnopt.calibration.runner import Part
from bnopt.calibration.tally import Tally, run_pass
from bnopt.calibration.taps import tapped
from bnopt.errors import DataError, DependencyError, ExecutionError, UsageError
from bnopt.runtime.dataset import open_dataset
from bnopt.runtime.interface import read_interface

pytest.importorskip("distributed", reason="distributed is not installed (the extra dask)")

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


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers can import `dask_data`."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Net:
    folder = tmp_path_factory.mktemp("net")
    data = folder / "x.npz"
    np.savez(data, x=normal(SAMPLES, 3, 20, 20) + np.float32(3))
    graph = network()
    task = task_of(graph, folder, data)
    local = run(LocalEngine(), task)
    assert (local.feeds, local.samples) == (FEEDS, SAMPLES)
    return Net(graph, task, data, local)


@pytest.fixture(scope="module")
def pair() -> Iterator[DaskEngine]:
    """Two workers that tests share; those that kill them start their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(TESTS))
        with DaskEngine(workers=2) as engine:
            yield engine


def client_of(engine: DaskEngine) -> Any:
    assert engine._cluster is not None
    return engine._cluster.client


def workers_of(engine: DaskEngine) -> list[int]:
    return sorted(client_of(engine).run(os.getpid).values())


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_bits_of_one_machine(net: Net, workers: int) -> None:
    # One worker may use all cores in an operator, each of three only its share.
    with DaskEngine(workers=workers) as engine:
        assert_same(run(engine, net.task), net.local)
        assert engine.notes == []


def test_arrays_of_the_caller_are_shipped(net: Net, pair: DaskEngine) -> None:
    x = np.load(net.data)["x"]
    task = replace(net.task, dataset=open_dataset({"x": x}, net.task.inputs))
    assert not task.dataset.by_reference
    assert_same(run(pair, task), net.local)


def test_a_dataset_that_does_not_know_its_length(net: Net, pair: DaskEngine) -> None:
    x = np.load(net.data)["x"]

    def batches() -> Iterator[dict[str, np.ndarray]]:
        yield from ({"x": x[start : start + 32]} for start in range(0, SAMPLES, 32))

    task = replace(net.task, dataset=open_dataset(batches, net.task.inputs))
    assert task.dataset.total is None
    assert_same(run(pair, task), net.local)


def test_no_more_feeds_are_read_than_workers_can_take(net: Net, pair: DaskEngine) -> None:
    read: list[int] = []
    x = normal(1, 3, 20, 20)

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for number in range(100):
            read.append(number)
            yield {"x": x}

    task = replace(net.task, dataset=open_dataset(batches, net.task.inputs))
    parts = pair.parts(task, ())
    next(parts)
    # Those under way at two workers, the one that has come and the one that comes next.
    assert len(read) <= (2 * dask_engine.AHEAD + 2) * SHARD
    parts.close()


def test_large_shards_go_one_at_a_time(
    net: Net, pair: DaskEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_engine, "IN_FLIGHT", 1000)
    read: list[int] = []
    x = normal(1, 3, 20, 20)

    def batches() -> Iterator[dict[str, np.ndarray]]:
        for number in range(12):
            read.append(number)
            yield {"x": x}

    task = replace(net.task, dataset=open_dataset(batches, net.task.inputs))
    reads = []
    for _ in pair.parts(task, ()):
        reads.append(len(read))
    assert reads == [8, 12, 12]


def test_shards_that_are_done_are_left_out(net: Net, pair: DaskEngine) -> None:
    known = dict(LocalEngine().parts(net.task, {1, 3}))
    rest = dict(pair.parts(net.task, known))
    assert sorted(rest) == [1, 3]
    tally = Tally.of(len(net.task.places))
    for number, part in {**rest, **known}.items():
        tally.add(number, part)
    assert_same(tally.merged, net.local)


def test_all_workers_share_the_work(net: Net, pair: DaskEngine) -> None:
    # dask would leave it to the worker that has the model first, did it not know the tasks as slow.
    dataset = Slow(open_dataset(net.data, net.task.inputs, batch_size=8))
    task = replace(net.task, dataset=dataset)
    assert pair._cluster is not None
    started = dask_engine._Pass(pair._cluster, task, 60.0, 60.0)
    shares = Counter(reply.worker for _, reply in started.replies(()))
    started.close()
    assert task.shards == 16
    assert sorted(shares.values()) >= [4, 4]


def test_external_data_is_shipped_and_no_file_of_the_client_is_read_again(
    net: Net, pair: DaskEngine, tmp_path: Path
) -> None:
    task = task_of(net.model, tmp_path, net.data, external_data=True)
    assert len(list(tmp_path.iterdir())) == 2
    tally = Tally.of(len(task.places))
    parts = pair.parts(replace(task, dataset=Slow(task.dataset)), tally)
    tally.add(*next(parts))
    for file in tmp_path.iterdir():
        file.unlink()
    for number, part in parts:
        tally.add(number, part)
    assert_same(tally.merged, net.local)


def test_a_job_can_be_sent_on_after_its_files_were_written(tmp_path: Path) -> None:
    files = {MODEL: b"model", "weights/w.bin": b"weights"}
    job = Job({name: np.frombuffer(held, np.uint8) for name, held in files.items()}, Any)
    twin = pickle.loads(pickle.dumps(job))
    path = job.model(str(tmp_path))
    assert job.model(str(tmp_path)) == path
    late = pickle.loads(pickle.dumps(job))
    for one in (twin, late):
        folder = one.model(str(tmp_path)).parent
        assert folder != path.parent
        assert {name: (folder / name).read_bytes() for name in files} == files
    folder = path.parent
    del job
    assert not folder.exists()


def test_a_model_that_is_too_large_to_ship(
    net: Net, pair: DaskEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_engine, "LIMIT", net.task.path.stat().st_size - 1)
    with pytest.raises(UsageError, match=r"^the model has .* use the local engine$"):
        next(pair.parts(net.task, ()))


@pytest.mark.slow
def test_a_worker_that_is_killed_changes_nothing(net: Net) -> None:
    with DaskEngine(workers=2) as engine:
        slow = replace(net.task, dataset=Slow(net.task.dataset))
        tally = Tally.of(len(slow.places))
        for number, part in engine.parts(slow, tally):
            if tally.samples == 0:
                killed = kill_the_busiest(engine)
            assert number not in tally
            tally.add(number, part)
        assert not tally.waiting
        assert_same(tally.merged, net.local)
        assert engine.notes == ["1 worker died; its shards were run again"]
        # And the cluster goes on.
        assert_same(run(engine, net.task), net.local)
        assert killed not in workers_of(engine)


def kill_the_busiest(engine: DaskEngine) -> int:
    client = client_of(engine)
    tasks: dict[str, Any] = client.processing()
    busiest = max(tasks, key=lambda address: len(tasks[address]))
    assert tasks[busiest]
    pid: int = client.run(os.getpid)[busiest]
    os.kill(pid, signal.SIGKILL)
    return pid


@pytest.mark.slow
def test_both_workers_killed_at_once(net: Net) -> None:
    with DaskEngine(workers=2) as engine:
        slow = replace(net.task, dataset=Slow(net.task.dataset))
        tally = Tally.of(len(slow.places))
        for number, part in engine.parts(slow, tally):
            if tally.samples == 0:
                # All copies of the model are gone with them.
                for process in workers_of(engine):
                    os.kill(process, signal.SIGKILL)
            tally.add(number, part)
        assert_same(tally.merged, net.local)
        assert len(engine.notes) == 1
        assert engine.notes[0].endswith("run again")


@pytest.mark.slow
def test_a_shard_that_kills_every_worker(net: Net) -> None:
    with (
        DaskEngine(workers=2) as engine,
        pytest.raises(ExecutionError, match=r"^shard \d: 4 workers died that had it to run"),
    ):
        run(engine, replace(net.task, dataset=Deadly(net.task.dataset)))


@pytest.mark.parametrize("times", [1, 2])
def test_a_crash_of_onnxruntime_is_tried_again(
    net: Net, pair: DaskEngine, tmp_path: Path, times: int
) -> None:
    before = workers_of(pair)
    task = replace(net.task, dataset=Crashing(net.task.dataset, tmp_path, times))
    assert_same(run(pair, task), net.local)
    assert len(list(tmp_path.iterdir())) == times
    assert workers_of(pair) == before


def test_a_shard_that_always_crashes_onnxruntime(
    net: Net, pair: DaskEngine, tmp_path: Path
) -> None:
    task = replace(net.task, dataset=Crashing(net.task.dataset, tmp_path, 99))
    message = (
        r"^shard 2, 3 attempts, the last on worker tcp://.*: onnxruntime: crashed \(SIGABRT\)$"
    )
    with pytest.raises(ExecutionError, match=message):
        run(pair, task)
    assert len(list(tmp_path.iterdir())) == 3


def test_data_that_a_worker_does_not_have(net: Net, pair: DaskEngine, tmp_path: Path) -> None:
    gone = tmp_path / "gone.npz"
    gone.write_bytes(net.data.read_bytes())
    task = replace(net.task, dataset=open_dataset(gone, net.task.inputs))
    gone.unlink()
    with pytest.raises(
        DataError, match=rf"^shard \d, worker tcp://.*'{gone}' does not exist there"
    ):
        run(pair, task)
    gone.write_bytes(net.data.read_bytes()[:1000])
    with pytest.raises(DataError, match=rf"^shard \d, worker tcp://.*{gone}"):
        run(pair, task)


def test_errors_of_a_worker_arrive_as_what_they_are(net: Net, pair: DaskEngine) -> None:
    with pytest.raises(DataError, match=r"cannot be read there: a bug of the user's$"):
        run(pair, replace(net.task, dataset=Broken(net.task.dataset)))
    with pytest.raises(ExecutionError, match=r"^shard \d, worker tcp://[\d.:]+: refused$"):
        run(pair, replace(net.task, dataset=Refusing(net.task.dataset)))
    x = {"x": normal(64, 3, 2, 20, 20)[:, :, 0]}
    narrow = ir.from_proto(
        model(
            "g (float[N,3,20,20] x) => (float[N,4,y0,y1] y) { y = Conv(x, W) }",
            W=normal(4, 5, 3, 3),
        )
    )
    found = tapped(Context.of(narrow), [tap(narrow, "y")])
    path = net.task.path.with_name("narrow.onnx")
    path.write_bytes(ir.to_proto(found.model).SerializeToString())
    task = Task(path, found.places, net.task.inputs, open_dataset(x, net.task.inputs))
    with pytest.raises(ExecutionError, match=r"^shard 0, worker tcp://[\d.:]+: onnxruntime: "):
        run(pair, task)
    with pytest.raises(ExecutionError, match=r"^onnxruntime: "):
        run(LocalEngine(), task)


# Clusters that are there already


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
    assert time.monotonic() - start < 8


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


# Whole programs: what is seen on the terminal, and what is left behind

PROGRAM = """
import os, pickle, signal, sys
from dask_data import Slow
from dataclasses import replace
from bnopt.calibration.dask_engine import DaskEngine

def kill_the_busiest(engine):
    tasks = engine._cluster.client.processing()
    busiest = max(tasks, key=lambda address: len(tasks[address]))
    os.kill(engine._cluster.client.run(os.getpid)[busiest], signal.SIGKILL)

# No `if __name__ == "__main__"`: workers must not run this again.
task = pickle.loads(open(sys.argv[1], "rb").read())
with DaskEngine(workers=2) as engine:
    pids = sorted(engine._cluster.client.run(os.getpid).values())
    print(*pids, engine._cluster._process.pid, flush=True)
    parts = engine.parts(replace(task, dataset=Slow(task.dataset)), ())
    for number, part in parts:
        if sys.argv[2] == "kill":
            kill_the_busiest(engine)
            sys.argv[2] = "killed"
        print("part", flush=True)
    print(engine.notes)
"""


@pytest.fixture
def program(net: Net, tmp_path: Path) -> Any:
    (tmp_path / "program.py").write_text(PROGRAM)
    (tmp_path / "task").write_bytes(pickle.dumps(net.task))

    def start(what: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "task"), what],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(ROOT), str(TESTS)]),
                "TMPDIR": str(tmp_path),
            },
        )

    return start


def gone(pids: list[int]) -> bool:
    for _ in range(100):
        if not any(Path(f"/proc/{pid}").exists() for pid in pids):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.slow
@pytest.mark.parametrize("what", ["nothing", "kill"])
def test_nothing_is_printed(program: Any, tmp_path: Path, what: str) -> None:
    child = program(what)
    out, err = child.communicate(timeout=120)
    assert err == ""
    first, *parts, notes = out.splitlines()
    assert parts == ["part"] * SHARDS
    assert notes == ("[]" if what == "nothing" else "['1 worker died; its shards were run again']")
    assert gone([int(pid) for pid in first.split()])
    assert not list(tmp_path.glob("bnopt-*"))
    assert child.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_what_was_started_ends_with_the_client(
    program: Any, tmp_path: Path, number: signal.Signals
) -> None:
    child = program("nothing")
    pids = [int(pid) for pid in child.stdout.readline().split()]
    assert child.stdout.readline() == "part\n"
    child.send_signal(number)
    _, err = child.communicate(timeout=60)
    assert gone(pids)
    if number == signal.SIGINT:
        assert err.splitlines()[-1] == "KeyboardInterrupt"
        assert "distributed" not in err.replace("distributed/", "")
        assert not list(tmp_path.glob("bnopt-*"))
