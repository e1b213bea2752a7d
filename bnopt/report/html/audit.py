"""What stands on the page of a check or a fold, and of an export that ended in a fold."""

from __future__ import annotations

from bnopt.report.html import calibration
from bnopt.report.html.behaviour import behaviour_section
from bnopt.report.html.causes import causes_section
from bnopt.report.html.details import details_section
from bnopt.report.html.facts import audit_facts
from bnopt.report.html.layers import layers
from bnopt.report.html.markup import section
from bnopt.report.html.overview import overview
from bnopt.report.html.proof import nodes_section, validation_section
from bnopt.report.html.sites import site_table
from bnopt.report.html.verdict import verdict
from bnopt.report.html.wording import is_planned
from bnopt.results import CheckResult, FoldResult


def parts(result: CheckResult | FoldResult, stopped: bool) -> list[str]:
    """The page of a check or a fold, below its name."""
    return [verdict(result, stopped), audit_facts(result), *sections(result, stopped)]


def sections(
    result: CheckResult | FoldResult, stopped: bool, *, findings: str = "Findings by cause"
) -> list[str]:
    """What stands below the verdict and the facts.

    Args:
        result: What to show.
        stopped: Whether an error kept the command from finishing.
        findings: The title above what was found.
    """
    every = layers(result)
    planned = is_planned(result, stopped)
    shown = [section(findings, causes_section(result, every))]
    if isinstance(result, FoldResult):
        if result.calibration is not None:
            shown.append(calibration.step_section(result.calibration))
        shown.append(section("Validation", validation_section(result.validation)))
        shown.append(section("Nodes", nodes_section(result.node_counts)))
    table = site_table(every, planned=planned, numbers_first=isinstance(result, CheckResult))
    shown.append(section("Overview", overview(every)))
    shown.append(section("All batch norms", table))
    if isinstance(result, CheckResult):
        shown.append(section("Behaviour", behaviour_section(result.behaviour)))
    if every:
        shown.append(section("One by one", details_section(every, planned=planned)))
    return shown
