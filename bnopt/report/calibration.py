"""A calibration for a reader at a terminal: what was replaced, and how far off it had been."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from bnopt.evidence import Recalibrated, Uncalibrated
from bnopt.findings import Validation
from bnopt.report.causes import FEW
from bnopt.report.comparison import comparison
from bnopt.report.layout import WIDTH, about, indented, line, next_step, notes, table
from bnopt.report.recalibrated import (
    counted,
    how,
    mean_off,
    next_command,
    proven,
    ratio_range,
    stage_seconds,
    stored_none,
    were_right,
    worst_first,
)
from bnopt.report.text import FORMS, clean, number, plural, short_path, stages
from bnopt.results import CalibrateResult

ROWS = 20
_TITLES = ("channels>", "form", "mean off by>", "spread>", "off by>")
_LEGEND = (
    "off by: what the old statistics put normalised values off by (rms); mean off by: the largest "
    "shift of a channel; both in standard deviations; spread: old over new standard deviation, "
    "smallest to largest channel"
)


def calibrate_text(
    result: CalibrateResult, *, stopped: bool = False, verbose: bool = False
) -> RenderableType:
    """A calibration.

    Args:
        result: What to show.
        stopped: Whether an error kept the command from finishing.
        verbose: Whether to list every batch norm.
    """
    parts: list[RenderableType] = [_headline(result, stopped), about(result.info)]
    parts += _layers(result.layers, None if verbose else ROWS)
    parts += _kept(result.kept, None if verbose else FEW)
    if result.layers:
        parts += [Text(), line(how(result), "dim")]
    if result.proof is not None:
        parts += _proof(result.proof)
    parts += notes(result.notes)
    parts += [Text(), line(stages(stage_seconds(result)), "dim")]
    if not stopped:
        parts += next_step(next_command(result))
    return Group(*parts)


def calibration_lines(result: CalibrateResult) -> list[RenderableType]:
    """A calibration that was a step of something else."""
    head = line(f"calibrated {counted(result)}", "bold")
    if were_right(result):
        head.append("; the statistics were already the data's", "green")
    elif result.layers:
        first = worst_first(result.layers)[0]
        head.append(f"; furthest off: {clean(first.name)}, {_in_words(first)}")
    parts: list[RenderableType] = [Text(), head, indented(line(how(result), "dim"))]
    if result.proof is not None:
        parts.append(indented(_proof_line(result.proof)))
    return parts


def _headline(result: CalibrateResult, stopped: bool) -> Text:
    if not result.layers and not result.kept:
        return line("no batch norm found, nothing to calibrate", "yellow")
    head = line(f"calibrated {counted(result)}", "bold")
    if were_right(result):
        head.append("; the statistics were already the data's", "green")
    if result.proof is not None and result.proof.equivalent is False:
        head.append("; rewritten batch norms are NOT equivalent", "bold red")
    if stopped:
        return head.append("; stopped, nothing written", "bold red")
    if result.output is None:
        return head.append("; nothing written", "yellow")
    return head.append(f"; wrote {clean(short_path(result.output))}", "bold")


def _layers(layers: Sequence[Recalibrated], most: int | None) -> list[RenderableType]:
    if not layers:
        return []
    ranked = worst_first(layers)
    shown = ranked[:most]
    names = [clean(layer.name) for layer in shown]
    cells = [(str(len(layer.mean)), FORMS[layer.form], *_numbers(layer)) for layer in shown]
    titles = (title.rstrip(">") for title in _TITLES)
    widths = (max(map(len, column)) for column in zip(titles, *cells, strict=True))
    if max(map(len, names)) + sum(width + 2 for width in widths) <= WIDTH:
        rows = table("batch norm", *_TITLES)
        for name, row in zip(names, cells, strict=True):
            rows.add_row(name, *row)
        parts: list[RenderableType] = [Text(), rows]
    else:
        # Names would leave the numbers no room.
        parts = [Text(), line("calibrated", "bold")]
        for layer in shown:
            about = f"{plural(len(layer.mean), 'channel')}, {FORMS[layer.form]}: {_in_words(layer)}"
            parts += [line(clean(layer.name)), indented(line(about, "dim"))]
    if len(ranked) > len(shown):
        more = f"... and {len(ranked) - len(shown)} more, --json lists all"
        parts.append(line(more, "dim"))
    if any(layer.off is not None for layer in shown):
        parts.append(line(_LEGEND, "dim"))
    return parts


def _numbers(layer: Recalibrated) -> tuple[str, str, str]:
    if stored_none(layer):
        return "none stored", "-", "-"
    return number(mean_off(layer)), _spread(layer), number(layer.off)


def _in_words(layer: Recalibrated) -> str:
    if stored_none(layer):
        return "none stored"
    mean, spread, off = _numbers(layer)
    return f"mean off by {mean}, spread {spread}, off by {off}"


def _spread(layer: Recalibrated) -> str:
    bounds = ratio_range(layer)
    if bounds is None:
        return "-"
    low, high = (number(bound) for bound in bounds)
    return low if low == high else f"{low}..{high}"


def _kept(kept: Sequence[Uncalibrated], most: int | None) -> list[RenderableType]:
    by_reason: dict[str, list[Uncalibrated]] = {}
    for each in kept:
        by_reason.setdefault(each.reason, []).append(each)
    parts: list[RenderableType] = []
    for reason, mine in by_reason.items():
        head = line("kept", "bold").append(f" {reason}: {plural(len(mine), 'batch norm')}")
        parts += [Text(), head]
        for each in mine[:most]:
            name = "" if each.name in each.message else f"{clean(each.name)}: "
            parts.append(indented(line(f"{name}{clean(each.message)}")))
        if most is not None and len(mine) > most:
            more = f"... and {len(mine) - most} more, --json lists all"
            parts.append(indented(line(more, "dim")))
    return parts


def _proof(proof: Validation) -> list[RenderableType]:
    return [Text(), _proof_line(proof), *comparison(proof)]


def _proof_line(proof: Validation) -> Text:
    style = {True: "green", False: "bold red", None: "yellow"}[proof.equivalent]
    return line(proven(proof), style)
