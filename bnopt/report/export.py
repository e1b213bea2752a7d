"""An export at the terminal: what was found in the source, what became of it, how close it is."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from bnopt.evidence import Agreement
from bnopt.findings import Finding
from bnopt.report.calibration import calibration_lines
from bnopt.report.causes import STYLE
from bnopt.report.exported import (
    all_notes,
    calibration_of,
    framework_name,
    news,
    next_command,
    repaired_word,
    stage_seconds,
)
from bnopt.report.layout import indented, line, next_step, notes, table
from bnopt.report.text import clean, plural, short_path, stages
from bnopt.results import ExportResult

MOST = 8


def export_text(result: ExportResult, *, stopped: bool = False) -> RenderableType:
    """An export.

    Args:
        result: What to show.
        stopped: Whether an error kept it from finishing.
    """
    parts: list[RenderableType] = [_headline(result, stopped)]
    what = f"{clean(short_path(result.source))}: {result.kind}, {clean(result.framework)}"
    parts.append(line(f"{what}, {plural(len(result.variables), 'variable')} of batch norms", "dim"))
    parts += _findings(result.findings, result)
    calibration = calibration_of(result)
    if calibration is not None:
        parts += calibration_lines(calibration)
    if more := news(result):
        parts += [Text(), line("in the converted model", "bold"), *_findings(more, None)]
    parts += _agreement(result)
    parts += notes(all_notes(result))
    parts += [Text(), line(stages(stage_seconds(result)), "dim")]
    parts += next_step(next_command(result))
    return Group(*parts)


def _headline(result: ExportResult, stopped: bool) -> Text:
    head = line("exported" if not stopped else "not exported", "bold red" if stopped else "bold")
    if result.fold is not None:
        summary = result.fold.summary
        verb = "would fold" if stopped else "folded"
        head.append(f"; {verb} {summary.folded} of {plural(summary.found, 'batch norm')}", "bold")
    if result.agreement:
        name = clean(framework_name(result))
        where = ", the converted model" if calibration_of(result) is not None else ""
        if result.ok:
            head.append(f"; agrees with {name}{where}", "green")
        else:
            head.append(f"; DIFFERS from {name}{where}", "bold red")
    if result.output is not None:
        head.append(f"; wrote {clean(short_path(result.output))}", "bold")
    return head


def _findings(findings: tuple[Finding, ...], source: ExportResult | None) -> list[RenderableType]:
    """A paragraph for each; those of the `source` may have been repaired."""
    parts: list[RenderableType] = []
    for finding in findings[:MOST]:
        word = "" if source is None else repaired_word(source, finding)
        head = line(finding.severity, STYLE[finding.severity])
        head.append(f" ({word})" if word else "")
        place = f"{clean(finding.site)}: " if finding.site else ""
        parts += [Text(), head.append(f" {finding.code}: {place}{clean(finding.message)}")]
        if finding.fix and word != "repaired":
            parts.append(indented(line(f"fix: {clean(finding.fix)}", "dim")))
    if len(findings) > MOST:
        parts.append(line(f"... and {len(findings) - MOST} more, --json lists all", "dim"))
    return parts


def _agreement(result: ExportResult) -> list[RenderableType]:
    if not result.agreement:
        return []
    rows = table("output", "batch>", "error>", "tolerance>", "relative>", "")
    for one in result.agreement:
        rows.add_row(*_row(one))
    return [Text(), rows]


def _row(one: Agreement) -> tuple[str, ...]:
    verdict = "ok" if one.ok else "DIFFERS"
    numbers = (f"{one.max_abs:.3g}", f"{one.tolerance:.3g}", f"{one.max_rel:.3g}")
    return (clean(one.output), str(one.batch), *numbers, verdict)
