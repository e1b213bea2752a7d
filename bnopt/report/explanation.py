"""The documentation of rules and reasons at the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from bnopt.report.text import blocks

_KINDS = {"rule": "finding", "reason": "reason to keep a batch norm"}
_WIDTH = 80


def listing(entries: Sequence[dict[str, Any]]) -> RenderableType:
    """Every code with its title: findings first, then reasons."""
    parts: list[RenderableType] = []
    for kind, title in (("rule", "findings"), ("reason", "reasons to keep a batch norm")):
        table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(overflow="fold")
        for entry in entries:
            if entry["kind"] == kind:
                table.add_row(entry["code"], entry["title"])
        parts += [Text(title, "bold"), table, Text()]
    return Group(*parts, Text("next: ", "dim").append("bnopt explain CODE", "bold"))


def pages(entries: Sequence[dict[str, Any]]) -> RenderableType:
    """The full text of each entry."""
    parts: list[RenderableType] = []
    for entry in entries:
        kind = _KINDS[entry["kind"]]
        severity = f", {entry['severity']}" if entry["severity"] else ""
        head = Text(entry["code"], "bold").append(f" ({kind}{severity})", "dim")
        parts += [*([Text()] if parts else []), head, Text(entry["title"]), Text()]
        parts.append(Text(_paragraphs(entry["doc"])))
    return Group(*parts)


def _paragraphs(doc: str) -> str:
    """Paragraphs wrapped anew, examples as they are."""
    lines: list[str] = []
    for example, text in blocks(doc):
        # An example belongs to the line above it.
        lines += [] if example or not lines else [""]
        lines.append(text if example else textwrap.fill(text, _WIDTH))
    return "\n".join(lines)
