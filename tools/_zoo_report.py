"""What tools/zoo_table.py makes of the programs of the zoo: rows, verdicts and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import _tables
from zoo.catalog import PROGRAMS
from zoo.program import LEARNT, Program

BATCHES = (1, 8)
TOLERANCE = 1e-4
"""Largest error over the largest output of TensorFlow, in single precision."""

HALF_TOLERANCE = 1e-2
"""The same where TensorFlow computes in half precision and rounds in another order."""

GROUPS = {
    1: "`batch_norm_with_global_normalization`",
    2: "A helper class with an ExponentialMovingAverage",
    3: "contrib and slim `batch_norm`",
    4: "`tf.cond` over two towers",
    5: "`tf.nn.moments` and `assign_moving_average`",
    6: "A small layer of one's own",
    7: "Fully connected layers",
    8: "Two fully convolutional layers on 512 x 512 x 3",
    9: "tf.layers, Keras 3, tf-keras",
}


@dataclass(frozen=True)
class Taken:
    """What came of one way through bnopt.

    Attributes:
        findings: Code -> gravest severity of what is wrong.
        found: Batch norms in the ONNX model.
        folded: Those that were folded or merged.
        kept: Reasons of those that were not.
        accuracy: Of the folded model on the test images, one at a time, in onnxruntime.
        error: What stopped it, in one line; empty if nothing did.
    """

    findings: Mapping[str, str] = field(default_factory=dict)
    found: int = 0
    folded: int = 0
    kept: Sequence[str] = ()
    accuracy: float = 0.0
    error: str = ""

    @property
    def errors(self) -> list[str]:
        """Codes of the errors among the findings."""
        return [code for code, severity in self.findings.items() if severity == "error"]


@dataclass(frozen=True)
class Row:
    """One program of the zoo, trained and taken through bnopt.

    Attributes:
        name: The program's.
        kind: How it was saved.
        accuracy: In TensorFlow, on the test images.
        export: The export; of a wrong program with its findings allowed.
        off: Batch size -> largest difference from TensorFlow's outputs over the largest of them.
        repaired: What the repair gave; None where there is none.
    """

    name: str
    kind: str
    accuracy: float
    export: Taken
    off: Mapping[str, float] = field(default_factory=dict)
    repaired: Taken | None = None

    @staticmethod
    def of(told: Mapping[str, Any]) -> Row:
        """From JSON."""
        repaired = told.get("repaired")
        return Row(
            **{
                **told,
                "export": Taken(**told["export"]),
                "repaired": Taken(**repaired) if repaired else None,
            }
        )

    @property
    def delivered(self) -> Taken | None:
        """What a user gets in the end; None where nothing undoes the mistake."""
        if self.program.mistake is None or self.program.repair == "export":
            return self.export
        return self.repaired

    @property
    def program(self) -> Program:
        """What the row is about."""
        return next(program for program in PROGRAMS if program.name == self.name)


def failures(row: Row) -> list[str]:
    """Why a row does not pass; empty if it does."""
    program, export = row.program, row.export
    if export.error:
        return [f"export: {export.error}"]
    why: list[str] = []
    if program.mistake is not None and not set(program.codes) & set(export.findings):
        why.append(f"none of {', '.join(program.codes)} was found")
    tolerance = HALF_TOLERANCE if program.options.get("policy") else TOLERANCE
    for batch in () if program.random else map(str, BATCHES):
        if batch not in row.off:
            why.append(f"not compared with TensorFlow at batch {batch}")
        elif not row.off[batch] <= tolerance:
            why.append(f"batch {batch} is {row.off[batch]:.1e} away from TensorFlow")
    if row.delivered is not None:
        why += _not_clean("export" if row.delivered is export else "repair", row.delivered)
    elif program.repair != "none":
        why.append("was not repaired")
    return why


def _not_clean(step: str, taken: Taken) -> list[str]:
    """Why a model is not one to deliver."""
    if taken.error:
        return [f"{step}: {taken.error}"]
    why: list[str] = []
    if taken.errors:
        why.append(f"{step}: still {', '.join(taken.errors)}")
    if not taken.found or taken.folded < taken.found:
        reasons = ", ".join(sorted(set(taken.kept)))
        why.append(f"{step}: folded {taken.folded} of {taken.found} ({reasons})")
    if taken.accuracy < LEARNT:
        why.append(f"{step}: reads {taken.accuracy:.0%}")
    return why


HEADER = ("program", "what", "saved as", "check", "repair", "folded", "err 1", "err 8", "accuracy")


def lines(rows: Sequence[Row]) -> list[_tables.Row]:
    """A line for each row, under `HEADER`."""
    return [_line(row) for row in rows]


def _line(row: Row) -> _tables.Row:
    program, export = row.program, row.export
    start = (program.name, program.what, row.kind)
    repair = "" if program.mistake is None else program.repair
    if export.error:
        return (*start, "failed", repair, "0/0", "", "", "")
    named = [code for code in program.codes if code in export.findings]
    accuracy = f"{100 * export.accuracy:.1f}"
    if row.repaired is not None:
        accuracy += f" -> {100 * row.repaired.accuracy:.1f}"
    return (
        *start,
        ", ".join(named or export.errors) or "right",
        repair,
        "" if row.delivered is None else f"{row.delivered.folded}/{row.delivered.found}",
        *("random" if program.random else _figure(row.off.get(str(batch))) for batch in BATCHES),
        accuracy,
    )


def _figure(off: float | None) -> str:
    return "" if off is None else f"{off:.0e}"


def summary(rows: Sequence[Row]) -> list[str]:
    """What it comes to."""
    right = [row for row in rows if row.program.mistake is None]
    wrong = [row for row in rows if row.program.mistake is not None]
    clean = sum(not (row.export.error or row.export.errors) for row in right)
    caught = sum(bool(set(row.program.codes) & set(row.export.findings)) for row in wrong)
    stopped = sum("error" in map(row.export.findings.get, row.program.codes) for row in wrong)
    delivered = [row.delivered for row in rows if row.delivered is not None]
    folded, of = (sum(getattr(one, name) for one in delivered) for name in ("folded", "found"))
    off = max((value for row in rows for value in row.off.values()), default=0.0)
    bad = {row.name: why for row in rows if (why := failures(row))}
    return [
        f"- {len(right)} right programs: {clean} without an error.",
        f"- {len(wrong)} wrong programs: {caught} caught, {stopped} of them as an error.",
        f"- {len(delivered)} models delivered: {folded} of {of} batch norms folded.",
        f"- Largest error against TensorFlow: {off:.1e} of its largest output.",
        f"- Rows that pass: {len(rows) - len(bad)} of {len(rows)}.",
        *(f"- Fails: `{name}`: {'; '.join(why)}." for name, why in bad.items()),
    ]


def page(rows: Sequence[Row]) -> str:
    """docs/zoo.md."""
    tables: list[str] = []
    for group, title in GROUPS.items():
        of = [row for row in rows if row.program.group == group]
        if of:
            tables += [f"## {group}. {title}", _tables.markdown(HEADER, lines(of))]
    return PAGE.format(summary="\n".join(summary(rows)), tables="\n\n".join(tables), least=LEARNT)


PAGE = """\
# The zoo

