"""The top of the page: what came out, why most likely, and what to do."""

from __future__ import annotations

from collections import Counter

from bnopt.findings import Cause, Kept, Summary
from bnopt.report.html.markup import Tone, esc, icon
from bnopt.report.text import plural
from bnopt.results import CheckResult, FoldResult


def verdict(result: CheckResult | FoldResult, stopped: bool) -> str:
    """The verdict, with the most likely cause of what is wrong."""
    causes = result.causes
    if isinstance(result, CheckResult):
        tone, title = _of_check(result, causes)
        basis = _basis_of_check(result)
    else:
        tone, title = _of_fold(result, stopped)
        basis = basis_of_fold(result)
    parts = [f"<h1>{esc(title)}</h1>"]
    if causes and (causes[0].severity != "info" or isinstance(result, CheckResult)):
        parts += _first(causes)
    parts += [f'<p class="basis">{esc(text)}</p>' for text in basis]
    return f'<div class="verdict {tone}">{icon(tone)}{"".join(parts)}</div>'


def _first(causes: tuple[Cause, ...]) -> list[str]:
    first = causes[0]
    label = "Worth knowing" if first.severity == "info" else "Most likely cause"
    others = Counter(cause.severity for cause in causes[1:])
    more = ", ".join(
        f"{plural(others[level], f'other {level}')}"
        for level in ("error", "warning", "info")
        if others[level]
    )
    parts = [f'<p class="lead"><small>{label}</small>{esc(first.message)}</p>']
    if first.fix:
        parts.append(f'<p class="fix"><b>Fix:</b> {esc(first.fix)}</p>')
    return [*parts, f'<p class="basis">And {esc(more)}, below.</p>'] if more else parts


def _of_check(result: CheckResult, causes: tuple[Cause, ...]) -> tuple[Tone, str]:
    found = Counter(cause.severity for cause in causes)
    if not result.ok:
        return "bad", f"Failed: {plural(found['error'], 'error')}"
    if not result.sites and not causes:
        return "none", "No batch norms found"
    if found["error"]:
        return "warn", "Passed: the errors found are allowed"
    if found["warning"]:
        return "warn", f"Passed, with {plural(found['warning'], 'warning')}"
    return "good", "Passed"


def _basis_of_check(result: CheckResult) -> list[str]:
    if not result.sites:
        return []
    if result.samples:
        verdicts = Counter(numbers.verdict for numbers in result.statistics if numbers.verdict)
        counts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items()))
        compared = f"Compared with {plural(result.samples, 'sample')} of data"
        data = f"{compared}: {counts}." if counts else f"{compared}."
    else:
        data = "No data was given, so stored statistics were not compared with measured ones."
    ran = "The model was run." if result.behaviour is not None else "The model was not run."
    return [f"{data} {ran}"]


def _of_fold(result: FoldResult, stopped: bool) -> tuple[Tone, str]:
    summary, validation = result.summary, result.validation
    head = counts(summary, planned=result.dry_run or stopped)
    if validation is not None and validation.equivalent is False:
        return "bad", f"NOT equivalent, nothing written. {head}"
    if stopped:
        return "bad", f"Stopped, nothing written. {head}"
    if validation is not None and validation.equivalent:
        return "good", f"{head}; equivalent"
    if validation is not None:
        return "warn", f"{head}; equivalence not proven"
    if result.dry_run:
        return "info", f"{head}; dry run"
    moved = summary.folded + summary.merged + summary.lowered
    return ("warn", f"{head}; not validated") if moved else ("none", f"{head}; nothing to prove")


def counts(summary: Summary, *, planned: bool) -> str:
    """`Folded 2 of 3 batch norms, merged 1`."""
    head = f"{'Would fold' if planned else 'Folded'} {summary.folded} of "
    head += plural(summary.found, "batch norm")
    for count, word in ((summary.merged, "merged"), (summary.lowered, "lowered")):
        head += f", {word} {count}" if count else ""
    return head


def basis_of_fold(result: FoldResult) -> list[str]:
    """A sentence on how many batch norms were kept for which reason; none if none was."""
    reasons = Counter(
        site.decision.reason for site in result.sites if isinstance(site.decision, Kept)
    )
    if not reasons:
        return []
    counts = ", ".join(f"{reason} {count}" for reason, count in reasons.most_common())
    return [f"{plural(result.summary.kept, 'batch norm')} kept: {counts}."]
