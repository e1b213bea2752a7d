"""Which findings belong to which cause, and which do not count; for every format."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from bnopt.findings import GRAVITY, Cause, Finding, Site
from bnopt.results import CheckResult


def members(cause: Cause, findings: Sequence[Finding]) -> list[Finding]:
    """The findings that a cause stands for, the gravest first."""
    mine = (finding for finding in findings if finding.code == cause.code)
    return sorted(mine, key=lambda finding: GRAVITY[finding.severity])


def is_allowed(code: str, allowed: Collection[str]) -> bool:
    """Whether findings with this code do not count."""
    return "all" in allowed or code in allowed


def names_of(sites: Sequence[Site]) -> dict[str, str]:
    """Site id -> the name of its batch norm."""
    return {site.id: site.name for site in sites}


def placed(finding: Finding, names: Mapping[str, str]) -> str:
    """A finding's message with the name of its batch norm, if it does not say it itself."""
    if finding.site is None:
        return finding.message
    name = names.get(finding.site, finding.site)
    return finding.message if name in finding.message else f"{name}: {finding.message}"


def leading(result: CheckResult) -> Cause | None:
    """The most likely cause; one that is not allowed before those that are."""
    counts = (c for c in result.causes if not is_allowed(c.code, result.allowed))
    return next(counts, next(iter(result.causes), None))
