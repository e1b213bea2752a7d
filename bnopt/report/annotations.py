"""A check as annotations of a GitHub workflow: workflow commands on stdout.

A step shows ten annotations of a level at most, so there is one for a cause, not for a finding.

Source: GitHub, *Workflow commands for GitHub Actions*; the escapes are those of actions/toolkit,
packages/core/src/command.ts.
"""

from __future__ import annotations

from bnopt.findings import Cause, Severity
from bnopt.report.grouping import is_allowed, members, names_of, placed
from bnopt.report.text import clean, plural, short_path
from bnopt.results import CheckResult

SITES = 5
_COMMANDS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "notice"}


def text(result: CheckResult) -> str:
    """One command a line, then a line with the numbers; an allowed error is a notice.

    The last line holds no name: a runner obeys old commands (`##[...]`) anywhere in a line.
    """
    lines = [_command(result, cause) for cause in result.causes]
    errors, warnings = (
        sum(finding.severity == severity for finding in result.findings)
        for severity in ("error", "warning")
    )
    verdict = "ok" if result.ok else "NOT ok"
    counts = f"{plural(errors, 'error')}, {plural(warnings, 'warning')}"
    lines.append(f"bnopt: {verdict}; {plural(len(result.sites), 'batch norm')}, {counts}")
    return "".join(f"{entry}\n" for entry in lines)


def _command(result: CheckResult, cause: Cause) -> str:
    allowed = is_allowed(cause.code, result.allowed)
    command = "notice" if allowed else _COMMANDS[cause.severity]
    title = f"bnopt {cause.code} (allowed)" if allowed else f"bnopt {cause.code}"
    properties = {"file": clean(short_path(result.info.path))} if result.info.path else {}
    properties["title"] = title
    names = names_of(result.sites)
    local = [found for found in members(cause, result.findings) if found.site is not None]
    lines = [clean(cause.message), *(clean(placed(found, names)) for found in local[:SITES])]
    if len(local) > SITES:
        lines.append(f"... and {len(local) - SITES} more")
    lines.append(f"fix: {clean(cause.fix)}")
    message = "\n".join(lines)
    settings = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    return f"::{command} {settings}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
