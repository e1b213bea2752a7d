"""A result for a reader at a terminal: the result first, at most 80 columns, the next step last."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import IO

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bnopt.findings import Finding, Folded, Kept, Lowered, Merged, ModelInfo, Site
from bnopt.report.comparison import comparison, verdict
from bnopt.report.text import clean, plural, seconds, size
from bnopt.results import FoldResult, InspectResult, NodeCounts, Timings, ValidateResult

WIDTH = 80
FOLDED_ROWS = 20
# Longer names would leave their neighbours no room in a table.
NAME_WIDTH = 32
_SEVERITY_STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}


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
    result: FoldResult | InspectResult | ValidateResult, *, stopped: bool = False
) -> RenderableType:
    """Any result; `stopped` if an error kept the command from finishing."""
    if isinstance(result, FoldResult):
        return fold_text(result, stopped=stopped)
    if isinstance(result, InspectResult):
        return inspect_text(result)
    return validate_text(result)


def fold_text(result: FoldResult, *, stopped: bool = False) -> RenderableType:
    """A fold."""
    parts: list[RenderableType] = [_fold_headline(result, stopped), _about(result.info)]
    parts += _findings(result.findings)
    parts += _nodes(result.node_counts)
    parts += _sites(result.sites, planned=result.dry_run or stopped)
    if result.validation is not None:
        parts += comparison(result.validation)
    parts += _notes(result.notes)
    parts += _costs(result)
    parts += _next(_after_fold(result, stopped))
    return Group(*parts)


def inspect_text(result: InspectResult) -> RenderableType:
    """What a model holds."""
    summary = result.summary
    can = summary.folded + summary.merged + summary.lowered
    line = _line(f"{plural(summary.found, 'batch norm')}; fold would remove {can}", "bold")
    errors = sum(finding.severity == "error" for finding in result.findings)
    if errors:
        line.append(f"; {plural(errors, 'error')}", "bold red")
    parts: list[RenderableType] = [line, _about(result.info)]
    parts += _findings(result.findings)
    parts += _sites(result.sites, planned=True)
    parts += _notes(result.notes)
    path = _quoted(result.info.path)
    if errors:
        parts += _next(f"bnopt explain {next(iter(_error_codes(result.findings)))}")
    elif can:
        parts += _next(f"bnopt fold {path}")
    elif summary.kept:
        parts += _next(f"bnopt explain {_first_reason(result.sites)}")
    return Group(*parts)


def validate_text(result: ValidateResult) -> RenderableType:
    """A comparison of two models."""
    parts: list[RenderableType] = [
        verdict(result.validation),
        _about(result.original),
        _about(result.candidate),
    ]
    parts += comparison(result.validation)
    parts.append(_line(f"{seconds(result.validation.seconds)} s", "dim"))
    return Group(*parts)


def _fold_headline(result: FoldResult, stopped: bool) -> Text:
    summary = result.summary
    verb = "would fold" if result.dry_run or stopped else "folded"
    line = _line(f"{verb} {summary.folded} of {plural(summary.found, 'batch norm')}", "bold")
    for count, word in ((summary.merged, "merged"), (summary.lowered, "lowered")):
        if count:
            line.append(f", {word} {count}")
    if stopped:
        line.append("; stopped, nothing written", "bold red")
    if result.validation is not None:
        line.append("; ").append_text(verdict(result.validation))
    elif result.dry_run:
        line.append("; dry run", "yellow")
    elif not stopped:
        moved = summary.folded + summary.merged + summary.lowered
        line.append("; not validated" if moved else "; nothing to prove", "yellow")
    if result.output is not None:
        line.append(f"; wrote {clean(_short(result.output))}", "bold")
    return line


def _about(info: ModelInfo) -> Text:
    opset = ", ".join(
        str(version) if domain == "ai.onnx" else f"{clean(domain)} {version}"
        for domain, version in info.opset.items()
    )
    name = clean(_short(Path(info.path))) if info.path else "model in memory"
    made = f", {clean(info.producer)}" if info.producer else ""
    nodes = plural(info.nodes, "node")
    return _line(f"{name}: IR {info.ir_version}, opset {opset}{made}, {nodes}", "dim")


def _findings(findings: tuple[Finding, ...]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for finding in findings:
        line = _line(finding.severity, _SEVERITY_STYLE[finding.severity])
        line.append(f" {finding.code}: {clean(finding.message)}")
        if finding.fix:
            line.append(f"\n  fix: {clean(finding.fix)}", "dim")
        parts += [line] if parts else [Text(), line]
    return parts


def _nodes(counts: NodeCounts) -> list[RenderableType]:
    changed = [
        name
        for name in sorted({*counts.before, *counts.after})
        if counts.before.get(name, 0) != counts.after.get(name, 0)
    ]
    table = _table("nodes", "before>", "after>")
    for name in changed:
        table.add_row(clean(name), str(counts.before.get(name, 0)), str(counts.after.get(name, 0)))
    table.add_row("total", str(sum(counts.before.values())), str(sum(counts.after.values())))
    return [Text(), table]


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
        table = _table("would fold" if planned else "folded", "into", "channels>")
        for site, decision in moved[:FOLDED_ROWS]:
            prefix = "" if isinstance(decision, Folded) else f"{type(decision).__name__.lower()}: "
            channels = "-" if site.channels is None else str(site.channels)
            suffix = " + Add" if isinstance(decision, Folded) and decision.leaves_add else ""
            table.add_row(clean(site.name), prefix + clean(decision.into) + suffix, channels)
        parts += [Text(), table]
        if len(moved) > FOLDED_ROWS:
            more = len(moved) - FOLDED_ROWS
            parts.append(_line(f"... and {more} more folded, --json lists all", "dim"))
    return parts


def _kept(kept: list[tuple[Site, Kept]]) -> list[RenderableType]:
    if max(len(clean(site.name)) for site, _ in kept) <= NAME_WIDTH:
        table = _table("kept", "reason", "why")
        for site, decision in kept:
            table.add_row(clean(site.name), decision.reason, clean(decision.message))
        return [table]
    lines: list[RenderableType] = [_line("kept", "bold")]
    for site, decision in kept:
        lines.append(_line(clean(site.name)))
        why = f"{decision.reason}: {clean(decision.message)}"
        lines.append(Padding(_line(why, "dim"), (0, 0, 0, 2)))
    return lines


def _notes(notes: tuple[str, ...]) -> list[RenderableType]:
    lines = [_line(f"note: {clean(note)}", "dim") for note in notes]
    return [Text(), *lines] if lines else []


def _costs(result: FoldResult) -> list[RenderableType]:
    weights = f"weights {size(result.bytes_before)} -> {size(result.bytes_after)}"
    return [Text(), _line(f"{weights}; {_stages(result.timings)}", "dim")]


def _stages(timings: Timings) -> str:
    stages = {
        "load": timings.load,
        "plan": timings.plan,
        "apply": timings.apply,
        "validate": timings.validate,
        "save": timings.save,
    }
    total = sum(stages.values())
    each = ", ".join(f"{name} {seconds(value)}" for name, value in stages.items() if value >= 0.005)
    return f"{seconds(total)} s ({each})" if each else f"{seconds(total)} s"


def _after_fold(result: FoldResult, stopped: bool) -> str:
    path = _quoted(result.info.path)
    if stopped and (codes := _error_codes(result.findings)):
        return f"bnopt explain {next(iter(codes))}"
    if result.dry_run and result.summary.folded and not result.bound:
        return f"bnopt fold {path}"
    if result.summary.kept and result.validation is not None:
        return f"bnopt explain {_first_reason(result.sites)}"
    replaced = result.output is None or str(result.output) == result.info.path
    if result.summary.folded and not replaced and not result.bound:
        # Proven on generated inputs; the reader's own say more.
        data = " --data D" if result.validation is not None else ""
        return f"bnopt validate {path} {_quoted(str(result.output))}{data}"
    return f"bnopt explain {_first_reason(result.sites)}" if result.summary.kept else ""


def _error_codes(findings: tuple[Finding, ...]) -> dict[str, None]:
    return dict.fromkeys(finding.code for finding in findings if finding.severity == "error")


def _first_reason(sites: tuple[Site, ...]) -> str:
    return next(site.decision.reason for site in sites if isinstance(site.decision, Kept))


def _next(command: str) -> list[RenderableType]:
    return [Text(), _line("next: ", "dim").append(clean(command), "bold")] if command else []


def _quoted(path: str | None) -> str:
    return shlex.quote(_short(Path(path))) if path else "MODEL"


def _short(path: Path) -> str:
    """Relative to the working directory if it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _table(*columns: str) -> Table:
    """A table without lines; a column whose title ends in `>` is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for title in columns:
        right = title.endswith(">")
        table.add_column(
            title.rstrip(">"),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right,
        )
    return table


def _line(text: str, style: str = "") -> Text:
    line = Text(overflow="fold")
    return line.append(text, style)
