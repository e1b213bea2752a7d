"""One record for each batch norm that was calibrated, its numbers as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnopt.evidence import Recalibrated
from bnopt.report.html.layers import Array
from bnopt.results import CalibrateResult


@dataclass(frozen=True, slots=True, eq=False)
class Moved:
    """One batch norm; its arrays are [C].

    Attributes:
        number: From 1, in graph order; also its anchor in the page.
        record: What was measured.
        mean: New mean.
        variance: New variance.
        old_mean: None if there was none, or of another length.
        old_variance: Likewise.
        shift: (new - old mean) in new standard deviations; None without an old one.
        ratio: Old over new standard deviation; likewise.
    """

    number: int
    record: Recalibrated
    mean: Array
    variance: Array
    old_mean: Array | None
    old_variance: Array | None
    shift: Array | None
    ratio: Array | None


def moved(result: CalibrateResult) -> tuple[Moved, ...]:
    """Every batch norm that was calibrated."""
    return tuple(_moved(number, record) for number, record in enumerate(result.layers, start=1))


def _moved(number: int, record: Recalibrated) -> Moved:
    mean, variance = _array(record.mean), _array(record.variance)
    return Moved(
        number,
        record,
        mean,
        variance,
        _like(record.old_mean, mean),
        _like(record.old_variance, variance),
        _optional(record.shift),
        _optional(record.ratio),
    )


def _array(numbers: tuple[float, ...]) -> Array:
    return np.asarray(numbers, np.float64)


def _optional(numbers: tuple[float, ...] | None) -> Array | None:
    return None if numbers is None else _array(numbers)


def _like(numbers: tuple[float, ...] | None, other: Array) -> Array | None:
    made = _optional(numbers)
    return made if made is not None and made.shape == other.shape else None
