"""Pools, one pass per kernel tap."""

from __future__ import annotations

import functools
import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference.op_run import OpRun

from bnopt.judge.ops.geometry import Axis, axes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray


def _padded(x: NDArray[Any], spatial: Sequence[Axis], value: Any) -> NDArray[Any]:
    widths = [(axis.begin, max(axis.needed - axis.size - axis.begin, 0)) for axis in spatial]
    return np.pad(x, [(0, 0), (0, 0), *widths], constant_values=value)


def _taps(x: NDArray[Any], spatial: Sequence[Axis]) -> Iterator[tuple[int, NDArray[Any]]]:
    """(tap number, what it sees) for every tap, in row-major order."""
    positions = itertools.product(*(range(axis.kernel) for axis in spatial))
    for number, tap in enumerate(positions):
        window = tuple(axis.taps(t) for axis, t in zip(spatial, tap, strict=True))
        yield number, x[(slice(None), slice(None), *window)]


class MaxPool(OpRun):
    """MaxPool, opsets 1 to 22, with its indices."""

    def _run(
        self,
        x: NDArray[Any],
        *,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int],
        pads: Sequence[int] | None = None,
        storage_order: int | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[NDArray[Any], ...]:
        spatial = axes(
            x.shape[2:],
            kernel_shape,
            strides,
            dilations,
            pads,
            auto_pad,
            ceil_mode=bool(ceil_mode),
        )
        lowest = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
        padded = _padded(x, spatial, lowest)
        if len(self.onnx_node.output) == 1:
            return (functools.reduce(np.maximum, (seen for _, seen in _taps(padded, spatial))),)
        best = np.full((*x.shape[:2], *(axis.out for axis in spatial)), lowest, x.dtype)
        winner = np.zeros(best.shape, np.int64)
        for number, seen in _taps(padded, spatial):
            better = seen > best
            best = np.where(better, seen, best)
            winner[better] = number
        return best, _indices(winner, x.shape, spatial, column_major=bool(storage_order))


def _indices(
    winner: NDArray[np.int64], shape: Sequence[int], spatial: Sequence[Axis], *, column_major: bool
) -> NDArray[np.int64]:
    """Flat index of each maximum in the whole input tensor."""
    rank = len(spatial)
    taps = np.unravel_index(winner, [axis.kernel for axis in spatial])
    coordinates: list[NDArray[np.int64]] = []
    for i, axis in enumerate(spatial):
        starts = np.arange(axis.out) * axis.stride - axis.begin
        starts = starts.reshape([-1 if j == i else 1 for j in range(rank)])
        coordinates.append(starts + taps[i] * axis.dilation)
    order = "F" if column_major else "C"
    within = np.ravel_multi_index(coordinates, shape[2:], mode="clip", order=order)
    plane = np.arange(shape[0] * shape[1]).reshape(*shape[:2], *([1] * rank))
    return within + plane * math.prod(shape[2:])


def _outer(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    return np.multiply.outer(a, b)


class AveragePool(OpRun):
    """AveragePool, opsets 1 to 22."""

    def _run(
        self,
        x: NDArray[Any],
        *,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        count_include_pad: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int],
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[NDArray[Any]]:
        spatial = axes(
            x.shape[2:],
            kernel_shape,
            strides,
            dilations,
            pads,
            auto_pad,
            ceil_mode=bool(ceil_mode),
        )
        total = functools.reduce(
            np.add, (seen for _, seen in _taps(_padded(x, spatial, 0.0), spatial))
        )
        counts = [
            axis.counts(0, axis.begin + axis.size + axis.end)
            if count_include_pad
            else axis.counts(axis.begin, axis.begin + axis.size)
            for axis in spatial
        ]
        return (total / functools.reduce(_outer, map(np.asarray, counts)),)


class GlobalMaxPool(OpRun):
    """The maximum over all spatial axes; onnx's own is right for two of them only."""

    def _run(self, x: NDArray[Any]) -> tuple[NDArray[Any]]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class LpPool(OpRun):
    """LpPool, opsets 2 to 22: the p-norm of each window."""

    def _run(
        self,
        x: NDArray[Any],
        *,
        auto_pad: str | None = None,
        ceil_mode: int | None = None,
        dilations: Sequence[int] | None = None,
        kernel_shape: Sequence[int],
        p: int | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[NDArray[Any]]:
        spatial = axes(
            x.shape[2:],
            kernel_shape,
            strides,
            dilations,
            pads,
            auto_pad,
            ceil_mode=bool(ceil_mode),
        )
        power = 2 if p is None else p
        padded = _padded(np.abs(x) ** power, spatial, 0.0)
        total = functools.reduce(np.add, (seen for _, seen in _taps(padded, spatial)))
        return (total ** (1.0 / power),)
