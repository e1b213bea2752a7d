"""One drawing of all batch norms in graph order: ranges of their numbers, decisions, findings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnopt.report.html.axes import Axis, logarithmic
from bnopt.report.html.layers import Array, Layer, Spread
from bnopt.report.html.markup import esc, note, scroll, short
from bnopt.report.html.plots import dots
from bnopt.report.text import clean, plural

_WIDTH = 1040
_LEFT, _RIGHT = 60.0, 1030.0
_PANEL, _GAP, _STRIP = 128.0, 40.0, 12.0
# Wider steps would tear a short model apart.
_STEP = 44.0
# Smaller shifts are all alike: nothing is off.
_LEAST_SHIFT = 1e-3
# Far below any epsilon, they are all alike too.
_LEAST_VARIANCE = 1e-9
_FEWEST = 4
_DECISIONS = ("folded", "merged", "lowered", "kept")
_GRAVITIES = ("info", "warning", "error")


def overview(layers: Sequence[Layer]) -> str:
    """The drawing; empty for so few layers that a reader sees them all at once."""
    if len(layers) < _FEWEST:
        return ""
    step = min(_STEP, (_RIGHT - _LEFT) / len(layers))
    x = _LEFT + step * (np.arange(len(layers), dtype=np.float64) + 0.5)
    right = _LEFT + step * len(layers)
    parts: list[str] = []
    top = 24.0
    for panel in (_variances, _shifts, _scales):
        drawn = panel(layers, x, right, top)
        if drawn:
            parts.append(drawn)
            top += _PANEL + _GAP
    top -= 16.0
    decisions = [
        "" if layer.site is None else type(layer.site.decision).__name__.lower() for layer in layers
    ]
    parts.append(_strip("decision", decisions, _DECISIONS, x, step, top))
    top += _STRIP + 6
    if any(layer.findings for layer in layers):
        worst = [("", *_GRAVITIES)[layer.gravity] for layer in layers]
        parts.append(_strip("findings", worst, _GRAVITIES, x, step, top))
        top += _STRIP + 6
    parts.append(_numbers(x, step, top + 10))
    parts.append(_handles(layers, x, step, top))
    height = top + 18
    title = f"Overview of {plural(len(layers), 'batch norm')}; the table below has the numbers"
    low = any(
        layer.variance is not None and bool((layer.variance < _LEAST_VARIANCE).any())
        for layer in layers
    )
    svg = (
        f'<svg class="overview" viewBox="0 0 {_WIDTH} {height:g}" role="img">'
        f"<title>{esc(title)}</title>{''.join(parts)}</svg>"
    )
    legend = _legend(
        decisions,
        [layer.gravity for layer in layers],
        has_numbers=any(layer.statistics is not None for layer in layers),
        is_measured=any(layer.measured_variance is not None for layer in layers),
    )
    small = note(f"Variances below {short(_LEAST_VARIANCE)} are drawn as that.") if low else ""
    return f"<figure>{scroll(title, svg)}<figcaption>{legend}</figcaption></figure>{small}"


def _variances(layers: Sequence[Layer], x: Array, right: float, top: float) -> str:
    def raised(numbers: Array | None) -> Spread | None:
        return Spread.of(None if numbers is None else np.maximum(numbers, _LEAST_VARIANCE))

    stored = [raised(layer.variance) for layer in layers]
    measured = [raised(layer.measured_variance) for layer in layers]
    return _panel("Variance", stored, measured, x, right, top)


def _shifts(layers: Sequence[Layer], x: Array, right: float, top: float) -> str:
    def far(layer: Layer) -> Array | None:
        return None if layer.shift is None else np.maximum(layer.shift, _LEAST_SHIFT)

    spreads = [Spread.of(far(layer)) for layer in layers]
    title = "Mean: |measured − stored| in stored standard deviations"
    return _panel(title, spreads, [None] * len(layers), x, right, top)


def _scales(layers: Sequence[Layer], x: Array, right: float, top: float) -> str:
    def absolute(layer: Layer) -> Array | None:
        return None if layer.scale is None else _positive(np.abs(layer.scale))

    spreads = [Spread.of(absolute(layer)) for layer in layers]
    title = "Scale |γ| / √(variance + ε)"
    return _panel(title, spreads, [None] * len(layers), x, right, top)


def _positive(numbers: Array | None) -> Array | None:
    if numbers is None:
        return None
    with np.errstate(invalid="ignore"):
        return numbers[numbers > 0]


def _panel(
    title: str,
    spreads: Sequence[Spread | None],
    others: Sequence[Spread | None],
    x: Array,
    right: float,
    top: float,
) -> str:
    """Bars from low to high with a mark at the median, and a mark at the median of `others`."""
    known = [(place, s) for place, s in zip(x.tolist(), spreads, strict=True) if _drawn(s)]
    more = [(place, s) for place, s in zip(x.tolist(), others, strict=True) if _drawn(s)]
    if not known:
        return ""
    radius = min(5.0, max(2.0, (right - _LEFT) / x.size))
    every = [value for _, s in known if s for value in (s.low, s.high)]
    every += [s.median for _, s in more if s]
    up = logarithmic(np.asarray(every), top + _PANEL, top, margin=0.04)
    lines = "".join(f"M{_LEFT:g} {place:.1f}H{right:.1f}" for place, _ in up.ticks())
    labels = "".join(
        f'<text x="54" y="{place + 3.5:.1f}" class="e">{text}</text>' for place, text in up.ticks()
    )
    bars = "".join(
        f"M{place:.1f} {up.place(s.low):.1f}V{up.place(s.high):.1f}" for place, s in known if s
    )
    one = f'<path class="one" d="M{_LEFT:g} {up.place(1.0):.1f}H{right:.1f}"/>'
    return (
        f'<text x="{_LEFT:g}" y="{top - 8:g}" class="t">{esc(title)}</text>'
        f'<path class="grid" d="{lines}"/>{one if up.holds(1.0) else ""}{labels}'
        f'<path class="range" stroke-width="{radius / 2:.1f}" d="{bars}"/>'
        f'<path class="mid" stroke-width="{radius:.1f}" d="{_medians(known, up)}"/>'
        f"{_diamonds(more, up, radius)}"
    )


def _drawn(spread: Spread | None) -> bool:
    return spread is not None and np.isfinite(spread.median) and spread.high > 0


def _medians(known: Sequence[tuple[float, Spread | None]], up: Axis) -> str:
    x = np.asarray([place for place, s in known if s], np.float64)
    y = np.asarray([up.place(s.median) for _, s in known if s], np.float64)
    return dots(x, y)


def _diamonds(more: Sequence[tuple[float, Spread | None]], up: Axis, radius: float) -> str:
    """Hollow, so that a dot at the same place shows."""
    r = f"{radius:.1f}"
    each = (
        f"M{place:.1f} {up.place(s.median) - radius:.1f}l{r} {r}-{r} {r}-{r}-{r}z"
        for place, s in more
        if s
    )
    path = "".join(each)
    return f'<path class="other" d="{path}"/>' if path else ""


def _strip(
    title: str, kinds: Sequence[str], order: Sequence[str], x: Array, step: float, top: float
) -> str:
    wide = max(step - 1, step * 0.7)
    cells = [
        f'<path class="{kind}" d="'
        + "".join(
            f"M{place - wide / 2:.1f} {top:g}h{wide:.1f}v{_STRIP:g}h-{wide:.1f}z"
            for place, each in zip(x.tolist(), kinds, strict=True)
            if each == kind
        )
        + '"/>'
        for kind in order
        if kind in kinds
    ]
    return f'<text x="54" y="{top + 9.5:g}" class="e">{title}</text>{"".join(cells)}'


def _numbers(x: Array, step: float, y: float) -> str:
    each = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, len(x)) if n * step >= 24)
    shown = [number for number in range(1, len(x) + 1) if number == 1 or number % each == 0]
    return "".join(f'<text x="{x[n - 1]:.1f}" y="{y:g}" class="m">{n}</text>' for n in shown)


def _handles(layers: Sequence[Layer], x: Array, step: float, height: float) -> str:
    """Columns that name their layer under the pointer and lead to it."""
    return "".join(
        f'<a href="#bn{layer.number}" tabindex="-1"><title>{esc(_about(layer))}</title>'
        f'<rect class="hit" x="{place - step / 2:.1f}" y="10" width="{step:.1f}" '
        f'height="{height - 10:g}"/></a>'
        for layer, place in zip(layers, x.tolist(), strict=True)
    )


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


def _legend(
    decisions: Sequence[str], gravities: Sequence[int], *, has_numbers: bool, is_measured: bool
) -> str:
    shown = [kind for kind in _DECISIONS if kind in decisions]
    shown += [kind for level, kind in enumerate(_GRAVITIES, start=1) if level in gravities]
    items: list[tuple[str, str]] = []
    if has_numbers:
        items.append(('<path class="range" stroke-width="2.5" d="M6 0V12"/>', "all channels"))
        items.append(('<path class="mid" stroke-width="5" d="M6 6h0"/>', "median"))
    if is_measured:
        items.append(('<path class="other" d="M6 1l5 5-5 5-5-5z"/>', "median, measured"))
    items += [(f'<rect class="{kind}" width="12" height="12"/>', kind) for kind in shown]
    keys = "".join(
        f'<span><svg class="key" viewBox="0 0 12 12" aria-hidden="true">{mark}</svg>{word}</span>'
        for mark, word in items
    )
    return f"{keys}<span>numbered in the order of the graph</span>"
