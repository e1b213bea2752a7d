"""What tools/calibration_table.py makes of its networks: tables, a verdict and a page."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

import _tables
from _tf_scripts import MISTAKES, Mistake

METHODS = ("precise", "sequential")
NETWORKS = ("broken", *METHODS, "proper", "exact")
BATCHES = (1, 32, 0)
"""Test images at a time; 0 for all at once."""

SAMPLES = 500
BATCH = 32
TOLERANCE = 0.5
"""Points of accuracy that a restored network may be off."""


@dataclass(frozen=True)
class Run:
    """One network that was broken and calibrated.

    Attributes:
        mistake: The name of what broke it.
        seed: Of its training.
        accuracy: Of each of `NETWORKS`, 0 to 1, one figure for each of `BATCHES`.
        by_hand: Accuracy of the broken network in TensorFlow once exact moments of the same
            samples, layer after layer, are put into its variables.
        draws: The same with other samples, as many each time.
        gamma: Least and largest of the trained network, over all batch norms.
        beta: Likewise.
    """

    mistake: str
    seed: int
    accuracy: dict[str, list[float]]
    by_hand: float
    draws: Sequence[float] = ()
    gamma: Sequence[float] = (1.0, 1.0)
    beta: Sequence[float] = (0.0, 0.0)

    def off(self, network: str) -> list[float]:
        """Points above the proper export, for each batch size."""
        pairs = zip(self.accuracy[network], self.accuracy["proper"], strict=True)
        return [_apart(here, proper) for here, proper in pairs]

    def luck(self) -> list[float]:
        """Points above the proper export, for each of the other draws."""
        return [_apart(here, self.accuracy["proper"][-1]) for here in self.draws]


def summary(runs: Sequence[Run]) -> tuple[_tables.Row, list[_tables.Row]]:
    """Header and lines: one for each mistake, medians over its seeds."""
    header = ("mistake", *NETWORKS, *(f"{method} off" for method in METHODS))
    lines: list[_tables.Row] = []
    for mistake, of in groups(runs):
        accuracies = (_cell(_medians(of, network)) for network in NETWORKS)
        offs = ([off for run in of for off in run.off(method)] for method in METHODS)
        spans = (" / ".join(map(_points, (median(x), min(x), max(x)))) for x in offs)
        lines.append((mistake.what, *accuracies, *spans))
    return header, lines


def details(runs: Sequence[Run]) -> tuple[_tables.Row, list[_tables.Row]]:
    """Header and lines: one for each network."""
    header = ("mistake", "seed", *NETWORKS, "by hand")
    lines: list[_tables.Row] = []
    for mistake, of in groups(runs):
        for run in of:
            accuracies = (_cell(run.accuracy[network]) for network in NETWORKS)
            lines.append((mistake.what, str(run.seed), *accuracies, _cell([run.by_hand])))
    return header, lines


def rows_lost(runs: Iterable[Run]) -> list[str]:
    """The mistakes that are to be restored, and whose median over seeds loses too much."""
    return [
        f"{mistake.what}: `{method}`"
        for mistake, of in groups(runs)
        if mistake.claimed
        for method in METHODS
        if median(off for run in of for off in run.off(method)) < -TOLERANCE
    ]


def failures(runs: Iterable[Run]) -> list[str]:
    """A line for each network that is to be restored and loses too much."""
    return [
        f"{mistake.what}, seed {run.seed}: `{method}` is {_points(low)} points off"
        for mistake, of in groups(runs)
        if mistake.claimed
        for run in of
        for method in METHODS
        if (low := min(run.off(method))) < -TOLERANCE
    ]


def verdicts(runs: Sequence[Run]) -> list[str]:
    """What it comes to, in numbers."""
    lines: list[str] = []
    for claimed, what in ((True, "Wrong statistics only"), (False, "More lost than statistics")):
        of = [run for mistake, each in groups(runs) if mistake.claimed is claimed for run in each]
        if not of:
            continue
        lost = -min(off for run in of for off in run.off("broken"))
        lines.append(f"- {what}, {len(of)} in all: broken, up to {lost:.1f} points lost.")
        for method in METHODS:
            below = sum(min(run.off(method)) < -TOLERANCE for run in of)
            above = sum(max(run.off(method)) > TOLERANCE >= -min(run.off(method)) for run in of)
            offs = [off for run in of for off in run.off(method)]
            lines.append(
                f"  - `{method}`: {len(of) - below - above} within {TOLERANCE:g} point of proper, "
                f"{below} below, {above} above: {_points(min(offs))} to {_points(max(offs))}."
            )
        if luck := [off for run in of for off in run.luck()]:
            below = sum(off < -TOLERANCE for off in luck)
            lines.append(
                f"  - By hand with other samples, {len(luck)} draws: {below} more than "
                f"{TOLERANCE:g} point below: {_points(min(luck))} to {_points(max(luck))}."
            )
    return lines + [f"- More than {TOLERANCE:g} point below: {line}." for line in failures(runs)]


def page(runs: Sequence[Run]) -> str:
    """docs/calibration_table.md."""
    mistakes = [(mistake.what, mistake.how) for mistake, _ in groups(runs)]
    return PAGE.format(
        seeds=len({run.seed for run in runs}),
        summary=_tables.markdown(*summary(runs)),
        verdicts="\n".join(verdicts(runs)),
        lost=_lost(runs),
        mistakes=_tables.markdown(("mistake", "in the script"), mistakes),
        details=_tables.markdown(*details(runs)),
    )


def groups(runs: Iterable[Run]) -> list[tuple[Mistake, list[Run]]]:
    """The runs of each mistake that has any, in the order of `MISTAKES` and of the seeds."""
    runs = sorted(runs, key=lambda run: run.seed)
    found = [(m, [run for run in runs if run.mistake == m.name]) for m in MISTAKES]
    return [(mistake, chosen) for mistake, chosen in found if chosen]


def _apart(here: float, there: float) -> float:
    """In points; rounded, as a difference of shares is not quite the number that it stands for."""
    return round(100 * (here - there), 6)


def _medians(runs: Sequence[Run], network: str) -> list[float]:
    return [median(each) for each in zip(*(run.accuracy[network] for run in runs), strict=True)]


def _cell(shares: Sequence[float]) -> str:
    """Percentages for each batch size; one figure if they are the same."""
    figures = [f"{100 * share:.1f}" for share in shares]
    return figures[0] if len(set(figures)) == 1 else " / ".join(figures)


def _lost(runs: Sequence[Run]) -> str:
    """What can be said of gamma and beta that are lost."""
    of = [run for mistake, each in groups(runs) if not mistake.claimed for run in each]
    text = LOST
    if of:
        gamma, beta = ([x for run in of for x in getattr(run, name)] for name in ("gamma", "beta"))
        text += (
            f" In these networks gamma went from {min(gamma):.2f} to {max(gamma):.2f} in training "
            f"and beta from {min(beta):.2f} to {max(beta):.2f}; the layers behind can do without. "
            "Others may not, so that row claims nothing."
        )
    return textwrap.fill(text, 99)


def _points(off: float) -> str:
    return f"{off:+.2f}" if round(off, 2) else "0.00"


LOST = (
    "Calibration measures statistics. A trained gamma or beta that the export no longer holds, as "
    "with a wrong scope, it cannot know: they stay 1 and 0. What comes out is normalised, but it "
    "is not what was learnt; whoever has the checkpoint should export it again."
)

PAGE = """\
# Does calibration bring accuracy back?

