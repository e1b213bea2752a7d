"""The top of the page of an export: whether it was written, whether it agrees, what was found."""

from __future__ import annotations

import math

from bnopt.findings import Cause, Finding
from bnopt.report.exported import calibration_of, framework_name, is_repaired, next_command
from bnopt.report.html.markup import Tone, esc, icon, short
from bnopt.report.html.verdict import basis_of_fold, counts
from bnopt.report.recalibrated import counted
from bnopt.report.text import plural
from bnopt.results import ExportResult


def verdict(result: ExportResult, stopped: bool, why: str) -> str:
    """The verdict, with why it stopped or with the gravest finding.

    Args:
        result: What to show.
        stopped: Whether an error kept the command from finishing.
        why: The error's line; empty if it is not known.
    """
    tone, title = _headline(result, stopped)
    parts = [f"<h1>{esc(title)}</h1>"]
    if stopped and why:
        parts.append(f'<p class="lead"><small>Why it stopped</small>{esc(why)}</p>')
    else:
        parts += _gravest(result)
    command = next_command(result)
    if command:
        parts.append(f'<p class="fix"><b>Next:</b> <code>{esc(command)}</code></p>')
    parts += [f'<p class="basis">{esc(text)}</p>' for text in _basis(result)]
    return f'<div class="verdict {tone}">{icon(tone)}{"".join(parts)}</div>'


def _headline(result: ExportResult, stopped: bool) -> tuple[Tone, str]:
    fold, framework = result.fold, framework_name(result)
    folded = "" if fold is None else counts(fold.summary, planned=stopped)
    behind = f". {folded}" if folded else ""
    proof = None if fold is None else fold.validation
    repair = calibration_of(result)
    if not result.ok:
        who = "" if repair is None else "The converted model "
        return "bad", f"{who}DIFFERS from {framework}, nothing written{behind}"
    if proof is not None and proof.equivalent is False:
        return "bad", f"NOT equivalent once folded, nothing written{behind}"
    if stopped:
        return "bad", f"Stopped, nothing written{behind}"
    title = "Exported" if repair is None else f"Exported; calibrated {counted(repair)}"
    title += f"; {folded[:1].lower()}{folded[1:]}" if folded else ""
    if not result.agreement:
        return "warn", f"{title}; not compared with {framework}"
    who = "" if repair is None else "the converted model "
    title += f"; {who}agrees with {framework}"
    if proof is not None and proof.equivalent is None:
        return "warn", f"{title}; the fold is not proven"
    if _unresolved(result) or (repair is not None and repair.kept):
        return "warn", title
    return "good", title


def _unresolved(result: ExportResult) -> list[tuple[str, Cause | Finding]]:
    """Errors and warnings that were not repaired, the gravest first, and where each was found."""
    source = [finding for finding in result.findings if not is_repaired(result, finding)]
    converted = () if result.fold is None else result.fold.causes
    every: list[tuple[str, Cause | Finding]] = [
        *(("Found in the source", finding) for finding in source),
        *(("Found in the converted model", cause) for cause in converted),
    ]
    grave = [(where, found) for where, found in every if found.severity != "info"]
    return sorted(grave, key=lambda one: one[1].severity == "warning")


def _gravest(result: ExportResult) -> list[str]:
    left = _unresolved(result)
    repaired = [finding for finding in result.findings if is_repaired(result, finding)]
    if not left and not repaired:
        return []
    label, first = left[0] if left else ("Repaired from data", repaired[0])
    parts = [f'<p class="lead"><small>{label}</small>{esc(first.message)}</p>']
    if left and first.fix:
        parts.append(f'<p class="fix"><b>Fix:</b> {esc(first.fix)}</p>')
    codes = {found.code for _, found in left} | {finding.code for finding in repaired}
    others = len(codes) - 1
    more = f'<p class="basis">And {plural(others, "other")}, below.</p>'
    return [*parts, more] if others else parts


def _basis(result: ExportResult) -> list[str]:
    texts: list[str] = []
    if result.agreement:
        batches = ", ".join(str(batch) for batch in sorted({one.batch for one in result.agreement}))
        worst = max((one.max_rel for one in result.agreement), key=_size)
        texts.append(
            f"Compared with {result.framework} at batch {batches}: the largest error is "
            f"{short(worst)} of the largest value."
        )
    fold = result.fold
    if fold is not None and fold.validation is not None and fold.validation.equivalent:
        texts.append("The folded model is equivalent to the converted one.")
    return texts if fold is None else [*texts, *basis_of_fold(fold)]


def _size(error: float) -> float:
    return math.inf if math.isnan(error) else error
