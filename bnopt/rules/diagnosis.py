"""From findings to causes: what is wrong, in how many batch norms, the most likely first.

A model with one mistake has one finding for each of its batch norms, and often others that follow
from it. Causes are ordered by severity, then by the share of batch norms concerned, then by the
order of the rules, which lists what explains the others first.
"""

from __future__ import annotations

from collections.abc import Sequence

from bnopt.findings import GRAVITY, Cause, Finding
from bnopt.rules import RULES
from bnopt.rules.view import View


def causes(findings: Sequence[Finding], view: View) -> tuple[Cause, ...]:
    """One cause for each code among `findings`, the most likely first."""
    order = {rule.code: number for number, rule in enumerate(RULES)}
    rules = {rule.code: rule for rule in RULES}
    found: list[Cause] = []
    for code in dict.fromkeys(finding.code for finding in findings):
        mine = [finding for finding in findings if finding.code == code]
        gravest = min(mine, key=lambda finding: GRAVITY[finding.severity])
        rule = rules[code]
        sites = {finding.site for finding in mine if finding.site is not None}
        total = max(len(view.norms) + len(view.traces), len(sites))
        message = gravest.message
        if rule.summary and sites:
            message = f"{len(sites)} of {total} batch norms {rule.summary}"
        if reason := rule.cause(view.framework):
            message = f"{message}: {reason}"
        found.append(Cause(code, gravest.severity, len(sites), total, message, gravest.fix))
    return tuple(
        sorted(
            found,
            key=lambda c: (GRAVITY[c.severity], -c.found / max(c.of, 1), order[c.code]),
        )
    )
