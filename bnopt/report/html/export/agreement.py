"""What the model computes against what the framework does, per batch size and output."""

from __future__ import annotations

from bnopt.evidence import Agreement
from bnopt.report.exported import calibration_of
from bnopt.report.html.markup import Cell, Column, badge, esc, name, note, short, table
from bnopt.results import ExportResult

_COLUMNS = (
    Column("Output"),
    Column("Batch", numeric=True, hint="samples in the batch"),
    Column("Verdict"),
    Column("Largest error", numeric=True, hint="largest |ONNX - framework|"),
    Column("Tolerance", numeric=True, hint="the error that was allowed"),
    Column("Relative", numeric=True, hint="over the framework's largest value"),
)


def agreement_section(result: ExportResult) -> str:
    """One row for each output and batch size, those that differ first; empty if not compared."""
    if not result.agreement:
        return ""
    rows = [_row(one) for one in sorted(result.agreement, key=lambda one: one.ok)]
    shown = table(
        _COLUMNS, rows, caption="Agreement with the framework's own outputs", sortable=True
    )
    text = f"Outputs of the ONNX model against those of {result.framework} on the same inputs."
    if calibration_of(result) is not None:
        text += (
            " Compared was the converted model, before statistics were taken from data: the "
            "framework still has the old ones."
        )
    return shown + note(esc(text))


def _row(one: Agreement) -> tuple[Cell, ...]:
    verdict = badge("good", "within") if one.ok else badge("bad", "differs")
    return (
        Cell(name(one.output), one.output),
        Cell(str(one.batch), float(one.batch)),
        Cell(verdict, "1" if one.ok else "0"),
        *(Cell(short(number), number) for number in (one.max_abs, one.tolerance, one.max_rel)),
    )
