"""The tables of a calibration: what was replaced, and what was left."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnopt.evidence import Uncalibrated
from bnopt.report.html.calibration.layers import Moved
from bnopt.report.html.layers import Array, Spread
from bnopt.report.html.markup import Cell, Column, esc, name, short, table
from bnopt.report.html.wording import range_text
from bnopt.report.recalibrated import stored_none
from bnopt.report.text import FORMS

_COLUMNS = (
    Column("#", numeric=True, hint="order in the graph"),
    Column("Batch norm"),
    Column(
        "Off by, σ",
        numeric=True,
        hint="root mean square of what the old statistics put normalised values off by",
    ),
    Column(
        "Mean off by, σ",
        numeric=True,
        hint="median and largest of |new - old| in new standard deviations; sorted by the largest",
    ),
    Column(
        "Deviation ratio",
        numeric=True,
        hint="old over new standard deviation; sorted by the largest factor either way",
    ),
    Column("Old variance", numeric=True, hint="sorted by the highest"),
    Column("New variance", numeric=True, hint="sorted by the highest"),
    Column("Old mean", numeric=True, hint="sorted by the highest"),
    Column("New mean", numeric=True, hint="sorted by the highest"),
    Column("Channels", numeric=True),
    Column("Numbers", numeric=True, hint="for each channel: samples times positions"),
    Column("Depth", numeric=True, hint="how many batch norms stand one behind another before it"),
    Column("Form"),
)


def layer_table(layers: Sequence[Moved], *, linked: bool) -> str:
    """One row for each batch norm that was calibrated; empty without any.

    Args:
        layers: What to show.
        linked: Whether names lead to the anchors of the page.
    """
    if not layers:
        return ""
    rows = (_row(layer, linked) for layer in layers)
    return table(_COLUMNS, rows, caption="Calibrated batch norms", head=1, sortable=True)


def kept_table(kept: Sequence[Uncalibrated]) -> str:
    """One row for each batch norm that was left as it was; empty without any."""
    if not kept:
        return ""
    columns = (Column("Batch norm"), Column("Reason"), Column("Why"), Column("Form"))
    rows = (
        (
            Cell(name(each.name), each.name),
            Cell(f"<code>{esc(each.reason)}</code>", each.reason),
            Cell(esc(each.message), each.message),
            Cell(FORMS[each.form], each.form),
        )
        for each in kept
    )
    return table(columns, rows, caption="Batch norms that were left as they were", sortable=True)


def _row(layer: Moved, linked: bool) -> tuple[Cell, ...]:
    record = layer.record
    shown = name(record.name)
    old = Cell("none stored") if stored_none(record) else None
    return (
        _count(layer.number),
        Cell(f'<a href="#bn{layer.number}">{shown}</a>' if linked else shown, record.name),
        Cell("–") if record.off is None else Cell(short(record.off), record.off),
        _shift(layer.shift),
        _ratio(layer.ratio),
        old or _range(layer.old_variance),
        _range(layer.variance),
        old or _range(layer.old_mean),
        _range(layer.mean),
        _count(layer.mean.size),
        _count(record.count),
        _count(record.depth),
        Cell(FORMS[record.form], record.form),
    )


def _count(number: int) -> Cell:
    return Cell(str(number), float(number))


def _range(numbers: Array | None) -> Cell:
    spread = Spread.of(numbers)
    return Cell("–") if spread is None else Cell(esc(range_text(spread)), spread.high)


def _shift(shift: Array | None) -> Cell:
    spread = Spread.of(None if shift is None else np.abs(shift))
    if spread is None:
        return Cell("–")
    if spread.strange:
        return Cell(esc(range_text(spread)), float("inf"))
    return Cell(f"{short(spread.median)}, max {short(spread.high)}", spread.high)


def _ratio(ratio: Array | None) -> Cell:
    spread = Spread.of(ratio)
    if spread is None:
        return Cell("–")
    away = max(spread.high, 1 / spread.low if spread.low > 0 else float("inf"))
    return Cell(esc(range_text(spread)), away)
