"""What drawings of all batch norms are made of: panels, strips, a legend, one column for each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bnopt.report.html.axes import Axis, logarithmic
from bnopt.report.html.layers import Array, Spread
from bnopt.report.html.markup import esc, scroll
from bnopt.report.html.plots import dots

WIDTH = 1040
LEFT, RIGHT = 60.0, 1030.0
PANEL, GAP, STRIP = 128.0, 40.0, 12.0
FEWEST = 4
"""Fewer batch norms than these a reader sees all at once."""
LEAST_SHIFT = 1e-3
"""Smaller shifts are all alike: nothing is off."""
LEAST_VARIANCE = 1e-9
"""Far below any epsilon, variances are all alike too."""
# Wider steps would tear a short model apart.
_STEP = 44.0


def columns(count: int) -> tuple[Array, float]:
    """The middle of each of `count` columns, and how wide they are."""
    step = min(_STEP, (RIGHT - LEFT) / count)
    return LEFT + step * (np.arange(count, dtype=np.float64) + 0.5), step


def raised(numbers: Array | None, least: float) -> Spread | None:
    """The range of `numbers`, each at least `least`, for a logarithmic axis."""
    return Spread.of(None if numbers is None else np.maximum(numbers, least))


def panel(
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
    if not known and not more:
        return ""
    radius = min(5.0, max(2.0, (right - LEFT) / x.size))
    every = [value for _, s in known if s for value in (s.low, s.high)]
    every += [s.median for _, s in more if s]
    up = logarithmic(np.asarray(every), top + PANEL, top, margin=0.04)
    lines = "".join(f"M{LEFT:g} {place:.1f}H{right:.1f}" for place, _ in up.ticks())
    labels = "".join(
        f'<text x="54" y="{place + 3.5:.1f}" class="e">{text}</text>' for place, text in up.ticks()
    )
    bars = "".join(
        f"M{place:.1f} {up.place(s.low):.1f}V{up.place(s.high):.1f}" for place, s in known if s
    )
    one = f'<path class="one" d="M{LEFT:g} {up.place(1.0):.1f}H{right:.1f}"/>'
    return (
        f'<text x="{LEFT:g}" y="{top - 8:g}" class="t">{esc(title)}</text>'
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


def strip(
    title: str, kinds: Sequence[str], order: Sequence[str], x: Array, step: float, top: float
) -> str:
    """A row of cells, each in the colour of its kind; a kind that is not in `order` has none."""
    wide = max(step - 1, step * 0.7)
    cells = [
        f'<path class="{kind}" d="'
        + "".join(
            f"M{place - wide / 2:.1f} {top:g}h{wide:.1f}v{STRIP:g}h-{wide:.1f}z"
            for place, each in zip(x.tolist(), kinds, strict=True)
            if each == kind
        )
        + '"/>'
        for kind in order
        if kind in kinds
    ]
    return f'<text x="54" y="{top + 9.5:g}" class="e">{title}</text>{"".join(cells)}'


def ordinals(x: Array, step: float, y: float) -> str:
    """Numbers of batch norms, as many as there is room for."""
    each = next(n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, len(x)) if n * step >= 24)
    shown = [number for number in range(1, len(x) + 1) if number == 1 or number % each == 0]
    return "".join(f'<text x="{x[n - 1]:.1f}" y="{y:g}" class="m">{n}</text>' for n in shown)


def handles(titles: Sequence[str], x: Array, step: float, height: float) -> str:
    """Columns that name their batch norm under the pointer and lead to it."""
    return "".join(
        f'<a href="#bn{number}" tabindex="-1"><title>{esc(title)}</title>'
        f'<rect class="hit" x="{place - step / 2:.1f}" y="10" width="{step:.1f}" '
        f'height="{height - 10:g}"/></a>'
        for number, (title, place) in enumerate(zip(titles, x.tolist(), strict=True), start=1)
    )


def drawing(title: str, height: float, body: str, marks: Iterable[tuple[str, str]]) -> str:
    """The whole: the drawing in a box that scrolls, and its legend.

    Args:
        title: What it shows.
        height: Of the drawing.
        body: What is drawn.
        marks: Each mark of the legend, in a square of 12, and what it stands for.
    """
    svg = (
        f'<svg class="overview" viewBox="0 0 {WIDTH} {height:g}" role="img">'
        f"<title>{esc(title)}</title>{body}</svg>"
    )
    keys = "".join(
        f'<span><svg class="key" viewBox="0 0 12 12" aria-hidden="true">{mark}</svg>{word}</span>'
        for mark, word in marks
    )
    return (
        f"<figure>{scroll(title, svg)}<figcaption>{keys}"
        "<span>numbered in the order of the graph</span></figcaption></figure>"
    )


RANGE = '<path class="range" stroke-width="2.5" d="M6 0V12"/>'
MEDIAN = '<path class="mid" stroke-width="5" d="M6 6h0"/>'
OTHER = '<path class="other" d="M6 1l5 5-5 5-5-5z"/>'


def square(kind: str) -> str:
    """The mark of what a strip shows in this colour."""
    return f'<rect class="{kind}" width="12" height="12"/>'
