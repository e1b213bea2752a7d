"""What was seen in the source before anything was frozen: findings, and variables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from bnopt.findings import Finding
from bnopt.report.exported import repaired_word
from bnopt.report.html.causes import box
from bnopt.report.html.markup import Cell, Column, badge, esc, name, note, short, table
from bnopt.report.text import plural
from bnopt.results import ExportResult

if TYPE_CHECKING:
    from bnopt.frontends.records import Variable

_STATISTICS = frozenset({"moving_mean", "moving_variance", "shadow"})
_COLUMNS = (
    Column("Variable"),
    Column("Role"),
    Column("Shape"),
    Column("Still initial", hint="whether it holds what it was initialised with"),
    Column("Smallest", numeric=True),
    Column("Largest", numeric=True),
)


def findings_section(result: ExportResult) -> str:
    """One box for each code, the most telling first, with its findings folded away."""
    by_code: dict[str, list[Finding]] = {}
    for finding in result.findings:
        by_code.setdefault(finding.code, []).append(finding)
    return "".join(_box(result, group) for group in by_code.values())


def _box(result: ExportResult, group: Sequence[Finding]) -> str:
    first = group[0]
    word = repaired_word(result, first)
    places = {finding.site for finding in group} - {None}
    return box(
        first,
        word=f"{first.severity}, {word}" if word else first.severity,
        count=plural(len(places), "batch norm") if places else "whole model",
        findings=group,
    )


def variables_section(variables: Sequence[Variable]) -> str:
    """How many still hold their initial values, and one row for each; empty without any."""
    if not variables:
        return ""
    rows = [_row(variable) for variable in variables]
    shown = table(_COLUMNS, rows, caption="Variables of batch norms", sortable=True)
    return shown + _initial_note(variables)


def _initial_note(variables: Sequence[Variable]) -> str:
    counts: dict[str, list[bool]] = {}
    for variable in variables:
        if variable.initial is not None:
            counts.setdefault(variable.role, []).append(variable.initial)
    each = ", ".join(
        f"{_words(role)} {sum(known)} of {len(known)}" for role, known in counts.items()
    )
    return note(f"Still as they were initialised: {esc(each)}.") if each else ""


def _row(variable: Variable) -> tuple[Cell, ...]:
    shape = " × ".join(map(str, variable.shape)) or "scalar"
    role = _words(variable.role)
    return (
        Cell(name(variable.name), variable.name),
        Cell(esc(role), role),
        Cell(shape, shape),
        _initial(variable),
        Cell(short(variable.low), variable.low),
        Cell(short(variable.high), variable.high),
    )


def _initial(variable: Variable) -> Cell:
    if variable.initial is None:
        return Cell("–")
    if variable.initial and variable.role in _STATISTICS:
        return Cell(badge("warn", "yes"), "0")
    return Cell("yes", "1") if variable.initial else Cell("no", "2")


def _words(role: str) -> str:
    return role.replace("_", " ")
