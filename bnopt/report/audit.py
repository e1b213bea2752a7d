"""A check for a reader at a terminal: the verdict with its most likely cause, then the rest."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from bnopt.findings import REPAIRABLE, Cause
from bnopt.report.causes import FEW, STYLE, grouped
from bnopt.report.grouping import is_allowed, leading
from bnopt.report.layout import about, first_reason, line, next_step, notes
from bnopt.report.text import clean, plural, quoted, seconds
from bnopt.results import CheckResult


def check_text(result: CheckResult, *, verbose: bool = False) -> RenderableType:
    """A check; `verbose` lists every finding."""
    cause = leading(result)
    if cause is None:
        parts: list[RenderableType] = [_clean(result), about(result.info)]
    else:
        parts = [_headline(result, cause), about(result.info)]
        parts += grouped(
            result.findings,
            result.causes,
            result.sites,
            allowed=result.allowed,
            said=cause,
            most=None if verbose else FEW,
            more="--verbose",
        )
        parts += [Text(), _looked_at(result)]
    parts += notes(result.notes)
    parts += next_step(_next(result, cause))
    return Group(*parts)


def _headline(result: CheckResult, cause: Cause) -> Text:
    if not result.ok:
        start, style = "NOT ok: ", STYLE["error"]
    elif is_allowed(cause.code, result.allowed):
        start, style = "allowed: ", STYLE["warning"]
    else:
        start, style = "no error, but ", STYLE[cause.severity]
    return line(start, style).append(clean(cause.message), "bold")


def _clean(result: CheckResult) -> Text:
    if not result.sites:
        return line("no batch norm found, nothing to check", "yellow")
    done = [f"{plural(len(result.sites), 'batch norm')} checked", _run(result)]
    if result.samples:
        done.append(f"statistics compared with {plural(result.samples, 'sample')}")
        return line(f"clean: {', '.join(done)}", "bold green")
    done.append("statistics not compared with data (--data D does)")
    return line(f"clean: {', '.join(done)}", "bold green")


def _looked_at(result: CheckResult) -> Text:
    # Those that an exporter has folded away are no sites, but causes count them.
    total = max(len(result.sites), *(cause.of for cause in result.causes))
    found = plural(total, "batch norm")
    if total > len(result.sites):
        found += f" ({total - len(result.sites)} folded before)"
    data = "no data given (--data D compares the statistics with real ones)"
    if result.samples:
        data = f"measured {plural(result.samples, 'sample')} of data"
    text = f"looked at {found}, {_run(result)}, {data}; {seconds(result.seconds)} s"
    return line(text, "dim")


def _run(result: CheckResult) -> str:
    behaviour = result.behaviour
    if behaviour is None:
        return "model not run"
    if not behaviour.outputs:
        return "model could not be run"
    return f"model run on a batch of {behaviour.batch}"


def _next(result: CheckResult, cause: Cause | None) -> str:
    summary = result.summary
    if cause is not None and _is_repairable(result):
        return f"bnopt calibrate {quoted(result.info.path)} --data D"
    if cause is not None:
        return f"bnopt explain {cause.code}"
    if summary.folded + summary.merged + summary.lowered:
        return f"bnopt fold {quoted(result.info.path)}"
    return f"bnopt explain {first_reason(result.sites)}" if summary.kept else ""


def _is_repairable(result: CheckResult) -> bool:
    """Whether data would repair what is wrong with a batch norm that is still in the model."""
    counted = [
        finding
        for finding in result.findings
        if finding.severity != "info" and not is_allowed(finding.code, result.allowed)
    ]
    if any(finding.code == "wrong-data-range" for finding in counted):
        # The data that is at hand would make it worse.
        return False
    sites = {site.id for site in result.sites}
    return any(finding.code in REPAIRABLE and finding.site in sites for finding in counted)
