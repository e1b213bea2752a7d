"""One paragraph at the terminal for each cause, however many batch norms it concerns."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.console import RenderableType
from rich.text import Text

from bnopt.findings import Cause, Finding, Severity, Site
from bnopt.report.grouping import is_allowed, members, names_of, placed
from bnopt.report.layout import indented, line
from bnopt.report.text import clean

FEW = 3
STYLE: dict[Severity, str] = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def grouped(
    findings: Sequence[Finding],
    causes: Sequence[Cause],
    sites: Sequence[Site],
    *,
    allowed: Collection[str] = (),
    said: Cause | None = None,
    most: int | None = FEW,
    more: str = "--json",
) -> list[RenderableType]:
    """A paragraph for each cause: severity, code, message, cure, and where it was found.

    Args:
        findings: All of them.
        causes: What they amount to, the first one first.
        sites: Batch norms, for their names.
        allowed: Codes whose errors do not count.
        said: The cause whose message stands above already.
        most: Findings to list for each cause; None lists all.
        more: The option that lists all.
    """
    names = names_of(sites)
    parts: list[RenderableType] = []
    for cause in causes:
        head = line(cause.severity, STYLE[cause.severity])
        head.append(" (allowed)" if is_allowed(cause.code, allowed) else "")
        head.append(f" {cause.code}" if cause is said else f" {cause.code}: {clean(cause.message)}")
        parts += [Text(), head]
        if cause.fix:
            parts.append(indented(line(f"fix: {clean(cause.fix)}", "dim")))
        # What concerns the whole model says so in the message of its cause.
        local = [finding for finding in members(cause, findings) if finding.site is not None]
        parts += [indented(line(clean(placed(finding, names)))) for finding in local[:most]]
        if most is not None and len(local) > most:
            text = f"... and {len(local) - most} more, {more} lists all"
            parts.append(indented(line(text, "dim")))
    return parts
