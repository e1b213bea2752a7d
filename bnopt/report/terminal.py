"""A result for a reader at a terminal: the result first, at most 80 columns, the next step last."""

from __future__ import annotations

from dataclasses import asdict
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.text import Text

from bnopt.findings import Finding, Folded, Kept, Lowered, Merged, Site
from bnopt.report.audit import check_text
from bnopt.report.calibration import calibrate_text, calibration_lines
from bnopt.report.causes import grouped
from bnopt.report.comparison import comparison, verdict
from bnopt.report.export import export_text
from bnopt.report.layout import (
    WIDTH,
    about,
    first_reason,
    indented,
    line,
    next_step,
    notes,
    table,
)
from bnopt.report.text import clean, plural, quoted, seconds, short_path, size, stages
from bnopt.results import (
    CalibrateResult,
    CheckResult,
    ExportResult,
    FoldResult,
    InspectResult,
    NodeCounts,
    ValidateResult,
)

FOLDED_ROWS = 20
# Longer names would leave their neighbours no room in a table.
NAME_WIDTH = 32


def show(renderable: RenderableType, file: IO[str]) -> None:
    """Print to `file`, in colour only on a terminal and without `NO_COLOR`."""
    console = Console(file=file, highlight=False, emoji=False, markup=False, soft_wrap=False)
    if console.width > WIDTH or not console.is_terminal:
        console.width = WIDTH
    with console.capture() as capture:
        console.print(renderable)
    # Tables pad their last column; a file or a test should not see it.
    file.write("".join(f"{line.rstrip()}\n" for line in capture.get().splitlines()))


def text(
    result: CalibrateResult
    | CheckResult
    | ExportResult
    | FoldResult
    | InspectResult
    | ValidateResult,
    *,
    stopped: bool = False,
    verbose: bool = False,
) -> RenderableType:
    """Any result.

    Args:
        result: What to show.
        stopped: Whether an error kept the command from finishing.
        verbose: Whether to list every finding of a check, every layer of a calibration.
    """
    if isinstance(result, CalibrateResult):
        return calibrate_text(result, stopped=stopped, verbose=verbose)
    if isinstance(result, CheckResult):
        return check_text(result, verbose=verbose)
    if isinstance(result, ExportResult):
        return export_text(result, stopped=stopped)
    if isinstance(result, FoldResult):
        return fold_text(result, stopped=stopped)
    if isinstance(result, InspectResult):
        return inspect_text(result)
    return validate_text(result)


def fold_text(result: FoldResult, *, stopped: bool = False) -> RenderableType:
    """A fold."""
    parts: list[RenderableType] = [_fold_headline(result, stopped), about(result.info)]
    if result.calibration is not None:
        parts += calibration_lines(result.calibration)
    parts += grouped(result.findings, result.causes, result.sites)
    parts += _nodes(result.node_counts)
    parts += _sites(result.sites, planned=result.dry_run or stopped)
    if result.validation is not None:
        parts += comparison(result.validation)
    parts += notes(result.notes)
    parts += _costs(result)
    parts += next_step(_after_fold(result, stopped))
    return Group(*parts)


def inspect_text(result: InspectResult) -> RenderableType:
    """What a model holds."""
    summary = result.summary
    can = summary.folded + summary.merged + summary.lowered
    head = line(f"{plural(summary.found, 'batch norm')}; fold would remove {can}", "bold")
    errors = sum(finding.severity == "error" for finding in result.findings)
    if errors:
        head.append(f"; {plural(errors, 'error')}", "bold red")
    parts: list[RenderableType] = [head, about(result.info)]
    parts += grouped(result.findings, result.causes, result.sites)
    parts += _sites(result.sites, planned=True)
    parts += notes(result.notes)
    path = quoted(result.info.path)
    if errors:
        parts += next_step(f"bnopt explain {next(iter(_error_codes(result.findings)))}")
    elif can:
        parts += next_step(f"bnopt fold {path}")
    elif summary.kept:
        parts += next_step(f"bnopt explain {first_reason(result.sites)}")
    return Group(*parts)


def validate_text(result: ValidateResult) -> RenderableType:
    """A comparison of two models."""
    parts: list[RenderableType] = [
        verdict(result.validation),
        about(result.original),
        about(result.candidate),
    ]
    parts += comparison(result.validation)
    parts.append(line(f"{seconds(result.validation.seconds)} s", "dim"))
    return Group(*parts)


