"""What tools/detection_curve.py makes of checked snapshots: rows, tables and a page."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import _tables

STATIC_CODES = ("never-updated", "half-updated", "one-step", "barely-updated")
DATA_CODES = ("stale-statistics", "wrong-data-range")
HARM = 0.01
"""Accuracy lost from which a snapshot counts as broken."""

CONVERGED = 0.01
"""Residue below which nothing of the initial values is left to speak of."""

Found = dict[str, str]


@dataclass(frozen=True)
class Snapshot:
    """One network after some steps.

    Attributes:
        decay: d.
        seed: Of the network.
        step: n.
        off: How far normalised values are off, in standard deviations.
        accuracy: With the moving statistics, 0 to 1.
        exact: With exact statistics.
        without: Code -> severity of the findings without data.
        with_data: The same with data.
    """

    decay: float
    seed: int
    step: int
    off: float
    accuracy: float
    exact: float
    without: Found
    with_data: Found

    @property
    def residue(self) -> float:
        return self.decay**self.step

    @property
    def loss(self) -> float:
        return self.exact - self.accuracy


@dataclass(frozen=True)
class Row:
    """All seeds of one decay and step; figures are means over them."""

    decay: float
    step: int
    of: tuple[Snapshot, ...]

    @property
    def time(self) -> float:
        """Steps in time constants of the average: n (1 - d)."""
        return self.step * (1 - self.decay)

    @property
    def loss(self) -> float:
        return fmean(one.loss for one in self.of)

    def caught(self, which: str) -> float:
        """Share of the seeds with a finding; `which` is `without` or `with_data`."""
        return fmean(bool(getattr(one, which)) for one in self.of)


def gravest(findings: Iterable[tuple[str, str]]) -> Found:
    """The gravest severity of each code, of (code, severity); infos are left out."""
    found = sorted(findings, key=lambda one: one[1] != "error")
    return {code: grave for code, grave in reversed(found) if grave != "info"}


def summarise(snapshots: Iterable[Snapshot]) -> list[Row]:
    """One row for each decay and step, in this order."""
    groups: dict[tuple[float, int], list[Snapshot]] = {}
    for one in snapshots:
        groups.setdefault((one.decay, one.step), []).append(one)
    return [Row(*key, tuple(groups[key])) for key in sorted(groups)]


def table(rows: Iterable[Row]) -> tuple[_tables.Row, list[_tables.Row]]:
    """Header and lines, one for each row."""
    header = "decay steps residue,off by,accuracy exact,no data,64 images,rules"
    names = [name for part in header.split(",") for name in _names(part)]
    return names, [
        (
            f"{row.decay:g}",
            str(row.step),
            _residue(row.decay**row.step),
            f"{fmean(one.off for one in row.of):.2f}",
            f"{fmean(one.accuracy for one in row.of):.1%}",
            f"{fmean(one.exact for one in row.of):.1%}",
            _cell(row, "without"),
            _cell(row, "with_data"),
            ", ".join(dict.fromkeys(c for one in row.of for c in (*one.without, *one.with_data))),
        )
        for row in rows
    ]


def limits(rows: Sequence[Row]) -> tuple[_tables.Row, list[_tables.Row]]:
    """For each decay and kind of evidence: how long all are caught, and what is missed then."""
    header = ("decay", "evidence", "all caught to", "n (1 - d)", "residue", "worst loss missed")
    lines: list[_tables.Row] = []
    for decay in dict.fromkeys(row.decay for row in rows):
        of_decay = [row for row in rows if row.decay == decay]
        for which, name in (("without", "no data"), ("with_data", "64 images")):
            missing = (i for i, row in enumerate(of_decay) if row.caught(which) < 1)
            last = of_decay[first - 1] if (first := next(missing, len(of_decay))) else None
            missed = [one.loss for row in of_decay for one in row.of if not getattr(one, which)]
            reach = ("-", "-", "-")
            if last is not None:
                reach = (f"step {last.step}", f"{last.time:.3g}", _residue(decay**last.step))
            worst = f"{100 * max(missed):.1f} points" if missed else "nothing missed"
            lines.append((f"{decay:g}", name, *reach, worst))
    return header, lines


def verdicts(snapshots: Sequence[Snapshot]) -> list[str]:
    """What it comes to, in numbers."""
    broken = [one for one in snapshots if one.loss >= HARM]
    sound = [one for one in snapshots if one.residue < CONVERGED and one.loss < HARM]
    lines = []
    for name, group in (
        (f"lose {100 * HARM:g} point of accuracy or more", broken),
        (f"lose less, with a residue below {CONVERGED:g}", sound),
    ):
        counts = []
        for which, how in (("without", "without data"), ("with_data", "with 64 images")):
            found = [getattr(one, which) for one in group]
            errors = sum("error" in each.values() for each in found)
            counts.append(f"{sum(map(bool, found))} are reported {how} ({errors} as errors)")
        lines.append(f"- Of {len(group)} snapshots that {name}, {' and '.join(counts)}.")
    return lines


def write(folder: Path, snapshots: Sequence[Snapshot], rows: Sequence[Row]) -> None:
    """Write detection.md and detection.svg."""
    from _detection_plot import draw

    (folder / "detection.md").write_text(page(snapshots, rows), encoding="utf-8")
    (folder / "detection.svg").write_text(draw(rows), encoding="utf-8")


def page(snapshots: Sequence[Snapshot], rows: Sequence[Row]) -> str:
    """docs/detection.md."""
    seeds = len({one.seed for one in snapshots})
    return PAGE.format(
        seeds=seeds,
        snapshots=len(snapshots),
        verdicts="\n".join(verdicts(snapshots)),
        limits=_tables.markdown(*limits(rows)),
        table=_tables.markdown(*table(rows)),
    )


def _names(part: str) -> list[str]:
    return [part] if part in ("off by", "no data", "64 images") else part.split()


def _residue(residue: float) -> str:
    return f"{residue:.3f}" if residue >= 0.001 else f"{residue:.0e}"


def _cell(row: Row, which: str) -> str:
    found = [getattr(one, which) for one in row.of]
    severities = {severity for each in found for severity in each.values()}
    grave = "error" if "error" in severities else "warning" if severities else ""
    return f"{sum(map(bool, found))}/{len(found)} {grave}".rstrip()


PAGE = """\
# From which step on is a half-converged batch norm caught?