Every way to write batch norm that people ask about, as a program in TensorFlow or Keras: a right
one and, where there is a usual mistake, a wrong one. Each is trained on real data, saved as such
programs are, and taken through `bnopt export`.

{summary}

How to read the tables: *check* is `right`, or the finding that names the mistake, of the export or
of `bnopt check` with 256 training images. *repair* is what
undoes a mistake after the export: `calibrate` takes statistics from 256 training images,
`set-inputs` binds `is_training`, `export` says that the export itself has done it, `none` that
nothing does but to export another tower. *folded* counts the batch norms of the model that is
delivered, after repair. *err 1* and *err 8* are the largest difference between the exported model
in onnxruntime and TensorFlow's own outputs at batch 1 and 8, over the largest output; of wrong
programs it is that before repair, mistake and all. *accuracy* is that of the ONNX model on held-out
images, one at a time, in %, before and after repair.

A row passes if a right program exports without an error and folds completely, a wrong one is
caught, its repair is then without an error and folds completely, models to be delivered read at
least {least:.0%}, and the errors are rounding.

{tables}

The data are scikit-learn's digits; the programs of the eighth family see them blown up to
512 x 512, in random colours and with noise, and say which pixels are ink. They are in `tools/zoo/`.
This page is written by `python tools/zoo_table.py --markdown docs/zoo.md`.
"""