def _fold_headline(result: FoldResult, stopped: bool) -> Text:
    summary = result.summary
    verb = "would fold" if result.dry_run or stopped else "folded"
    head = line(f"{verb} {summary.folded} of {plural(summary.found, 'batch norm')}", "bold")
    for count, word in ((summary.merged, "merged"), (summary.lowered, "lowered")):
        if count:
            head.append(f", {word} {count}")
    if stopped:
        head.append("; stopped, nothing written", "bold red")
    if result.validation is not None:
        head.append("; ").append_text(verdict(result.validation))
    elif result.dry_run:
        head.append("; dry run", "yellow")
    elif not stopped:
        moved = summary.folded + summary.merged + summary.lowered
        head.append("; not validated" if moved else "; nothing to prove", "yellow")
    if result.output is not None:
        head.append(f"; wrote {clean(short_path(result.output))}", "bold")
    return head


def _nodes(counts: NodeCounts) -> list[RenderableType]:
    changed = [
        name
        for name in sorted({*counts.before, *counts.after})
        if counts.before.get(name, 0) != counts.after.get(name, 0)
    ]
    rows = table("nodes", "before>", "after>")
    for name in changed:
        rows.add_row(clean(name), str(counts.before.get(name, 0)), str(counts.after.get(name, 0)))
    rows.add_row("total", str(sum(counts.before.values())), str(sum(counts.after.values())))
    return [Text(), rows]


def _sites(sites: tuple[Site, ...], *, planned: bool) -> list[RenderableType]:
    parts: list[RenderableType] = []
    kept = [(site, site.decision) for site in sites if isinstance(site.decision, Kept)]
    if kept:
        parts += [Text(), *_kept(kept)]
    moved = [
        (site, site.decision)
        for site in sites
        if isinstance(site.decision, (Folded, Merged, Lowered))
    ]
    if moved:
        rows = table("would fold" if planned else "folded", "into", "channels>")
        for site, decision in moved[:FOLDED_ROWS]:
            prefix = "" if isinstance(decision, Folded) else f"{type(decision).__name__.lower()}: "
            channels = "-" if site.channels is None else str(site.channels)
            suffix = " + Add" if isinstance(decision, Folded) and decision.leaves_add else ""
            rows.add_row(clean(site.name), prefix + clean(decision.into) + suffix, channels)
        parts += [Text(), rows]
        if len(moved) > FOLDED_ROWS:
            more = len(moved) - FOLDED_ROWS
            parts.append(line(f"... and {more} more folded, --json lists all", "dim"))
    return parts


def _kept(kept: list[tuple[Site, Kept]]) -> list[RenderableType]:
    if max(len(clean(site.name)) for site, _ in kept) <= NAME_WIDTH:
        rows = table("kept", "reason", "why")
        for site, decision in kept:
            rows.add_row(clean(site.name), decision.reason, clean(decision.message))
        return [rows]
    lines: list[RenderableType] = [line("kept", "bold")]
    for site, decision in kept:
        lines.append(line(clean(site.name)))
        why = f"{decision.reason}: {clean(decision.message)}"
        lines.append(indented(line(why, "dim")))
    return lines


def _costs(result: FoldResult) -> list[RenderableType]:
    weights = f"weights {size(result.bytes_before)} -> {size(result.bytes_after)}"
    return [Text(), line(f"{weights}; {stages(asdict(result.timings))}", "dim")]


def _after_fold(result: FoldResult, stopped: bool) -> str:
    path = quoted(result.info.path)
    if stopped and (codes := _error_codes(result.findings)):
        return f"bnopt explain {next(iter(codes))}"
    # What was repaired is no longer the same as the original.
    same = result.calibration is None and not result.bound
    if result.dry_run and result.summary.folded and same:
        return f"bnopt fold {path}"
    if result.summary.kept and result.validation is not None:
        return f"bnopt explain {first_reason(result.sites)}"
    replaced = result.output is None or str(result.output) == result.info.path
    if result.summary.folded and not replaced and same:
        # Proven on generated inputs; the reader's own say more.
        data = " --data D" if result.validation is not None else ""
        return f"bnopt validate {path} {quoted(str(result.output))}{data}"
    return f"bnopt explain {first_reason(result.sites)}" if result.summary.kept else ""


def _error_codes(findings: tuple[Finding, ...]) -> dict[str, None]:
    return dict.fromkeys(finding.code for finding in findings if finding.severity == "error")
