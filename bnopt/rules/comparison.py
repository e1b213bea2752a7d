"""Stored statistics against measured ones.

With measured mean m and variance v of channel c, and stored mean mu, variance s and epsilon e,

    shift_c  = (m - mu) / sqrt(s + e)          in standard deviations
    spread_c = log((v + e) / (s + e))

and of a layer the root mean square over channels of each. Positions of one sample are correlated,
so only samples count as independent: under the hypothesis that the stored numbers are the data's,
shift_c is about normal with standard error sqrt(1 / n), and spread_c, skewed for small n, with
sqrt(2 / n). A layer is stale if a root mean square is both above 2 and 3 of these errors and large
enough to matter.

The limits of size are between what was measured on sound exports of TensorFlow, on samples like
those of the training data (shift up to 0.18, spread up to 0.18), and on exports with statistics
that were never or hardly updated (from 0.67 and 0.38).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from bnopt.evidence import Measured
from bnopt.rules.norms import Norm
from bnopt.rules.residue import rms
from bnopt.rules.view import View

Verdict: TypeAlias = Literal["consistent", "stale", "wrong-range", "not-enough-data"]

SHIFT = 0.4
SPREAD = 0.6
FEWEST = 8
"""Samples below which nothing is concluded."""

_RANGE = math.log(8.0)
_ONE_FACTOR = 0.35
_VARIED = 0.1


@dataclass(frozen=True, slots=True)
class Comparison:
    """One batch norm with both its stored and its measured statistics.

    Attributes:
        norm: The batch norm.
        samples: How many samples were measured.
        shift: Root mean square over channels of the shift, in standard deviations.
        spread: Root mean square over channels of the log ratio of variances.
        factor: Median ratio of the standard deviations, measured by stored.
        scatter: Standard deviation over channels of the log ratio of the standard deviations.
        limits: What shift and spread may be at this number of samples.
        varied: Whether the stored variances differ between channels, as initial ones do not.
    """

    norm: Norm
    samples: int
    shift: float
    spread: float
    factor: float
    scatter: float
    limits: tuple[float, float]
    varied: bool

    @property
    def verdict(self) -> Verdict:
        """What follows for this batch norm alone."""
        if self.samples < FEWEST:
            return "not-enough-data"
        stale = self.shift > self.limits[0] or self.spread > self.limits[1]
        return "stale" if stale else "consistent"

    @property
    def statistic(self) -> float:
        """The larger of both effects, in standard errors at this number of samples."""
        root = math.sqrt(self.samples)
        return max(self.shift * root, self.spread * root / math.sqrt(2))

    @property
    def is_rescaled(self) -> bool:
        """Whether all channels differ by one and the same large factor."""
        large = abs(math.log(self.factor)) > _RANGE
        return self.verdict == "stale" and self.varied and large and self.scatter < _ONE_FACTOR


def compare(norm: Norm, measured: Measured) -> Comparison | None:
    """Compare; None where the model does not hold both statistics as numbers, one a channel."""
    if norm.mean is None or norm.variance is None or norm.epsilon is None:
        return None
    mean, variance = np.array(measured.mean), np.array(measured.variance)
    stored = norm.variance.reshape(-1) + norm.epsilon
    if mean.size != norm.mean.size or stored.size != mean.size or not (stored > 0).all():
        return None
    ratio = np.log((variance + norm.epsilon) / stored)
    error = 2 / math.sqrt(max(measured.samples, 1))
    return Comparison(
        norm,
        measured.samples,
        rms((mean - norm.mean.reshape(-1)) / np.sqrt(stored)),
        rms(ratio),
        float(np.exp(np.median(ratio) / 2)),
        float(np.std(ratio / 2)),
        (max(SHIFT, error), max(SPREAD, 1.5 * error * math.sqrt(2))),
        float(np.std(np.log(stored))) > _VARIED,
    )


def comparisons(view: View) -> tuple[Comparison, ...]:
    """Every batch norm of `view` that can be compared, in graph order."""
    if view.measured is None:
        return ()
    found = (
        compare(norm, view.measured[norm.site]) for norm in view.live if norm.site in view.measured
    )
    return tuple(one for one in found if one is not None)


def wrong_range(found: tuple[Comparison, ...]) -> Comparison | None:
    """The first batch norm, if its input is that of training times a large factor."""
    first = found[0] if found else None
    return first if first is not None and first.is_rescaled else None
