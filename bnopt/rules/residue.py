"""How much of its initial value a moving variance still holds.

After n updates with decay d a moving average is

    m_n = d^n * m_0 + (1 - d^n) * m*                    (m*: what it converges to)

so of the initial variance 1 a *residue* d^n is left, and every stored variance is at least d^n. A
channel that is constant in training (a dead one) stores exactly d^n. Two or more of these in a
layer, three or more in the model, agree with each other, which nothing else makes them do.

The number of steps follows for a given decay: n = log(residue) / log(d).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from bnopt.rules.norms import Array, Norm

DECAYS = (0.9, 0.99, 0.999, 0.9997)
"""Defaults: PyTorch 0.9 (its momentum is 0.1), Keras and tf.layers 0.99, slim and contrib 0.999."""

SMALLEST = 0.01
"""Residues below this change nothing worth a word."""

_AGREE = 1e-5
_TIGHT = 0.07
_FEWEST = 8
_NEAR = 0.15


@dataclass(frozen=True, slots=True)
class Residue:
    """An estimate of d^n.

    Attributes:
        value: The estimate.
        spread: Largest relative difference among the channels that it rests on.
        channels: How many these are.
        layers: In how many batch norms.
    """

    value: float
    spread: float
    channels: int
    layers: int

    def steps(self, decay: float) -> float:
        """How many updates with `decay` leave this residue."""
        return math.log(self.value) / math.log(decay)


def of_dead_channels(norms: Iterable[Norm]) -> Residue | None:
    """The variance that constant channels agree on, over all batch norms; None if none do."""
    floors: list[Array] = []
    for norm in norms:
        if norm.mean is None or norm.variance is None or norm.variance.size < 2:
            continue
        variance, mean = norm.variance.reshape(-1), norm.mean.reshape(-1)
        lowest = variance.min()
        if not (variance.size == mean.size and SMALLEST <= lowest < 1):
            continue
        at_floor = variance <= lowest * (1 + _AGREE)
        # Twins (a filter that occurs twice) agree too, but in their mean as well.
        means = mean[at_floor]
        twins = means.any() and np.unique(means).size < means.size
        if at_floor.sum() >= 2 and not twins:
            floors.append(variance[at_floor])
    if not floors:
        return None
    every = np.concatenate(floors)
    value = float(np.median(every))
    spread = float(np.abs(every / value - 1).max())
    # Two of a thousand channels may agree by chance.
    if every.size < 3 or spread > 10 * _AGREE:
        return None
    return Residue(value, spread, int(every.size), len(floors))


def of_tight_layer(norms: Sequence[Norm]) -> Residue | None:
    """What the variances of one layer have in common, if they lie close together below 1.

    The layer holds the model's smallest variance. In 398 batch norms of 25 public models the
    logarithms of a layer's variances have a standard deviation of 0.094 or more.
    """
    layers = [n.variance.reshape(-1) for n in norms if n.variance is not None and n.variance.size]
    if not layers:
        return None
    lowest = min(layers, key=lambda variance: float(variance.min()))
    if lowest.size < _FEWEST or not lowest.min() >= SMALLEST or not lowest.max() < 1:
        return None
    # Where all are one number somebody has written it down.
    if lowest.min() == lowest.max() or float(np.std(np.log(lowest))) >= _TIGHT:
        return None
    value = float(lowest.min())
    return Residue(value, float(lowest.max() / value - 1), int(lowest.size), 1)


def near_initial(norm: Norm) -> bool:
    """Whether mean and variance are close to 0 and 1 in all channels, though not exactly there."""
    if norm.mean is None or norm.variance is None or not (norm.variance > 0).all():
        return False
    variance, mean = norm.variance.reshape(-1), norm.mean.reshape(-1)
    if (variance == 1).all() and not mean.any():
        return False
    return rms(np.log(variance)) < _NEAR and rms(mean / np.sqrt(variance)) < _NEAR


def upper_bound(norms: Sequence[Norm]) -> float:
    """No residue can be larger than the smallest variance; 1 without any."""
    lowest = [float(norm.variance.min()) for norm in norms if norm.variance is not None]
    return min([1.0, *lowest])


def steps_text(value: float) -> str:
    """`105 at 0.99, 1054 at 0.999 (steps at decay)`, for a residue."""
    counts = [(math.log(value) / math.log(decay), decay) for decay in DECAYS]
    shown = [f"{max(round(n), 1)} at {decay:g}" for n, decay in counts if n >= 0.5]
    return f"{', '.join(shown[:3])} (steps at decay)"


def rms(values: Array) -> float:
    """The root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))
