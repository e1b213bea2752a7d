"""Axes of a plot: from numbers to places in the drawing, and the marks along the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bnopt.report.html.layers import HUGE, Array
from bnopt.report.html.markup import short


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis.

    Attributes:
        low: The number at `start`; its decimal logarithm if `log`.
        high: The number at `end`; likewise.
        start: Place in the drawing.
        end: Place in the drawing; before `start` for an axis that points up.
        log: Whether it is logarithmic.
        whole: Whether it counts, so that only whole numbers have marks.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool
    whole: bool = False

    def at(self, numbers: Array) -> Array:
        """Places of `numbers`; those beyond the axis stand at its ends."""
        values = numbers
        if self.log:
            values = np.log10(np.maximum(numbers, 1e-308))
        part = np.clip((values - self.low) / (self.high - self.low), 0.0, 1.0)
        return self.start + part * (self.end - self.start)

    def place(self, value: float) -> float:
        """The place of one number."""
        return float(self.at(np.asarray([value], np.float64))[0])

    def holds(self, value: float) -> bool:
        """Whether `value` lies on the axis."""
        number = math.log10(max(value, 1e-308)) if self.log else value
        return self.low <= number <= self.high

    def ticks(self, most: int = 5) -> list[tuple[float, str]]:
        """Places and labels of at most about `most` round numbers."""
        values = self._powers(most) if self.log else self._round(most)
        # As many as tell one mark from the next where `linear` sets them closest.
        digits = 4 if self.log else 7
        return [(self.place(value), short(value, digits)) for value in values]

    def _round(self, most: int) -> list[float]:
        rough = (self.high - self.low) / most
        power = 10.0 ** math.floor(math.log10(rough))
        steps = [max(power * m, 1.0 if self.whole else 0.0) for m in (1, 2, 5, 10)]
        best = next(place for place, step in enumerate(steps) if step >= rough * 0.999)
        marks = self._multiples(steps[best])
        # A step that hardly fits may leave room for a single mark.
        return marks if len(marks) > 1 or best == 0 else self._multiples(steps[best - 1])

    def _multiples(self, step: float) -> list[float]:
        first, last = math.ceil(self.low / step - 1e-6), math.floor(self.high / step + 1e-6)
        return [number * step for number in range(first, last + 1)]

    def _powers(self, most: int) -> list[float]:
        first, last = math.ceil(self.low - 1e-6), math.floor(self.high + 1e-6)
        if last - first >= 2:
            step = max(1, math.ceil((last - first) / most))
            return [10.0**number for number in range(first, last + 1) if number % step == 0]
        fine = [10.0**e * m for e in range(first - 1, last + 1) for m in (1, 2, 5)]
        found = [value for value in fine if self.holds(value)]
        return found if len(found) >= 2 else [10.0**self.low, 10.0**self.high]


def linear(numbers: Array, start: float, end: float, margin: float = 0.05) -> Axis:
    """A linear axis that holds all finite `numbers`."""
    good = drawable(numbers)
    low, high = (float(good.min()), float(good.max())) if good.size else (0.0, 1.0)
    # Below this, neighbouring marks would have the same label.
    least = max(abs(low), abs(high)) * 1e-4 or 1.0
    if high - low < max(least, 1e-290):
        middle = (low + high) / 2
        low, high = middle - max(least, 1e-290) / 2, middle + max(least, 1e-290) / 2
    edge = (high - low) * margin
    return Axis(low - edge, high + edge, start, end, log=False)


def logarithmic(numbers: Array, start: float, end: float, margin: float = 0.05) -> Axis:
    """A logarithmic axis that holds all finite positive `numbers`."""
    good = drawable(numbers)
    good = np.log10(good[good > 0])
    low, high = (float(good.min()), float(good.max())) if good.size else (-1.0, 1.0)
    if high - low < 0.3:
        middle = (low + high) / 2
        low, high = middle - 0.15, middle + 0.15
    edge = (high - low) * margin
    return Axis(low - edge, high + edge, start, end, log=True)


def drawable(numbers: Array) -> Array:
    """Those of `numbers` that have a place on a linear axis."""
    return numbers[np.isfinite(numbers) & (np.abs(numbers) < HUGE)]
