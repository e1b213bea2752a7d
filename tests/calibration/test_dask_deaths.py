"""The same moments while workers die, or one line that says why not.

Nothing is mocked: what dies dies by SIGKILL.
"""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

import onnx_ir as ir
import pytest
from dask_data import Broken, Crashing, Deadly, Refusing, Slow
from dask_runs import (
    Net,
    assert_same,
    client_of,
    kill_the_busiest,
    run,
    workers_of,
)
from graphs import model, normal
from measuring import tap

from bnopt.algebra.base import Context
from bnopt.calibration.dask_engine import DaskEngine
from bnopt.calibration.engine import LocalEngine, Task
from bnopt.calibration.tally import Tally
from bnopt.calibration.taps import tapped
from bnopt.errors import DataError, ExecutionError
from bnopt.runtime.dataset import open_dataset

pytest.importorskip("distributed", reason="distributed is not installed (the extra dask)")
pytestmark = pytest.mark.usefixtures("importable")


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


@pytest.mark.slow
@pytest.mark.parametrize("done", [False, True])
def test_both_workers_killed_at_once(net: Net, done: bool) -> None:
    with DaskEngine(workers=2) as engine:
        slow = replace(net.task, dataset=Slow(net.task.dataset))
        tally = Tally.of(len(slow.places))
        for number, part in engine.parts(slow, tally):
            if tally.samples == 0:
                while done and any(client_of(engine).processing().values()):
                    time.sleep(0.1)
                # All copies of the model are gone with them, and results not fetched yet.
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
