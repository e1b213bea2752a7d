"""Moving an affine past a reshape: whatever shapes, the numbers stay at their elements."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnopt.algebra.affine import Affine
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.reshaping import reshape_affine, reshape_array


def numbers(*shape: int) -> DoubleDouble:
    return DoubleDouble.of(np.random.default_rng(0).normal(size=shape))


@st.composite
def cuts(draw: st.DrawFn, primes: tuple[int, ...]) -> list[int]:
    """A shape of as many elements as the product of `primes`, in their order."""
    shape: list[int] = []
    new = True
    for prime in primes:
        if new or not shape:
            shape.append(prime)
        else:
            shape[-1] *= prime
        new = draw(st.booleans())
    for _ in range(draw(st.integers(0, 2))):
        shape.insert(draw(st.integers(0, len(shape))), 1)
    return shape


@given(st.data())
def test_numbers_stay_at_their_elements(data: st.DataObject) -> None:
    primes = tuple(data.draw(st.lists(st.sampled_from([2, 3]), min_size=1, max_size=4)))
    source, target = data.draw(cuts(primes)), data.draw(cuts(primes))
    shape = [n if data.draw(st.booleans()) else 1 for n in source]
    array = numbers(*shape)
    # Some dimensions are not known to the planner.
    known = [n if data.draw(st.integers(0, 4)) else None for n in source]
    wanted = [n if data.draw(st.integers(0, 4)) else None for n in target]
    moved = reshape_array(array, known, wanted)
    if moved is None:
        assert None in (*known, *wanted)
        return
    whole = np.broadcast_to(array.hi, source).reshape(target)
    np.testing.assert_array_equal(np.broadcast_to(moved.hi, target), whole)


@given(st.permutations([2, 3, 4]), st.permutations([2, 3, 4]))
def test_shapes_that_agree_in_no_prefix_are_spelled_out(a: list[int], b: list[int]) -> None:
    array = numbers(*a)
    moved = reshape_array(array, a, b)
    assert moved is not None
    np.testing.assert_array_equal(moved.hi, array.hi.reshape(b))


@pytest.mark.parametrize(
    ("shape", "source", "target", "answer"),
    [
        ((1, 4, 1, 1), [None, 4, 6, 6], [None, 4, 36], (1, 4, 1)),
        ((1, 4, 1, 1), [None, 4, 6, 6], [None, 144], (1, 144)),
        ((1, 4, 1, 1), [None, 4, None, None], [None, 4, None], None),  # which is which?
        ((1, 4, 1, 1), [None, 4, None, None], [None, None], None),
        ((1, 4, 1, 1), [None, 4, None, 6], [None, 144], None),
        ((1, 4, 1, 1), [2, None, 3, 3], [2, 36], None),
        ((1, 1, 4), [2, None, 4], [None, 4], (1, 4)),
        ((1, 4), [2, 4], [2, 1, 4], (1, 1, 4)),
        ((1, 3), [2, 4], [8], None),  # what belongs to no such shape
        ((1, 1), [0, 4], [4, 0], None),
        ((1, 1), [4, 4], [4, 0], None),
        ((1, 1), [0, 4], [4, 4], None),
    ],
)
def test_shapes(
    shape: tuple[int, ...],
    source: list[int | None],
    target: list[int | None],
    answer: tuple[int, ...] | None,
) -> None:
    moved = reshape_array(numbers(*shape), source, target)
    assert (None if moved is None else moved.shape) == answer


def test_an_affine_goes_only_if_both_parts_go() -> None:
    one, four = numbers(1, 1, 1), numbers(1, 4, 1)
    source, target = [None, 4, None], [None, None]
    assert reshape_affine(Affine(one, one), source, target) is not None
    assert reshape_affine(Affine(four, one), source, target) is None
    assert reshape_affine(Affine(one, four), source, target) is None
    assert reshape_affine(Affine(one, one), [0, 4, 4], target) is None


def test_a_block_that_turns_out_not_to_vary_shrinks() -> None:
    array = DoubleDouble.of(np.broadcast_to(numbers(1, 4, 1).hi, (1, 4, 9)).reshape(1, 36))
    moved = reshape_array(array, [None, 36], [None, 4, 9])
    assert moved is not None
    assert moved.shape == (1, 4, 1)
    assert math.prod(moved.shape) == 4
