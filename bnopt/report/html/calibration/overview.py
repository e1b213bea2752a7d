"""One drawing of all calibrated batch norms: how far off they were, old against new numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnopt.report.html.calibration.layers import Moved
from bnopt.report.html.layers import Array, Spread
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
from bnopt.report.recalibrated import NEGLIGIBLE, is_negligible, stored_none
from bnopt.report.text import clean, plural

_STATES = {
    "lowered": f"off by less than {NEGLIGIBLE:g} σ",
    "warning": "off by more",
    "kept": "none stored",
}
"""Colours of the strip, named as the style sheet names them, and what they stand for."""


def overview(layers: Sequence[Moved]) -> str:
    """The drawing; empty for so few layers that a reader sees them all at once."""
    if len(layers) < FEWEST:
        return ""
    x, step = columns(len(layers))
    right = x[-1] + step / 2
    parts: list[str] = []
    top = 24.0
    for draw in (_off, _shifts, _variances):
        drawn = draw(layers, x, right, top)
        if drawn:
            parts.append(drawn)
            top += PANEL + GAP
    top -= 16.0
    states = [_state(layer) for layer in layers]
    parts.append(strip("old", states, tuple(_STATES), x, step, top))
    top += STRIP + 6
    parts.append(ordinals(x, step, top + 10))
    parts.append(handles([_about(layer) for layer in layers], x, step, top))
    marks = [(OTHER, "median, new")]
    if any(layer.old_variance is not None for layer in layers):
        marks = [(RANGE, "all channels, old"), (MEDIAN, "median, old"), *marks]
    marks += [(square(kind), text) for kind, text in _STATES.items() if kind in states]
    title = f"Overview of {plural(len(layers), 'batch norm')}; the table below has the numbers"
    low = note(
        f"Variances below {short(LEAST_VARIANCE)} and distances below {short(LEAST_SHIFT)} σ are "
        "drawn as that."
    )
    return drawing(title, top + 18, "".join(parts), marks) + low


def _off(layers: Sequence[Moved], x: Array, right: float, top: float) -> str:
    def alone(off: float | None) -> Array | None:
        return None if off is None else np.asarray([off], np.float64)

    spreads = [raised(alone(layer.record.off), LEAST_SHIFT) for layer in layers]
    title = "Off by: what old statistics put values off by, rms, in standard deviations"
    return panel(title, spreads, [None] * len(layers), x, right, top)


def _shifts(layers: Sequence[Moved], x: Array, right: float, top: float) -> str:
    spreads = [
        raised(None if layer.shift is None else np.abs(layer.shift), LEAST_SHIFT)
        for layer in layers
    ]
    title = "Mean: |new − old| in new standard deviations"
    return panel(title, spreads, [None] * len(layers), x, right, top)


def _variances(layers: Sequence[Moved], x: Array, right: float, top: float) -> str:
    old = [raised(layer.old_variance, LEAST_VARIANCE) for layer in layers]
    new = [raised(layer.variance, LEAST_VARIANCE) for layer in layers]
    return panel("Variance, old and new", old, new, x, right, top)


def _state(layer: Moved) -> str:
    if stored_none(layer.record):
        return "kept"
    return "lowered" if is_negligible(layer.record) else "warning"


def _about(layer: Moved) -> str:
    parts = [f"{layer.number} {clean(layer.record.name)}"]
    if layer.record.off is not None:
        parts.append(f"off by {short(layer.record.off)} σ")
    for word, numbers in (("old", layer.old_variance), ("new", layer.variance)):
        spread = Spread.of(numbers)
        if spread is not None:
            parts.append(f"{word} variance {short(spread.low)} to {short(spread.high)}")
    return "; ".join(parts)
