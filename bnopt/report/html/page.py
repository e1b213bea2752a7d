"""The whole page: one file that needs no other, and may ask for none."""

from __future__ import annotations

import base64
import hashlib
from pathlib import PurePath
from typing import TypeAlias

import bnopt
from bnopt.report.exported import all_notes
from bnopt.report.html import audit, calibration, export
from bnopt.report.html.markup import esc, name, note, section
from bnopt.report.html.script import SCRIPT
from bnopt.report.html.style import STYLE
from bnopt.results import CalibrateResult, CheckResult, ExportResult, FoldResult

Shown: TypeAlias = CalibrateResult | CheckResult | ExportResult | FoldResult


def page(result: Shown, *, stopped: bool = False, why: str = "") -> str:
    """A result as a self-contained HTML page; the same result gives the same text.

    Args:
        result: What to show.
        stopped: Whether an error kept the command from finishing.
        why: The error's line. Only the page of an export shows it: what stops others is among
            their findings, or their comparison.
    """
    notes, shown = result.notes, _name(result)
    if isinstance(result, CalibrateResult):
        parts = calibration.parts(result, stopped)
    elif isinstance(result, ExportResult):
        parts, notes = export.parts(result, stopped, why), all_notes(result)
    else:
        parts = audit.parts(result, stopped)
    parts.append(section("Notes", "".join(note(esc(text)) for text in notes)))
    title = f"bnopt {result.command}: {shown}"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy()}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        f"<title>{esc(title)}</title><style>{STYLE}</style></head>\n<body><main>"
        f'<p class="brand"><b>bnopt {result.command}</b> {name(shown)}</p>'
        f"{''.join(parts)}"
        f"<footer>Written by bnopt {esc(bnopt.__version__)}. <code>bnopt explain CODE</code> "
        "documents every code on this page.</footer>"
        f"</main><script>{SCRIPT}</script></body></html>\n"
    )


def _policy() -> str:
    """Nothing but this very style and this very script."""
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (STYLE, SCRIPT)
    )
    return (
        f"default-src 'none'; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _name(result: Shown) -> str:
    """The last part of the path of what was given."""
    path = result.source if isinstance(result, ExportResult) else result.info.path
    return (PurePath(path).name or path) if path else "model in memory"
