"""Moments from dask's workers against those of this machine."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dask_data import Slow
from dask_runs import (
    SAMPLES,
    Net,
    assert_same,
    run,
    task_of,
)
from graphs import normal

from bnopt.calibration import dask_engine, dask_job
from bnopt.calibration.dask_engine import DaskEngine
from bnopt.calibration.dask_job import MODEL, Job
from bnopt.calibration.engine import SHARD, LocalEngine
from bnopt.calibration.tally import Tally
from bnopt.errors import UsageError
from bnopt.runtime.dataset import open_dataset

pytest.importorskip("distributed", reason="distributed is not installed (the extra dask)")
pytestmark = pytest.mark.usefixtures("importable")


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
    monkeypatch.setattr(dask_job, "LIMIT", net.task.path.stat().st_size - 1)
    with pytest.raises(UsageError, match=r"^the model has .* use the local engine$"):
        next(pair.parts(net.task, ()))
