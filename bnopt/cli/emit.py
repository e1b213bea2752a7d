"""A result to stdout, as text or as one JSON object, and an error beside it to stderr."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from bnopt.errors import RefusalError
    from bnopt.report.html import Shown
    from bnopt.results import (
        CalibrateResult,
        ExportResult,
        FoldResult,
        InspectResult,
        ValidateResult,
    )


def emit(
    result: CalibrateResult | ExportResult | FoldResult | InspectResult | ValidateResult,
    *,
    as_json: bool,
    code: str = "",
    message: str = "",
    verbose: bool = False,
) -> None:
    """Print a result; `code` and `message` say what went wrong, if something did.

    Args:
        result: What to print.
        as_json: One JSON object instead of text.
        code: The error's slug; empty if there is none.
        message: The error's line, which goes to stderr as well.
        verbose: List everything, as text.
    """
    if code:
        complain(message)
    if as_json:
        from bnopt.report import json

        report = json.report(result)
        write_json(json.with_error(report, code, message) if code else report)
    else:
        from bnopt.report import terminal

        terminal.show(terminal.text(result, stopped=bool(code), verbose=verbose), sys.stdout)


def emit_refusal(error: RefusalError, *, as_json: bool, html: Path | None) -> int:
    """Print what was known when an error stopped the command, and write it as a web page.

    Returns:
        The exit code.

    Raises:
        RefusalError: Nothing was known yet.
        SaveError: The page cannot be written.
    """
    if error.result is None:
        raise error
    write_html(error.result, html, stopped=True, why=error.message)
    emit(error.result, as_json=as_json, code=error.code, message=error.message)
    return error.exit_code


def write_html(result: Shown, path: Path | None, *, stopped: bool = False, why: str = "") -> None:
    """Write a result as a web page, if it was asked for; `stopped` and `why` as for the page.

    Raises:
        SaveError: It cannot be written.
    """
    if path is not None:
        from bnopt.report import html

        html.write(result, path, stopped=stopped, why=why)


def write_json(report: dict[str, object]) -> None:
    """Print one JSON object on one line."""
    from bnopt.report import json

    sys.stdout.write(json.dumps(report) + "\n")


def complain(message: str) -> None:
    """Print one line on stderr."""
    from bnopt.report.text import clean

    sys.stderr.write(f"bnopt: {clean(message)}\n")
    sys.stderr.flush()
