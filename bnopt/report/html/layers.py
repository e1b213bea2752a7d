"""One record for each batch norm: its site, its numbers, what was found about it.

A report decides nothing; what is derived here is how far measured moments are from stored ones, in
the units of INTERFACE: a shift in standard deviations, a ratio of variances.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnopt.evidence import Statistics
from bnopt.findings import Finding, Site
from bnopt.results import CheckResult, FoldResult

Array = npt.NDArray[np.float64]
# Sums and differences of larger numbers overflow; none that means anything is as large.
HUGE = 1e150
_GRAVITY = {"error": 2, "warning": 1, "info": 0}


@dataclass(frozen=True, slots=True)
class Spread:
    """The range of some numbers; those that are not finite are only counted.

    Attributes:
        low: Smallest; NaN if none is finite.
        median: Median.
        high: Largest.
        strange: How many are NaN or infinite.
    """

    low: float
    median: float
    high: float
    strange: int

    @staticmethod
    def of(numbers: Array | None) -> Spread | None:
        """The range of `numbers`; None if there are none."""
        if numbers is None or numbers.size == 0:
            return None
        good = numbers[np.isfinite(numbers)]
        strange = int(numbers.size - good.size)
        if good.size == 0:
            return Spread(np.nan, np.nan, np.nan, strange)
        with np.errstate(over="ignore"):
            return Spread(float(good.min()), float(np.median(good)), float(good.max()), strange)


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One batch norm.

    Attributes:
        number: From 1, in graph order; also its anchor in the page.
        id: The id of its site.
        name: Its name.
        site: Its site; None for numbers without one.
        statistics: Its numbers; None if there are none.
        findings: What was found about it, the gravest first.
        mean: Stored mean, [C], as are the others; None where it is not known.
        variance: Stored variance.
        scale: `gamma / sqrt(variance + epsilon)`.
        measured_mean: Mean of its real input; None if not measured, or of another length.
        measured_variance: Likewise.
        shift: |measured - stored mean| in stored standard deviations.
        ratio: Measured over stored variance, epsilon added to both.
    """

    number: int
    id: str
    name: str
    site: Site | None
    statistics: Statistics | None
    findings: tuple[Finding, ...]
    mean: Array | None = None
    variance: Array | None = None
    scale: Array | None = None
    measured_mean: Array | None = None
    measured_variance: Array | None = None
    shift: Array | None = None
    ratio: Array | None = None

    @property
    def gravity(self) -> int:
        """3 for an error, 2 for a warning, 1 for an info, 0 without a finding."""
        return max((_GRAVITY[finding.severity] + 1 for finding in self.findings), default=0)

    @property
    def channels(self) -> int | None:
        """C; None where it is not known."""
        if self.site is not None and self.site.channels is not None:
            return self.site.channels
        known = (self.scale, self.variance, self.mean)
        return next((int(numbers.size) for numbers in known if numbers is not None), None)


def layers(result: CheckResult | FoldResult) -> tuple[Layer, ...]:
    """Every batch norm of a result: its sites, then numbers that belong to none of them."""
    statistics = {numbers.site: numbers for numbers in result.statistics}
    findings: dict[str, list[Finding]] = defaultdict(list)
    for finding in result.findings:
        if finding.site is not None:
            findings[finding.site].append(finding)
    sites = {site.id: site for site in result.sites}
    made: list[Layer] = []
    for number, key in enumerate(dict.fromkeys((*sites, *statistics)), start=1):
        site = sites.get(key)
        mine = sorted(findings[key], key=lambda finding: -_GRAVITY[finding.severity])
        name = key if site is None else site.name
        made.append(_layer(number, key, name, site, statistics.get(key), tuple(mine)))
    return tuple(made)


def _layer(
    number: int,
    key: str,
    name: str,
    site: Site | None,
    numbers: Statistics | None,
    findings: tuple[Finding, ...],
) -> Layer:
    if numbers is None:
        return Layer(number, key, name, site, None, findings)
    mean, variance = _array(numbers.mean), _array(numbers.variance)
    measured_mean = measured_variance = shift = ratio = None
    if numbers.measured is not None:
        epsilon = numbers.epsilon or 0.0
        measured_mean = _like(numbers.measured.mean, mean)
        measured_variance = _like(numbers.measured.variance, variance)
        with np.errstate(all="ignore"):
            if variance is not None:
                if measured_mean is not None and mean is not None and mean.shape == variance.shape:
                    shift = np.abs(measured_mean - mean) / np.sqrt(variance + epsilon)
                if measured_variance is not None:
                    ratio = (measured_variance + epsilon) / (variance + epsilon)
    return Layer(
        number,
        key,
        name,
        site,
        numbers,
        findings,
        mean,
        variance,
        _array(numbers.scale),
        measured_mean,
        measured_variance,
        shift,
        ratio,
    )


def _array(numbers: tuple[float, ...] | None) -> Array | None:
    return None if numbers is None else np.asarray(numbers, np.float64)


def _like(numbers: tuple[float, ...], other: Array | None) -> Array | None:
    """`numbers` as an array if it can be compared with `other`, channel by channel."""
    made = np.asarray(numbers, np.float64)
    return made if other is not None and made.shape == other.shape else None
