"""A check as SARIF 2.1.0, for GitHub code scanning and the like.

Sections are those of the OASIS standard *Static Analysis Results Interchange Format (SARIF) Version
2.1.0*. One run; the rules are all that bnopt has, whether they were applied or not. A batch norm is
a logical location, since a model file has no lines.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import bnopt
from bnopt.findings import Finding, Severity
from bnopt.report.grouping import is_allowed, names_of, placed
from bnopt.report.text import blocks, clean, short_path
from bnopt.results import CheckResult
from bnopt.rules import RULES, Rule

SCHEMA = (
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
)
HOME = "https://github.com/bnopt/bnopt"
RULES_PAGE = f"{HOME}/blob/main/docs/rules.md"
_LEVELS: dict[Severity, str] = {"error": "error", "warning": "warning", "info": "note"}

Report = dict[str, Any]


def report(result: CheckResult) -> Report:
    """A check as a SARIF log; `json.dumps` of this package makes it text."""
    uri = _uri(result.info.path)
    names = names_of(result.sites)
    order = {rule.code: number for number, rule in enumerate(RULES)}
    run: Report = {
        "tool": {
            "driver": {
                "name": "bnopt",
                "version": bnopt.__version__,
                "semanticVersion": bnopt.__version__,
                "informationUri": HOME,
                "rules": [_rule(rule) for rule in RULES],
            }
        },
        "invocations": [
            {
                "executionSuccessful": True,
                "toolExecutionNotifications": [
                    {"level": "note", "message": _message(note)} for note in result.notes
                ],
            }
        ],
        "results": [
            _result(finding, order[finding.code], names, uri, result.allowed)
            for finding in result.findings
        ],
    }
    if uri is not None:
        run["artifacts"] = [{"location": {"uri": uri}, "roles": ["analysisTarget"]}]
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(rule: Rule) -> Report:
    """A reportingDescriptor (3.49)."""
    doc = blocks(rule.doc)
    plain = "\n".join(text for _, text in doc)
    return {
        "id": rule.code,
        "shortDescription": _message(rule.title),
        "fullDescription": {"text": _escaped(next((text for _, text in doc), rule.title))},
        "help": {
            "text": _escaped(plain),
            "markdown": _escaped("\n\n".join(text for _, text in doc)),
        },
        "helpUri": f"{RULES_PAGE}#{rule.code}",
        "defaultConfiguration": {"level": _LEVELS[rule.severity]},
    }


def _result(
    finding: Finding,
    index: int,
    names: dict[str, str],
    uri: str | None,
    allowed: tuple[str, ...],
) -> Report:
    """A result (3.27)."""
    text = placed(finding, names)
    made: Report = {
        "ruleId": finding.code,
        "ruleIndex": index,
        "level": _LEVELS[finding.severity],
        "message": _message(f"{text}. To fix: {finding.fix}." if finding.fix else f"{text}."),
        "partialFingerprints": {"site/v1": _fingerprint(finding)},
        # All results have suppressions or none has (3.27.23).
        "suppressions": [],
        "properties": {"evidence": finding.evidence, "fix": clean(finding.fix)},
    }
    if location := _location(finding, uri):
        made["locations"] = [location]
    if is_allowed(finding.code, allowed):
        because = f"allowed by --allow {finding.code if finding.code in allowed else 'all'}"
        made["suppressions"] = [{"kind": "external", "justification": because}]
    return made


def _location(finding: Finding, uri: str | None) -> Report:
    """A location (3.28); a top-level logical location has one name (3.33.5)."""
    location: Report = {}
    if uri is not None:
        location["physicalLocation"] = {"artifactLocation": {"uri": uri, "index": 0}}
    if finding.site is not None:
        site = clean(finding.site)
        location["logicalLocations"] = [
            {"name": site, "fullyQualifiedName": site, "kind": "function"}
        ]
    return location


def _fingerprint(finding: Finding) -> str:
    """The same for the same rule and site, wherever the model lies and whatever its numbers are."""
    text = f"{finding.code}\0{finding.site or ''}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _message(text: str) -> Report:
    return {"text": _escaped(clean(text))}


def _escaped(text: str) -> str:
    """`text` without placeholders (3.11.5) or embedded links (3.11.6)."""
    return text.replace("{", "{{").replace("}", "}}").replace("](", "\\](")


def _uri(path: str | None) -> str | None:
    """The model's file, relative to the working directory if it is below it (3.4.3)."""
    if path is None:
        return None
    short = Path(short_path(path))
    prefix = "file://" if short.is_absolute() else ""
    return prefix + quote(os.fsencode(short.as_posix()))
