"""What several rules ask of the channels of a batch norm, and how they name them."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from bnopt.rules.norms import Array, Norm

Mask: TypeAlias = npt.NDArray[np.bool_]

DEAD_RATIO = 1e-9
"""Below this share of the layer's median variance, a channel was constant in training."""

LARGEST_SCALE = 1e3
"""Above this a scale multiplies noise; sqrt(1 / 1e-5) = 316 is what a dead channel has."""

MAX_LISTED = 16


def dead_channels(variance: Array) -> Mask:
    """Channels whose input was constant in training, as far as the variance shows it.

    A moving variance that is fed zeros decays from its initial 1 by a factor a step, and is at
    1e-12 after 260 steps of decay 0.9, at 1e-45 or 0 after a thousand. Variances of real channels
    rarely differ by more than three decades within a layer. Between the two is a gap: of 103,192
    channels of 33 public models 261 are below 1.7e-12 of their layer's median, none is between
    that and 5.5e-7, and 30 are between that and 1e-3.

    Args:
        variance: Moving variances of one batch norm, of any shape.
    """
    flat = variance.reshape(-1)
    positive = flat[np.isfinite(flat) & (flat > 0)]
    median = float(np.median(positive)) if positive.size else 0.0
    return (flat >= 0) & (flat <= DEAD_RATIO * median)


def scales(norm: Norm) -> Array | None:
    """`gamma / sqrt(variance + epsilon)` of each channel; None if a number of it is not known.

    Not finite where the numbers are not, or where variance + epsilon is not positive.
    """
    if norm.gamma is None or norm.variance is None or norm.epsilon is None:
        return None
    if norm.gamma.shape != norm.variance.shape:
        return None
    with np.errstate(all="ignore"):
        return (norm.gamma / np.sqrt(norm.variance + norm.epsilon)).reshape(-1)


def indices(mask: Mask) -> list[int]:
    """The first channels that `mask` marks, as many as a finding lists."""
    return [int(n) for n in np.flatnonzero(mask)[:MAX_LISTED]]


def and_more(mask: Mask) -> str:
    """` and 3 more`, for a message that names the first marked channel only."""
    count = int(np.count_nonzero(mask))
    return f" and {count - 1} more" if count > 1 else ""
