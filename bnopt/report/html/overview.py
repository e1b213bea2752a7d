"""One drawing of all batch norms in graph order: ranges of their numbers, decisions, findings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnopt.report.html.layers import Array, Layer, Spread
from bnopt.report.html.markup import note, short
from bnopt.report.html.panels import (
    FEWEST,
    GAP,
    LEAST_SHIFT,
    LEAST_VARIANCE,
    MEDIAN,
    OTHER,
    PANEL,
    RANGE,
    STRIP,
    columns,
    drawing,
    handles,
    ordinals,
    panel,
    raised,
    square,
    strip,
)
from bnopt.report.text import clean, plural

_DECISIONS = ("folded", "merged", "lowered", "kept")
_GRAVITIES = ("info", "warning", "error")


def overview(layers: Sequence[Layer]) -> str:
    """The drawing; empty for so few layers that a reader sees them all at once."""
    if len(layers) < FEWEST:
        return ""
    x, step = columns(len(layers))
    right = x[-1] + step / 2
    parts: list[str] = []
    top = 24.0
    for draw in (_variances, _shifts, _scales):
        drawn = draw(layers, x, right, top)
        if drawn:
            parts.append(drawn)
            top += PANEL + GAP
    top -= 16.0
    decisions = [
        "" if layer.site is None else type(layer.site.decision).__name__.lower() for layer in layers
    ]
    parts.append(strip("decision", decisions, _DECISIONS, x, step, top))
    top += STRIP + 6
    if any(layer.findings for layer in layers):
        worst = [("", *_GRAVITIES)[layer.gravity] for layer in layers]
        parts.append(strip("findings", worst, _GRAVITIES, x, step, top))
        top += STRIP + 6
    parts.append(ordinals(x, step, top + 10))
    parts.append(handles([_about(layer) for layer in layers], x, step, top))
    title = f"Overview of {plural(len(layers), 'batch norm')}; the table below has the numbers"
    low = any(
        layer.variance is not None and bool((layer.variance < LEAST_VARIANCE).any())
        for layer in layers
    )
    marks = _marks(
        decisions,
        [layer.gravity for layer in layers],
        has_numbers=any(layer.statistics is not None for layer in layers),
        is_measured=any(layer.measured_variance is not None for layer in layers),
    )
    small = note(f"Variances below {short(LEAST_VARIANCE)} are drawn as that.") if low else ""
    return drawing(title, top + 18, "".join(parts), marks) + small


def _variances(layers: Sequence[Layer], x: Array, right: float, top: float) -> str:
    stored = [raised(layer.variance, LEAST_VARIANCE) for layer in layers]
    measured = [raised(layer.measured_variance, LEAST_VARIANCE) for layer in layers]
    return panel("Variance", stored, measured, x, right, top)


def _shifts(layers: Sequence[Layer], x: Array, right: float, top: float) -> str:
    spreads = [raised(layer.shift, LEAST_SHIFT) for layer in layers]
    title = "Mean: |measured − stored| in stored standard deviations"
    return panel(title, spreads, [None] * len(layers), x, right, top)


def _scales(layers: Sequence[Layer], x: Array, right: float, top: float) -> str:
    def absolute(layer: Layer) -> Array | None:
        return None if layer.scale is None else _positive(np.abs(layer.scale))

    spreads = [Spread.of(absolute(layer)) for layer in layers]
    title = "Scale |γ| / √(variance + ε)"
    return panel(title, spreads, [None] * len(layers), x, right, top)


def _positive(numbers: Array | None) -> Array | None:
    if numbers is None:
        return None
    with np.errstate(invalid="ignore"):
        return numbers[numbers > 0]


def _about(layer: Layer) -> str:
    parts = [f"{layer.number} {clean(layer.name)}"]
    for word, numbers in (("variance", layer.variance), ("scale", layer.scale)):
        spread = Spread.of(numbers)
        if spread is not None:
            parts.append(f"{word} {short(spread.low)} to {short(spread.high)}")
    if (spread := Spread.of(layer.shift)) is not None:
        parts.append(f"mean off by up to {short(spread.high)} σ")
    parts += dict.fromkeys(finding.code for finding in layer.findings)
    return "; ".join(parts)


def _marks(
    decisions: Sequence[str], gravities: Sequence[int], *, has_numbers: bool, is_measured: bool
) -> list[tuple[str, str]]:
    shown = [kind for kind in _DECISIONS if kind in decisions]
    shown += [kind for level, kind in enumerate(_GRAVITIES, start=1) if level in gravities]
    marks = [(RANGE, "all channels"), (MEDIAN, "median")] if has_numbers else []
    if is_measured:
        marks.append((OTHER, "median, measured"))
    return marks + [(square(kind), kind) for kind in shown]
