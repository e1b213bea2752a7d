"""`bnopt explain`."""

from __future__ import annotations

import sys
from typing import Any

import click

from bnopt.cli.emit import write_json
from bnopt.cli.group import nearest
from bnopt.cli.options import json_option


@click.command("explain")
@click.argument("code", metavar="[CODE]", required=False)
@json_option
def command(code: str | None, as_json: bool) -> int:
    """Document a finding's code or a refusal reason; without CODE, list them all."""
    entries = _entries()
    chosen = [entry for entry in entries if code in (None, entry["code"])]
    if not chosen:
        known = {str(entry["code"]) for entry in entries}
        hint = nearest(str(code), sorted(known)) or "; 'bnopt explain' lists all"
        raise click.UsageError(f"no rule or reason has the code '{code}'{hint}")
    if as_json:
        from bnopt.report import json

        write_json(json.explain_report(chosen))
        return 0
    from bnopt.report import explanation, terminal

    text = explanation.listing(chosen) if code is None else explanation.pages(chosen)
    terminal.show(text, sys.stdout)
    return 0


def _entries() -> list[dict[str, Any]]:
    """Rules, then reasons; the same code may be both."""
    from bnopt.frontends.tensorflow.mistakes import MISTAKES
    from bnopt.reasons import CALIBRATION_REASONS, REASONS
    from bnopt.rules import RULES, Rule

    rules = [
        {
            "code": rule.code,
            "kind": "rule",
            "severity": rule.severity,
            "title": rule.title,
            "doc": rule.doc,
        }
        for rule in (*RULES, *map(Rule.of, MISTAKES))
    ]
    reasons = [
        {"code": r.code, "kind": "reason", "severity": None, "title": r.title, "doc": r.doc}
        for r in (*REASONS.values(), *CALIBRATION_REASONS.values())
    ]
    return [*rules, *reasons]
