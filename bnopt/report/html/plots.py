"""The plots of one batch norm: stored against measured numbers, and distributions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bnopt.report.html.axes import Axis, drawable, linear, logarithmic
from bnopt.report.html.layers import HUGE, Array
from bnopt.report.html.markup import esc, short
from bnopt.report.text import plural

WIDTH, HEIGHT = 280, 220
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 270.0, 24.0, 178.0
_BINS = 28


def scatter(
    title: str,
    stored: Array,
    measured: Array,
    *,
    log: bool,
    most: int,
    axes: tuple[str, str] = ("stored", "measured"),
) -> str:
    """Measured over stored numbers, one point a channel, with the line where they are the same.

    Args:
        title: What they are.
        stored: [C].
        measured: [C].
        log: Whether both axes are logarithmic.
        most: Points beyond this are thinned out.
        axes: Names of the two.
    """
    fits = _fits(stored, log) & _fits(measured, log)
    x, y = stored[fits], measured[fits]
    if x.size == 0:
        return _nothing(title, "no channel has two numbers that can be drawn")
    both = np.concatenate([x, y])
    make = logarithmic if log else linear
    across, up = make(both, _LEFT, _RIGHT), make(both, _BOTTOM, _TOP)
    off = np.abs(np.log(y / x)) if log else np.abs(y - x)
    chosen = thin(off, most)
    hidden = stored.size - x.size
    about = f"{title}: {axes[1]} over {axes[0]}, {plural(x.size, 'channel')}"
    same = f'<path class="same" d="M{_LEFT:g} {_BOTTOM:g}L{_RIGHT:g} {_TOP:g}"/>'
    points = f'<path class="dots" d="{dots(across.at(x[chosen]), up.at(y[chosen]))}"/>'
    return _frame(title, about, across, up, same + points, *axes) + _missing(hidden, log)


def histogram(title: str, numbers: Array, *, log: bool | None, label: str) -> str:
    """How many channels have which number.

    Args:
        title: What they are.
        numbers: [C].
        log: Whether the axis is logarithmic; None if it is to depend on the numbers.
        label: Name of the axis.
    """
    if log is None:
        good = drawable(numbers)
        log = bool(good.size and good.min() > 0 and good.max() > 300 * good.min())
    shown = numbers[_fits(numbers, log)]
    if shown.size == 0:
        return _nothing(title, "no channel has a number that can be drawn")
    across = (logarithmic if log else linear)(shown, _LEFT, _RIGHT, margin=0.02)
    places = across.at(shown)
    counts, edges = np.histogram(places, bins=_BINS, range=(_LEFT, _RIGHT))
    up = Axis(0.0, float(counts.max()) * 1.05, _BOTTOM, _TOP, log=False, whole=True)
    tops = up.at(counts.astype(np.float64))
    wide = (_RIGHT - _LEFT) / _BINS - 1
    bars = "".join(
        f"M{edge + 0.5:.1f} {_BOTTOM:g}V{top:.1f}h{wide:.1f}V{_BOTTOM:g}z"
        for edge, top, count in zip(edges, tops, counts, strict=False)
        if count
    )
    about = (
        f"{title}: distribution over {plural(shown.size, 'channel')}, "
        f"from {short(float(shown.min()))} to {short(float(shown.max()))}"
    )
    body = f'<path class="bars" d="{bars}"/>'
    return _frame(title, about, across, up, body, label, "channels") + _missing(
        numbers.size - shown.size, log
    )


def thin(off: Array, most: int) -> npt.NDArray[np.intp]:
    """Indices of at most `most` numbers: half of them the largest of `off`, the rest evenly."""
    order = np.argsort(-off, kind="stable")
    if off.size <= most:
        return order
    half = most // 2
    rest = order[half:]
    steps = np.linspace(0, rest.size - 1, most - half).astype(np.intp)
    return np.concatenate([order[:half], rest[steps]])


def dots(x: Array, y: Array) -> str:
    """A path of points without length, which round line caps make visible; each place once."""
    each = (f"M{a:.1f} {b:.1f}h0" for a, b in zip(x.tolist(), y.tolist(), strict=True))
    return "".join(dict.fromkeys(each))


def _fits(numbers: Array, log: bool) -> npt.NDArray[np.bool_]:
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(numbers) & (np.abs(numbers) < HUGE)
        return finite & (numbers > 0) if log else finite


def _missing(count: int, log: bool) -> str:
    if not count:
        return ""
    why = "not finite, too large, or not above 0" if log else "not finite, or too large"
    return f'<p class="note">{plural(count, "channel")} not drawn: {why}</p>'


def _nothing(title: str, why: str) -> str:
    return f'<p class="empty"><b>{esc(title)}</b><br>{esc(why)}</p>'


def _frame(
    title: str, about: str, across: Axis, up: Axis, body: str, bottom: str, side: str
) -> str:
    lines: list[str] = []
    labels: list[str] = []
    for place, text in across.ticks(4):
        lines.append(f"M{place:.1f} {_TOP:g}V{_BOTTOM:g}")
        labels.append(f'<text x="{place:.1f}" y="192" class="m">{text}</text>')
    for place, text in up.ticks(4):
        lines.append(f"M{_LEFT:g} {place:.1f}H{_RIGHT:g}")
        labels.append(f'<text x="41" y="{place + 3.5:.1f}" class="e">{text}</text>')
    middle, height = (_LEFT + _RIGHT) / 2, (_TOP + _BOTTOM) / 2
    return (
        f'<svg class="plot" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">'
        f"<title>{esc(about)}</title>"
        f'<text x="{_LEFT:g}" y="14" class="t">{esc(title)}</text>'
        f'<path class="grid" d="{"".join(lines)}"/>{"".join(labels)}{body}'
        f'<text x="{middle:g}" y="210" class="m">{esc(bottom)}</text>'
        f'<text x="0" y="0" class="m" transform="translate(9 {height:g})rotate(-90)">'
        f"{esc(side)}</text></svg>"
    )
