"""What stands on the page of an export."""

from __future__ import annotations

from bnopt.report.exported import calibration_of, framework_name, stage_seconds, variables_of
from bnopt.report.html import audit, calibration
from bnopt.report.html.export.agreement import agreement_section
from bnopt.report.html.export.source import findings_section, variables_section
from bnopt.report.html.export.verdict import verdict
from bnopt.report.html.facts import fold_facts, format_facts, written_fact
from bnopt.report.html.markup import esc, facts, name, section
from bnopt.report.text import stages
from bnopt.results import ExportResult


def parts(result: ExportResult, stopped: bool, why: str) -> list[str]:
    """The page of an export, below its name: what the source was, then what fold made of it.

    Args:
        result: What to show.
        stopped: Whether an error kept the command from finishing.
        why: The error's line.
    """
    shown = [
        verdict(result, stopped, why),
        _facts(result),
        section("Findings in the source", findings_section(result)),
        section(f"Agreement with {framework_name(result)}", agreement_section(result)),
        section("Variables of batch norms", variables_section(variables_of(result))),
    ]
    repair, fold = calibration_of(result), result.fold
    if repair is not None and (fold is None or fold.calibration is None):
        shown.append(calibration.step_section(repair))
    if fold is not None:
        shown += audit.sections(fold, stopped, findings="Findings in the converted model")
    return shown


def _facts(result: ExportResult) -> str:
    items = [
        ("Source", name(result.source)),
        ("Kind", esc(result.kind)),
        ("Framework", esc(result.framework)),
        *([] if result.info is None else format_facts(result.info)),
        *([] if result.fold is None else fold_facts(result.fold)),
        written_fact(result.output),
        ("Time", stages(stage_seconds(result))),
    ]
    return facts(items)
