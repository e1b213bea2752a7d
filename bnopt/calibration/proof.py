"""What a formula computes, found by running it in double precision: moments, and batch norms.

Formulas are believed to be the same if they agree on random numbers. That is a proof, up to chance,
for arithmetic and sums: a rational function that is not zero is zero almost nowhere. The caller
sees to it that there is nothing else in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import onnx_ir as ir

from bnopt.calibration.evaluation import Evaluation, Key, Numbers
from bnopt.calibration.slots import Array

_MOST_NUMBERS = 512
"""Per channel; where the model asks for more, 4 along each axis have to do."""
_SIZES = (3, 5)
"""Along axes whose length the model leaves open, in the first and the second draw."""
_DATA = (1e-2, 1e2)
"""Of what magnitude random data is, in either draw."""
_MOMENTS = (1e-8, 1.0, 1e8)
"""Of what magnitude means and deviations are: a bound on either would show."""
_TOLERANCE = 1e-9
_FAR = 2.0**200
"""x at which an offset is lost in rounding, so that slope and offset are both read off exactly."""

Draw = tuple[Array, dict[Key, Numbers]]
Moment = Literal["mean", "variance"]


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where mean and variance come into being, or are read, and in what shape."""

    mean: dict[Key, tuple[int, ...]] = field(default_factory=dict[Key, tuple[int, ...]])
    variance: dict[Key, tuple[int, ...]] = field(default_factory=dict[Key, tuple[int, ...]])


@dataclass(frozen=True, slots=True)
class Setting:
    """What a batch norm is asked to be one of.

    Attributes:
        source: What is normalised.
        axis: Its channel axis.
        channels: Its length.
        rank: That of `source`.
        epsilon: What is added to the variance.
    """

    source: ir.Value
    axis: int
    channels: int
    rank: int
    epsilon: float


def draws(
    evaluation: Evaluation,
    source: ir.Value,
    dims: Sequence[int | None],
    axis: int,
    nodes: Sequence[ir.Node],
) -> Iterator[Draw]:
    """Random data for `source`, of two sizes and magnitudes, and what `nodes` make of it."""
    for size, magnitude in zip(_SIZES, _DATA, strict=True):
        lengths = [size if n is None else n for n in dims]
        channels = lengths[axis]
        if np.prod(lengths) > _MOST_NUMBERS * channels:
            lengths = [min(n, 4) for n in lengths]
            lengths[axis] = channels
        rng = np.random.default_rng(size)
        data = magnitude * rng.normal(rng.normal(0, 3), 1, lengths)
        yield data, evaluation.run(nodes, {id(source): data})


def is_moment(kind: Moment, key: int, draw: Draw, axis: int) -> bool:
    """Whether a value holds the mean, or the population variance, for each index of `axis`."""
    data, values = draw
    found = values.get(key)
    if found is None or found.size != data.shape[axis]:
        return False
    others = tuple(a for a in range(data.ndim) if a != axis)
    exact = data.mean(others) if kind == "mean" else data.var(others)
    size = np.abs(data).max() ** (1 if kind == "mean" else 2)
    return bool((np.abs(found.reshape(-1) - exact) <= _TOLERANCE * size).all())


def batch_norms(
    evaluation: Evaluation,
    setting: Setting,
    nodes: Sequence[ir.Node],
    cuts: Cuts,
    affines: Mapping[int, tuple[int, ...]],
) -> dict[int, tuple[Array, Array]]:
    """The gamma and beta of each value that is a batch norm once mean and variance are given.

    Args:
        evaluation: Runs the nodes.
        setting: Of what they are batch norms.
        nodes: What to run, in topological order.
        cuts: Where mean and variance are put in.
        affines: The values to look at, which are known to be affines of the source: identity ->
            the source's axes in the order in which the value has them.
    """
    channels, epsilon = setting.channels, setting.epsilon
    rng = np.random.default_rng(channels)
    found: dict[int, list[tuple[Array, Array, Array]]] = {}
    for count, magnitude in enumerate((*_MOMENTS, None), start=3):
        if magnitude is None:
            # They leave gamma and beta as they stand in the model.
            mean, spread = np.zeros(channels), np.ones(channels)
        else:
            mean = magnitude * rng.normal(0, 1, channels)
            spread = magnitude**2 * rng.uniform(0.5, 2, channels) + epsilon
        probe = _probe(setting, count)
        known: dict[Key, Numbers] = {id(setting.source): probe}
        known.update((key, mean.reshape(shape)) for key, shape in cuts.mean.items())
        known.update((key, (spread - epsilon).reshape(s)) for key, s in cuts.variance.items())
        values = evaluation.run(nodes, known)
        for key, order in affines.items():
            line = _line(values.get(key), order, probe.shape, setting.axis)
            if line is not None:
                scale, shift = line
                with np.errstate(invalid="ignore"):
                    size = np.abs(shift) + np.abs(mean * scale)
                    numbers = (scale * np.sqrt(spread), shift + mean * scale, size)
                found.setdefault(key, []).append(numbers)
    return {
        key: (lines[-1][0], lines[-1][1])
        for key, lines in found.items()
        if len(lines) == len(_MOMENTS) + 1 and all(_equal(one, lines[-1]) for one in lines)
    }


def _probe(setting: Setting, count: int) -> Array:
    """Data that is 0, FAR and -FAR for the first indices of axis 0, which is not the channels'.

    Where it has length 1, and as `count` is another one each time, nothing can vary along an axis
    but that of the channels without giving a result of another shape.
    """
    lengths = [1] * setting.rank
    lengths[0], lengths[setting.axis] = count, setting.channels
    probe = np.zeros(lengths)
    probe[1], probe[2] = _FAR, -_FAR
    return probe


def _line(
    found: Numbers | None, order: tuple[int, ...], shape: tuple[int, ...], axis: int
) -> tuple[Array, Array] | None:
    """Slope and offset per channel, from the result for the probe; None if x was broadcast."""
    if found is None or found.ndim != len(order):
        return None
    placed = found.transpose(np.argsort(order))
    if placed.shape != shape:
        return None
    zero, far, near = placed.reshape(shape[0], shape[axis])[:3]
    return (far - near) / (2 * _FAR), zero


def _equal(one: tuple[Array, Array, Array], last: tuple[Array, Array, Array]) -> bool:
    # NaN and infinity, which some constants hold, are equal to nothing.
    with np.errstate(invalid="ignore"):
        gamma = np.abs(one[0] - last[0]) <= _TOLERANCE * np.abs(last[0])
        beta = np.abs(one[1] - last[1]) <= _TOLERANCE * (one[2] + last[2])
    return bool((gamma & beta).all())
