"""Parts of a pass: merged in order, counted once, kept in a file."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnopt.calibration.checkpoint import Checkpoint
from bnopt.calibration.moments import Moments
from bnopt.calibration.runner import Part
from bnopt.calibration.tally import Tally
from bnopt.errors import SaveError, UsageError

ABOUT = {"model": "m", "data": "d", "method": "precise"}


def part(seed: int, places: int = 2) -> Part:
    values = [np.random.default_rng([seed, k]).normal(seed, 2, (5, 3)) for k in range(places)]
    return Part(2, 5, tuple(Moments.of(one) for one in values))


def same(one: Part, other: Part) -> None:
    assert (one.feeds, one.samples) == (other.feeds, other.samples)
    for mine, theirs in zip(one.moments, other.moments, strict=True):
        if mine is None or theirs is None:
            assert mine is theirs
            continue
        assert mine.count == theirs.count
        # Bit for bit: the order of merging is that of the shards, whatever came first.
        np.testing.assert_array_equal(mine.mean, theirs.mean)
        np.testing.assert_array_equal(mine.m2, theirs.m2)


def in_order(count: int) -> Part:
    whole = Part.empty(2)
    for number in range(count):
        whole = whole.merge(part(number))
    return whole


@given(order=st.permutations(range(6)), again=st.lists(st.integers(0, 5), max_size=4))
def test_any_order_and_repetition_give_the_same(order: list[int], again: list[int]) -> None:
    tally = Tally.of(2)
    for number in [*order[:3], *again, *order[3:], *again]:
        tally.add(number, part(number))
    assert tally.waiting == {}
    assert all(number in tally for number in range(6))
    assert 6 not in tally
    assert (tally.samples, tally.feeds) == (30, 12)
    same(tally.merged, in_order(6))


def test_a_place_without_numbers_takes_those_of_others() -> None:
    empty = Part(1, 1, (None, None))
    same(empty.merge(part(1)), Part(3, 6, part(1).moments))
    same(part(1).merge(empty), Part(3, 6, part(1).moments))


def test_what_waits_is_counted(tmp_path) -> None:
    tally = Tally.of(2)
    tally.add(2, part(2))
    tally.add(0, part(0))
    assert (tally.samples, tally.feeds) == (10, 4)
    assert 2 in tally
    assert 1 not in tally


def test_a_file_holds_everything(tmp_path) -> None:
    path = tmp_path / "partial"
    first = Checkpoint.open(path, ABOUT)
    first.finish(Part(3, 9, (part(7).moments[0], None)))
    first.tally = Tally.of(2)
    for number in (0, 1, 3):
        first.tally.add(number, part(number))
    first.save()
    again = Checkpoint.open(path, ABOUT)
    assert again.feeds == 3 + 6
    same(again.finished[0], first.finished[0])
    assert again.tally is not None
    assert again.tally.following == 2
    same(again.tally.merged, in_order(2))
    again.tally.add(2, part(2))
    same(again.tally.merged, in_order(4))
    assert [file.name for file in tmp_path.iterdir()] == ["partial"]
    again.remove()
    assert not path.exists()


def test_between_passes(tmp_path) -> None:
    state = Checkpoint.open(tmp_path / "p", ABOUT)
    state.finish(part(1))
    again = Checkpoint.open(tmp_path / "p", ABOUT)
    assert again.tally is None
    same(again.finished[0], part(1))


def test_nothing_is_kept_without_a_path(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    state = Checkpoint.open(None, ABOUT)
    state.finish(part(1))
    state.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ABOUT)
def test_moments_of_another_run_are_refused(tmp_path, key: str) -> None:
    Checkpoint.open(tmp_path / "p", ABOUT).finish(part(1))
    with pytest.raises(UsageError, match=f"another run: its {key} was"):
        Checkpoint.open(tmp_path / "p", {**ABOUT, key: "other"})


def test_files_that_are_none(tmp_path) -> None:
    path = tmp_path / "p"
    for content in (b"", b"text", b"PK\x03\x04broken"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="holds no partial moments"):
            Checkpoint.open(path, ABOUT)
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(UsageError, match="holds no partial moments"):
        Checkpoint.open(path, ABOUT)
    with path.open("wb") as file:
        np.savez(file, about=np.array([{"a": 1}], dtype=object))
    with pytest.raises(UsageError, match="holds no partial moments"):
        Checkpoint.open(path, ABOUT)


def test_a_truncated_file_is_refused(tmp_path) -> None:
    path = tmp_path / "p"
    Checkpoint.open(path, ABOUT).finish(part(1))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(UsageError, match="holds no partial moments"):
        Checkpoint.open(path, ABOUT)


def test_a_folder_that_is_not_there(tmp_path) -> None:
    state = Checkpoint.open(tmp_path / "no" / "p", ABOUT)
    with pytest.raises(SaveError, match="cannot write partial moments"):
        state.finish(part(1))


def test_now_and_then(tmp_path) -> None:
    state = Checkpoint.open(tmp_path / "p", ABOUT)
    state.tally = Tally.of(2)
    state.save()
    before = (tmp_path / "p").stat().st_mtime_ns
    state.save_now_and_then()
    assert (tmp_path / "p").stat().st_mtime_ns == before