A moving average starts at mean 0 and variance 1. After n steps of training with decay d (`momentum`
in Keras) a residue of d^n is left of that start. How large may it be before `bnopt check` misses
it, and what does a model lose that is missed?

![Share of networks caught and accuracy lost against n (1 - d), for three decays](detection.svg)

{verdicts}

How long every seed is caught, and the most accuracy that a missed snapshot loses:

{limits}

Without data only the numbers themselves can tell. Close to 0 and 1 they are suspicious; once the
data's own variances show through them, they look like any others, while the model is still wrong.
With data they are compared with what they should be, so what counts is how far they are off. Either
way 64 unlabelled samples are worth having, and after 5 time constants, n = 5 / (1 - d) steps, less
than 1 % of the start is left.

The accuracy lost is small at first only because a network of a few steps has little to lose.

## What was run

TensorFlow 1 code (`tf.compat.v1.layers`, update ops under the train op) on scikit-learn's digits,
8 x 8 pixels scaled to 0-1: three convolutions and a dense layer, each followed by a fused batch
norm of epsilon 0.001; Adam at 0.001, batches of 32. Seeds for each decay: {seeds}; snapshots after
each number of steps: {snapshots} in all. Each is frozen and converted by tf2onnx without
grappler and without tf2onnx's optimizers, so that every batch norm is still a node. Where these
have folded it, less can be seen without data: see [rules.md](rules.md).

One limit of `barely-updated`, that for a layer whose variances are nearly equal, was chosen on this
network and on 398 batch norms of public models. No other network was trained to test it.

Each snapshot is checked twice, statically: `bnopt.check(model, run=False)`, and with `data=` 64
training images, unlabelled. Caught means a warning or an error of one of the rules `never-updated`,
`half-updated`, `one-step` and `barely-updated`, and with data also of `stale-statistics` and
`wrong-data-range`.

## All numbers

Means over the seeds. *off by*: how far the moving statistics put normalised values off, in standard
deviations, in the layer where it is worst. *accuracy*: on 360 test images with the moving
statistics; in inference mode the batch size does not matter. *exact*: with the same weights, and
the moments of all training images as statistics; near what training in batches shows. The last
columns: seeds caught, with the gravest severity, and the rules.

{table}

This page and its plot are written by `make detection`
(`python tools/detection_curve.py --docs docs`).
"""
