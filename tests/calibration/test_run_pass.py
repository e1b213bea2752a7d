"""A pass takes in every shard of the data, or fails."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from dask_runs import SHARDS, Net, assert_same

from bnopt.calibration.checkpoint import Checkpoint
from bnopt.calibration.engine import SHARD, Engine, LocalEngine, Task
from bnopt.calibration.runner import Part
from bnopt.calibration.tally import Tally, run_pass
from bnopt.errors import InternalError, UsageError
from bnopt.runtime.dataset import open_dataset


class Dropping:
    """What this machine made of each shard, without some of them.

    Args:
        parts: Of every shard, by number.
        missing: The shards that it leaves out.
    """

    def __init__(self, parts: dict[int, Part], *missing: int) -> None:
        self.notes: list[str] = []
        self._parts = parts
        self._missing = missing

    def parts(self, task: Task, done: Container[int]) -> Iterator[tuple[int, Part]]:
        for number, part in self._parts.items():
            if number not in self._missing and number not in done:
                yield number, part


@pytest.fixture(scope="module")
def parts(net: Net) -> dict[int, Part]:
    with LocalEngine() as engine:
        return dict(engine.parts(net.task, ()))


def streamed(task: Task, feeds: int | None = None) -> Task:
    """The same pass over a function, which does not say how many feeds it has."""
    several = list(task.dataset.feeds(0, feeds))
    task = replace(task, dataset=open_dataset(lambda: iter(several), task.inputs))
    assert task.shards is None
    return task


def passed(engine: Engine, task: Task, tally: Tally | None = None) -> Part:
    tally = tally or Tally.of(len(task.places))
    return run_pass(engine, task, tally, keep=lambda: None, tell=lambda done, total: None)


@pytest.mark.parametrize("missing", [(0,), (1,), (SHARDS - 1,), (1, 2), range(SHARDS)])
def test_a_shard_that_is_left_out_is_seen(net: Net, parts: dict[int, Part], missing) -> None:
    assert net.task.shards == len(parts) == SHARDS
    assert_same(passed(Dropping(parts), net.task), net.local)
    with pytest.raises(InternalError, match="left out a shard"):
        passed(Dropping(parts, *missing), net.task)


def test_a_gap_is_seen_where_nobody_knows_how_many_there_are(
    net: Net, parts: dict[int, Part]
) -> None:
    task = streamed(net.task)
    assert_same(passed(Dropping(parts), task), net.local)
    with pytest.raises(InternalError, match="left out a shard"):
        passed(Dropping(parts, 1), task)


@pytest.mark.parametrize("feeds", [1, SHARD, SHARD + 1, 2 * SHARD])
def test_functions_may_have_any_number_of_feeds(net: Net, feeds: int) -> None:
    with LocalEngine() as engine:
        assert passed(engine, streamed(net.task, feeds)).feeds == feeds


@pytest.mark.parametrize("known", [(), (0,), (0, 2), (SHARDS - 1,), range(SHARDS)])
def test_shards_of_an_earlier_run_are_not_missed(net: Net, parts: dict[int, Part], known) -> None:
    for task in (net.task, streamed(net.task)):
        tally = Tally.of(len(task.places))
        for number in known:
            tally.add(number, parts[number])
        with LocalEngine() as engine:
            assert_same(passed(engine, task, tally), net.local)


def test_what_came_can_be_kept_and_the_rest_run_later(
    net: Net, parts: dict[int, Part], tmp_path: Path
) -> None:
    about = {"model": "m", "data": "d", "method": "precise"}
    state = Checkpoint.open(tmp_path / "partial", about)
    state.tally = Tally.of(len(net.task.places))
    with pytest.raises(InternalError):
        passed(Dropping(parts, 1), net.task, state.tally)
    state.save()
    again = Checkpoint.open(tmp_path / "partial", about).tally
    assert again is not None
    assert [number for number in range(SHARDS) if number not in again] == [1]
    with LocalEngine() as engine:
        whole = passed(engine, net.task, again)
    assert_same(whole, net.local)


def test_a_function_that_has_become_shorter_is_told(net: Net, parts: dict[int, Part]) -> None:
    tally = Tally.of(len(net.task.places))
    tally.add(SHARDS - 1, parts[SHARDS - 1])
    with LocalEngine() as engine, pytest.raises(UsageError, match="has become shorter"):
        passed(engine, streamed(net.task, SHARD), tally)
