"""Exact moments per channel that can be merged in any order.

Two sets A and B of n_A and n_B numbers have together, with d = mean_B - mean_A and n = n_A + n_B:

    mean = mean_A + d n_B / n,        M2 = M2_A + M2_B + d^2 n_A n_B / n,

where M2 is the sum of squared deviations from the mean. The last term is the variance between the
two means; averaging variances of batches loses it. Nothing is ever squared before a mean is
subtracted, so a small variance on a large mean survives.

Source: Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample
variances", Stanford STAN-CS-79-773, 1979, equations 2.1; the correction in `about` is equation 1.7
of their "Algorithms for computing the sample variance", The American Statistician 37(3), 1983.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Count, mean and M2 of each channel.

    Attributes:
        count: How many numbers each channel has.
        mean: [C] float64.
        m2: Sum of squared deviations from `mean`, [C] float64.
    """

    count: int
    mean: NDArray[np.float64]
    m2: NDArray[np.float64]

    @staticmethod
    def of(values: NDArray[Any], axis: int = 1) -> Moments:
        """The moments of an array of any float dtype, its channels along `axis`."""
        rows = np.moveaxis(np.asarray(values, np.float64), axis, 0)
        rows = rows.reshape(rows.shape[0], -1)
        if rows.shape[1] == 0:
            return Moments(0, np.zeros(rows.shape[0]), np.zeros(rows.shape[0]))
        shift = rows.mean(axis=1)
        deviations = rows - shift[:, None]
        return Moments.about(
            shift, rows.shape[1], deviations.sum(axis=1), (deviations**2).sum(axis=1)
        )

    @staticmethod
    def about(
        shift: NDArray[Any], count: int, total: NDArray[Any], squares: NDArray[Any]
    ) -> Moments:
        """The moments of numbers that were summed as deviations from `shift`.

        With `shift` near the mean this is the corrected two-pass algorithm: that `shift` is a
        rounded mean does no harm.

        Args:
            shift: What was subtracted from each number, [C].
            count: How many numbers each channel has, at least 1.
            total: Sum of the deviations, [C].
            squares: Sum of their squares, [C].
        """
        total = np.asarray(total, np.float64)
        off = total / count
        m2 = np.asarray(squares, np.float64) - total * off
        # Rounding may leave less than nothing of a constant channel; NaN passes.
        return Moments(count, np.asarray(shift, np.float64) + off, np.maximum(m2, 0.0))

    def merge(self, other: Moments) -> Moments:
        """The moments of both together; the order of merging matters only up to rounding."""
        count = self.count + other.count
        if other.count == 0 or self.count == 0:
            return self if other.count == 0 else other
        apart = other.mean - self.mean
        share = other.count / count
        return Moments(
            count,
            self.mean + apart * share,
            self.m2 + other.m2 + apart * apart * (self.count * share),
        )

    @property
    def variance(self) -> NDArray[np.float64]:
        """Population variance, M2 / count, [C]; NaN without any number."""
        return self.m2 / self.count if self.count else np.full_like(self.m2, np.nan)
