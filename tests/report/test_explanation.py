"""Docstrings at the terminal: prose is wrapped anew, examples stay as they are."""

from __future__ import annotations

import io

from bnopt.report import explanation, terminal
from bnopt.report.text import blocks

EXAMPLE = """\
    ops = get(KEYS)
    with control(ops):     # without this line

        train = minimize(loss)"""
DOC = f"""What it does: reports something at
such length that the line has to be wrapped, since no line may be longer than eighty columns.

How it happens: like this.

Example:
{EXAMPLE}

or

    other(x)

How to fix: run them."""


def test_blocks() -> None:
    assert blocks(DOC)[1:] == [
        (False, "How it happens: like this."),
        (False, "Example:"),
        (
            True,
            EXAMPLE,
        ),
        (False, "or"),
        (True, "    other(x)"),
        (False, "How to fix: run them."),
    ]
    assert "\n" not in blocks(DOC)[0][1]
    assert blocks("") == []
    assert blocks("one\n\ntwo\nlines\n") == [(False, "one"), (False, "two lines")]


def test_pages() -> None:
    stream = io.StringIO()
    entry = {"code": "c", "kind": "rule", "severity": "error", "title": "A title", "doc": DOC}
    terminal.show(explanation.pages([entry]), stream)
    text = stream.getvalue()
    assert all(len(line) <= 80 for line in text.splitlines())
    assert text.startswith("c (finding, error)\nA title\n\nWhat it does: reports something at such")
    assert f"\n\nExample:\n{EXAMPLE}\n\nor\n    other(x)\n\nHow to fix: run them.\n" in text
