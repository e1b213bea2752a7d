"""Tables of strings, for a terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Sequence

Row = Sequence[str]


def text(header: Row, rows: Sequence[Row]) -> str:
    """Columns padded to their widest cell; those whose every cell is a number stand right."""
    widths = [max(len(row[i]) for row in (header, *rows)) for i in range(len(header))]
    right = _numeric(header, rows)

    def line(row: Row) -> str:
        cells = (
            cell.rjust(width) if numeric else cell.ljust(width)
            for cell, width, numeric in zip(row, widths, right, strict=True)
        )
        return "  ".join(cells).rstrip()

    return "\n".join([line(header), line(["-" * width for width in widths]), *map(line, rows)])


def markdown(header: Row, rows: Sequence[Row]) -> str:
    """The same table for a README."""
    rule = ["--:" if numeric else "---" for numeric in _numeric(header, rows)]
    escaped = [[cell.replace("|", "\\|") for cell in row] for row in (header, rule, *rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in escaped)


def shorten(name: str, width: int) -> str:
    """A name cut in the middle, so that both its ends can be read."""
    if len(name) <= width:
        return name
    head = (width - 1) // 2
    return f"{name[:head]}…{name[len(name) - (width - 1 - head) :]}"


def _numeric(header: Row, rows: Sequence[Row]) -> list[bool]:
    return [
        bool(rows) and all(row[i][:1].isdigit() or row[i] in ("", "-") for row in rows)
        for i in range(len(header))
    ]
