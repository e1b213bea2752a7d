"""Small pieces of HTML. Whatever comes from a model or a result passes through `esc`."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bnopt.report.text import clean, number

Tone: TypeAlias = Literal["good", "warn", "bad", "info", "none"]
TONES: dict[str, Tone] = {"error": "bad", "warning": "warn", "info": "info"}

# Shapes differ as well as colours, so that neither is needed to tell them apart.
_ICONS: dict[Tone, str] = {
    "good": '<circle cx="8" cy="8" r="7"/><path class="k" d="M4.5 8.3l2.4 2.4 4.6-5"/>',
    "warn": '<path d="M8 .8L15.6 15H.4z"/><path class="k" d="M8 5.6v4.6M8 12.4v.4"/>',
    "bad": '<path d="M4.9.5h6.2l4.4 4.4v6.2l-4.4 4.4H4.9L.5 11.1V4.9z"/>'
    '<path class="k" d="M5.3 5.3l5.4 5.4M10.7 5.3l-5.4 5.4"/>',
    "info": '<rect x=".8" y=".8" width="14.4" height="14.4" rx="3"/>'
    '<path class="k" d="M8 7v5M8 4v.4"/>',
    "none": '<circle cx="8" cy="8" r="7"/><path class="k" d="M4.8 8h6.4"/>',
}

# Where a name may go on in the next line.
_BREAK = re.compile(r"([/.:_]+)(?=\w)")


def esc(text: str) -> str:
    """`text` as HTML text or attribute value, control and format characters escaped."""
    return html.escape(clean(text), quote=True)


def name(text: str) -> str:
    """A name from a model: monospaced, and without influence on the direction of its neighbours."""
    breakable = _BREAK.sub(r"\1<wbr>", esc(text))
    return f'<bdi class="name">{breakable}</bdi>'


def icon(tone: Tone) -> str:
    """A decorative sign; the words beside it say the same."""
    return f'<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">{_ICONS[tone]}</svg>'


def badge(tone: Tone, text: str) -> str:
    """A word in the colour of its tone, with its sign."""
    return f'<span class="badge {tone}">{icon(tone)}{esc(text)}</span>'


def section(title: str, *parts: str) -> str:
    """A titled part of the page; empty if all parts are."""
    body = "".join(parts)
    return f"<section><h2>{esc(title)}</h2>{body}</section>" if body else ""


def note(text: str) -> str:
    """A remark in small print; `text` is HTML."""
    return f'<p class="note">{text}</p>'


def sentence(text: str) -> str:
    """`text` as a sentence: a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def facts(items: Iterable[tuple[str, str]]) -> str:
    """Terms and their values, the values as HTML; those without a value are left out."""
    body = "".join(f"<div><dt>{esc(k)}</dt><dd>{v}</dd></div>" for k, v in items if v)
    return f'<dl class="facts">{body}</dl>' if body else ""


def scroll(label: str, body: str, *, narrow: bool = False) -> str:
    """A box that scrolls on its own, with the keyboard too, where `body` is wider than the page."""
    kind = "scroll narrow" if narrow else "scroll"
    return f'<div class="{kind}" role="region" tabindex="0" aria-label="{esc(label)}">{body}</div>'


def short(value: float | None, digits: int = 3) -> str:
    """A number as short as it goes: 1e-5, not 1e-05, and real signs for minus and infinity."""
    text = number(value, digits).replace("inf", "∞")
    if "e" in text:
        mantissa, exponent = text.split("e")
        text = f"{mantissa}e{int(exponent)}"
    return text.replace("-", "−") if value is not None else "–"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its head.
        numeric: Whether it is set flush right, and sorted by number, largest first.
        hint: What the numbers mean, shown when the pointer rests on the head.
    """

    title: str
    numeric: bool = False
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell.

    Attributes:
        body: HTML.
        order: What it is sorted by; None sorts last. Of no use outside a sortable table.
    """

    body: str
    order: float | str | None = None


def table(
    columns: Sequence[Column],
    rows: Iterable[Sequence[Cell]],
    *,
    caption: str,
    head: int = 0,
    sortable: bool = False,
    narrow: bool = False,
) -> str:
    """A table in a box of its own; the cells of column `head` are the heads of their rows."""
    tops: list[str] = []
    for column in columns:
        title = f' title="{esc(column.hint)}"' if column.hint else ""
        kind = ' class="num"' if column.numeric else ""
        tops.append(f'<th scope="col"{kind}{title}>{esc(column.title)}</th>')
    lines: list[str] = []
    for row in rows:
        cells: list[str] = []
        for place, (column, cell) in enumerate(zip(columns, row, strict=True)):
            kind = ' class="num"' if column.numeric else ""
            key = _key(cell.order) if sortable else ""
            tag = 'th scope="row"' if place == head else "td"
            cells.append(f"<{tag}{kind}{key}>{cell.body}</{tag[:2]}>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    kind = ' class="sortable"' if sortable else ""
    body = (
        f"<table{kind}><caption>{esc(caption)}</caption>"
        f"<thead><tr>{''.join(tops)}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )
    return scroll(caption, body, narrow=narrow)


def _key(order: float | str | None) -> str:
    if order is None or (isinstance(order, float) and math.isnan(order)):
        return ""
    if isinstance(order, float) and math.isinf(order):
        # The spelling that JavaScript's Number() understands.
        return f' data-v="{"-" if order < 0 else ""}Infinity"'
    return f' data-v="{esc(f"{order:.6g}" if isinstance(order, float) else str(order))}"'
