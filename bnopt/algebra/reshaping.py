"""Moving an array that is broadcast to a tensor past a reshape of that tensor.

Row-major order makes a suffix of the axes of both shapes with equal products a block of its own,
and a prefix likewise. So the axes fall into matching blocks: [2, 3, 4, 5] and [2, 12, 5] into
2 | 3 4 | 5 against 2 | 12 | 5. Within a block an array that does not vary may stay as it is; one
that does is spelled out over the whole block and cut anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from bnopt.algebra.affine import Affine
from bnopt.algebra.double_double import DoubleDouble, Float64Array

Dims: TypeAlias = Sequence[int | None]
_Block: TypeAlias = tuple[range, range]


def reshape_affine(affine: Affine, source: Dims, target: Dims) -> Affine | None:
    """The affine on a tensor of shape `target` that equals `affine` on its reshape from `source`.

    Args:
        affine: Of the rank of `source`.
        source: The shape it belongs to; None for unknown dimensions.
        target: The shape wanted.

    Returns:
        None if it varies where the shapes do not say how the axes correspond.
    """
    blocks = _blocks(source, target)
    if blocks is None:
        return None
    scale = _reshape(affine.scale, source, target, blocks)
    shift = _reshape(affine.shift, source, target, blocks)
    return None if scale is None or shift is None else Affine(scale, shift)


def reshape_array(array: DoubleDouble, source: Dims, target: Dims) -> DoubleDouble | None:
    """The same for one array."""
    blocks = _blocks(source, target)
    return None if blocks is None else _reshape(array, source, target, blocks)


def _reshape(
    array: DoubleDouble, source: Dims, target: Dims, blocks: list[_Block]
) -> DoubleDouble | None:
    spread: list[int] = []
    result: list[int] = []
    for old, new in blocks:
        lengths = [source[axis] for axis in old]
        if all(array.shape[axis] == 1 for axis in old):
            spread += [1] * len(old)
            result += [1] * len(new)
            continue
        wanted = [target[axis] for axis in new]
        if any(n is None for n in (*lengths, *wanted)):
            return None
        if any(array.shape[axis] not in (1, source[axis]) for axis in old):
            return None
        spread += [n for n in lengths if n is not None]
        result += [n for n in wanted if n is not None]

    def move(part: Float64Array) -> Float64Array:
        return np.broadcast_to(part, spread).reshape(result)

    moved = array.map(move)
    for axis in range(len(result)):
        # What was spelled out over a block shrinks again where it does not vary.
        moved = moved.uniform_along(axis) or moved
    return moved


def _blocks(source: Dims, target: Dims) -> list[_Block] | None:
    """Matching ranges of axes; None if a dimension is zero, where products say nothing."""
    if 0 in source or 0 in target:
        return None
    left = _matches(list(source), list(target))
    rest_source, rest_target = list(source[left[-1][0] :]), list(target[left[-1][1] :])
    right = [
        (len(source) - i, len(target) - j)
        for i, j in reversed(_matches(rest_source[::-1], rest_target[::-1]))
    ]
    cuts = [*left, *(cut for cut in right if cut != left[-1])]
    if cuts[-1] != (len(source), len(target)):
        cuts.append((len(source), len(target)))
    return [(range(a, c), range(b, d)) for (a, b), (c, d) in pairwise(cuts)]


def _matches(source: list[int | None], target: list[int | None]) -> list[tuple[int, int]]:
    """Positions (i, j), from (0, 0) on, at which the products of both prefixes are equal."""
    found = [(0, 0)]
    i = j = 0
    while i < len(source) and j < len(target):
        first, second = source[i], target[j]
        i, j = i + 1, j + 1
        if first is None or second is None:
            break
        while first != second:
            short, at = (source, i) if first < second else (target, j)
            if at >= len(short) or (more := short[at]) is None:
                return found
            if first < second:
                first, i = first * more, i + 1
            else:
                second, j = second * more, j + 1
        found.append((i, j))
    return found