Networks are trained in TensorFlow 1 style on real data, by a script with one of the usual mistakes
and, with the same seed and so to the same weights, by a script without it. `bnopt calibrate` gets
the broken export and 500 unlabelled training images.

{summary}

Test accuracy in %, the median of {seeds} seeds; where it depends on the batch, at batch 1 / 32 /
all 360 test images. *broken* is the export with the mistake, *precise* and *sequential* are
calibrated from it, *proper* is the export without the mistake, and *exact* that with the moments
of all training images in place of its moving averages. *off*: how many points the calibrated
network is above the proper one; the median, the worst and the best over seeds and batch sizes. One
test image is 0.28 points.

{verdicts}

## What this shows, and what not

A network in training mode looks sound while it reads shuffled images in batches as large as those
of training. One image at a time shows what it is worth.

{lost}

Which 500 images are drawn decides about one or two of the 360 test images, in TensorFlow as here:
*by hand* below is off in the same way. How often that is more than 0.5 point, the
other draws above say; the verdict is about the one draw that was calibrated from, of every seed.

Digits of 8 x 8 pixels are easy, and 500 of them give 8 000 or 32 000 numbers for each channel of a
convolution, but 500 for one of the dense layer. Noisier data need more samples.

## What was run

Scikit-learn's digits, scaled to 0-1, 1 437 to train on and 360 to test on. Three convolutions and a
dense layer, each followed by a batch norm of epsilon 0.001, in `tf.compat.v1.layers`; Adam at
0.001, 1000 batches of 32, decay 0.99. The networks of 50 steps have batches of 128 and Adam at
0.01, to learn as much as they can, and properly a decay of 0.9. That both scripts train the same
weights is checked, bit for bit. The mistakes:

{mistakes}

Every network is frozen and converted by tf2onnx without grappler and without tf2onnx's optimizers.
These fold batch norms into convolutions, wrong statistics too, and where that has happened nothing
is left to calibrate: see [rules.md](rules.md).

The calls are `bnopt.calibrate("broken.onnx", "unlabelled.npz", method=..., samples=500, seed=...,
batch_size=32)`; for the switch also `set_inputs={{"is_training": False}}`. Accuracy is that of the
ONNX files in onnxruntime on the CPU.

## All networks

*by hand* is the broken network in TensorFlow after the moments of the same 500 images were put into
its variables, one layer after another: what `sequential` should come to. The same was done with
other draws of 500 images, to see how much of a result is luck; the outcome stands above.

{details}

This page is written by `make calibration`
(`python tools/calibration_table.py --markdown docs/calibration_table.md`).
"""
