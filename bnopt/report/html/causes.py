"""What was found, grouped by cause, the most likely cause first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bnopt.findings import Cause, Finding
from bnopt.report.html.layers import Layer
from bnopt.report.html.markup import TONES, badge, esc, name
from bnopt.report.html.wording import evidence_text
from bnopt.report.text import plural
from bnopt.results import CheckResult, FoldResult

# So many lines a cause are read by nobody; the table has the rest.
_SHOWN = 400


def causes_section(result: CheckResult | FoldResult, layers: Sequence[Layer]) -> str:
    """One box a cause, with its findings folded away."""
    allowed = result.allowed if isinstance(result, CheckResult) else ()
    by_id = {layer.id: layer for layer in layers}
    return "".join(
        _cause(
            cause,
            [finding for finding in result.findings if finding.code == cause.code],
            by_id,
            cause.severity == "error" and ("all" in allowed or cause.code in allowed),
        )
        for cause in result.causes
    )


def _cause(
    cause: Cause, findings: Sequence[Finding], layers: Mapping[str, Layer], allowed: bool
) -> str:
    word = f"{cause.severity}, allowed" if allowed else cause.severity
    count = f"{cause.found} of {plural(cause.of, 'batch norm')}" if cause.found else "whole model"
    return box(cause, word=word, count=count, findings=findings, layers=layers)


def box(
    what: Cause | Finding,
    *,
    word: str,
    count: str,
    findings: Sequence[Finding],
    layers: Mapping[str, Layer] | None = None,
) -> str:
    """A box with findings of one code folded away.

    Args:
        what: What they amount to.
        word: Its severity, and what became of it.
        count: Whom it concerns.
        findings: All with its code.
        layers: Batch norms of the page, which those lead to that name one.
    """
    tone = TONES[what.severity]
    fix = f'<p class="fix"><b>Fix:</b> {esc(what.fix)}</p>' if what.fix else ""
    return (
        f'<article class="cause {tone}"><header>{badge(tone, word)}'
        f'<h3><code>{esc(what.code)}</code></h3><span class="count">{esc(count)}</span></header>'
        f"<p>{esc(what.message)}</p>{fix}{_findings(findings, layers or {})}</article>"
    )


def _findings(findings: Sequence[Finding], layers: Mapping[str, Layer]) -> str:
    if not findings:
        return ""
    lines = [f"<li>{_finding(finding, layers)}</li>" for finding in findings[:_SHOWN]]
    if len(findings) > _SHOWN:
        lines.append(f"<li>… and {len(findings) - _SHOWN} more; --json lists all</li>")
    return (
        f"<details><summary>{plural(len(findings), 'finding')}</summary>"
        f'<ul class="list">{"".join(lines)}</ul></details>'
    )


def _finding(finding: Finding, layers: Mapping[str, Layer]) -> str:
    where = ""
    if finding.site is not None:
        layer = layers.get(finding.site)
        shown = name(finding.site if layer is None else layer.name)
        where = shown if layer is None else f'<a href="#bn{layer.number}">{shown}</a>'
        where += ": "
    evidence = evidence_text(finding)
    numbers = f' <span class="evidence">({esc(evidence)})</span>' if evidence else ""
    return f"{where}{esc(finding.message)}{numbers}"
