"""Each calibrated batch norm by itself: its plots, its numbers before and after."""

from __future__ import annotations

from collections.abc import Sequence

from bnopt.report.html.budget import DRAWN_LAYERS, points_each, thinned
from bnopt.report.html.calibration.layers import Moved
from bnopt.report.html.details import OPEN
from bnopt.report.html.layers import Array, Spread
from bnopt.report.html.markup import badge, esc, facts, name, short
from bnopt.report.html.plots import histogram, scatter
from bnopt.report.html.wording import range_text
from bnopt.report.recalibrated import is_negligible, stored_none, worst_first
from bnopt.report.text import FORMS, plural


def details_section(layers: Sequence[Moved]) -> str:
    """All of them, folded away unless they are few, and what was left out of the plots."""
    most = points_each(len(layers))
    ranked = worst_first([layer.record for layer in layers])
    drawn = {id(record) for record in ranked[:DRAWN_LAYERS]}
    body = [
        _layer(layer, most, id(layer.record) in drawn, is_open=len(layers) <= OPEN)
        for layer in layers
    ]
    plotted = [None if layer.old_mean is None else layer.old_mean.size for layer in layers]
    what = "new against old numbers"
    return thinned(plotted, most, what, "those furthest off") + "".join(body)


def _layer(layer: Moved, most: int, drawn: bool, *, is_open: bool) -> str:
    record = layer.record
    head = (
        f'<span class="count">{layer.number}</span>{name(record.name)}'
        f'<span class="count">{plural(layer.mean.size, "channel")}</span>{_state(layer)}'
    )
    plots = _plots(layer, most) if drawn else ""
    return (
        f'<details class="layer"{" open" if is_open else ""}><summary>{head}</summary>'
        f'<div class="inside" id="bn{layer.number}">{_numbers(layer)}{plots}</div></details>'
    )


def _state(layer: Moved) -> str:
    record = layer.record
    if stored_none(record):
        return badge("info", "none stored")
    if is_negligible(record):
        return badge("good", "already right")
    return badge("warn", f"off by {short(record.off)} σ")


def _numbers(layer: Moved) -> str:
    record = layer.record
    none = "none stored" if stored_none(record) else ""
    items = [
        ("Old mean", esc(none or range_text(Spread.of(layer.old_mean)))),
        ("New mean", esc(range_text(Spread.of(layer.mean)))),
        ("Old variance", esc(none or range_text(Spread.of(layer.old_variance)))),
        ("New variance", esc(range_text(Spread.of(layer.variance)))),
        ("Epsilon", short(record.epsilon)),
        ("Numbers per channel", str(record.count)),
        ("Depth", str(record.depth)),
        ("Form", FORMS[record.form]),
    ]
    return facts(items)


def _plots(layer: Moved, most: int) -> str:
    drawn = [
        _moment("Mean", layer.old_mean, layer.mean, most, log=False),
        _moment("Variance", layer.old_variance, layer.variance, most, log=True),
    ]
    if layer.shift is not None:
        drawn.append(histogram("Shift of the mean", layer.shift, log=False, label="new − old, σ"))
    body = "".join(f"<div>{plot}</div>" for plot in drawn)
    return f'<div class="plots">{body}</div>'


def _moment(title: str, old: Array | None, new: Array, most: int, *, log: bool) -> str:
    if old is None:
        return histogram(f"New {title.lower()}", new, log=log, label=title.lower())
    return scatter(title, old, new, log=log, most=most, axes=("old", "new"))
