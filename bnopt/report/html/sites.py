"""The table with one row for each batch norm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bnopt.report.html.layers import Layer, Spread
from bnopt.report.html.markup import Cell, Column, esc, name, short, table
from bnopt.report.html.wording import (
    decision_word,
    range_text,
    reason,
    verdict_badge,
    worst_badge,
)
from bnopt.report.text import FORMS

_VERDICT_ORDER = ("consistent", "not-enough-data", "wrong-range", "stale")


@dataclass(frozen=True, slots=True)
class _Shown:
    """A column and what stands in it; columns that no layer has anything for are left out."""

    column: Column
    cell: Callable[[Layer], Cell]


def site_table(layers: Sequence[Layer], *, planned: bool, numbers_first: bool) -> str:
    """The table; empty without batch norms."""
    if not layers:
        return ""
    scopes = {layer.site.scope for layer in layers if layer.site is not None}
    head = [
        _Shown(Column("#", numeric=True, hint="order in the graph"), _number),
        _Shown(Column("Batch norm"), lambda layer: _name(layer, scope=len(scopes) > 1)),
        _Shown(Column("Finding"), _finding),
    ]
    decisions = [
        _Shown(Column("Fold would" if planned else "Decision"), lambda x: _decision(x, planned)),
        _Shown(Column("Into, or reason"), _reason),
    ]
    numbers = [_Shown(Column("Data says"), _verdict), *_NUMBERS]
    shape = [_Shown(Column("Channels", numeric=True), _channels), _Shown(Column("Form"), _form)]
    middle = (*numbers, *decisions) if numbers_first else (*decisions, *numbers)
    columns = (*head, *middle, *shape)
    filled = [(shown.column, [shown.cell(layer) for layer in layers]) for shown in columns]
    kept = [(column, cells) for column, cells in filled if any(cell.body for cell in cells)]
    rows = list(zip(*(cells for _, cells in kept), strict=True))
    return table([column for column, _ in kept], rows, caption="Batch norms", head=1, sortable=True)


def _number(layer: Layer) -> Cell:
    return Cell(str(layer.number), float(layer.number))


def _name(layer: Layer, *, scope: bool) -> Cell:
    body = f'<a href="#bn{layer.number}">{name(layer.name)}</a>'
    if scope and layer.site is not None:
        body += f'<br><span class="count">in {name(layer.site.scope)}</span>'
    return Cell(body, layer.name)


def _form(layer: Layer) -> Cell:
    form = "" if layer.site is None else FORMS.get(layer.site.form, layer.site.form)
    return Cell(esc(form), form or None)


def _channels(layer: Layer) -> Cell:
    count = layer.channels
    return Cell("–") if count is None else Cell(str(count), float(count))


def _finding(layer: Layer) -> Cell:
    # The gravest first in ascending order.
    order = f"{9 - layer.gravity} {layer.findings[0].code}" if layer.findings else None
    return Cell(worst_badge(layer), order)


def _verdict(layer: Layer) -> Cell:
    verdict = "" if layer.statistics is None else layer.statistics.verdict
    known = _VERDICT_ORDER.index(verdict) if verdict in _VERDICT_ORDER else 0
    return Cell(verdict_badge(verdict), f"{9 - known} {verdict}" if verdict else None)


def _decision(layer: Layer, planned: bool) -> Cell:
    if layer.site is None:
        return Cell("")
    word = decision_word(layer.site.decision, planned)
    return Cell(esc(word), word)


def _reason(layer: Layer) -> Cell:
    if layer.site is None:
        return Cell("")
    decision = layer.site.decision
    return Cell(reason(decision), getattr(decision, "reason", None) or f"~{decision.message}")


def _range(spread: Spread | None) -> Cell:
    return Cell("") if spread is None else Cell(esc(range_text(spread)), spread.high)


def _shift(layer: Layer) -> Cell:
    spread = Spread.of(layer.shift)
    if spread is None:
        return Cell("")
    return Cell(f"{short(spread.median, 2)}, max {short(spread.high, 2)}", spread.high)


def _ratio(layer: Layer) -> Cell:
    spread = Spread.of(layer.ratio)
    if spread is None:
        return Cell("")
    away = max(spread.high, 1 / spread.low if spread.low > 0 else float("inf"))
    return Cell(esc(range_text(spread)), away)


_NUMBERS = (
    _Shown(
        Column(
            "Mean off by, σ",
            numeric=True,
            hint="median and largest of |measured - stored| in stored standard deviations; "
            "sorted by the largest",
        ),
        _shift,
    ),
    _Shown(
        Column(
            "Variance ratio",
            numeric=True,
            hint="measured over stored; sorted by the largest factor either way",
        ),
        _ratio,
    ),
    _Shown(
        Column("Variance", numeric=True, hint="stored; sorted by the highest"),
        lambda layer: _range(Spread.of(layer.variance)),
    ),
    _Shown(
        Column("Scale", numeric=True, hint="gamma / sqrt(variance + epsilon); by the highest"),
        lambda layer: _range(Spread.of(layer.scale)),
    ),
)
