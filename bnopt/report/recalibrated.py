"""What every format says of a calibration: how far off statistics were, and how data was run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bnopt.evidence import Recalibrated
from bnopt.findings import Validation
from bnopt.report.text import plural, quoted
from bnopt.results import CalibrateResult

NEGLIGIBLE = 0.05
"""Standard deviations; statistics that put values off by less were those of the data."""


def stored_none(layer: Recalibrated) -> bool:
    """Whether the original had no statistics of its own there."""
    return layer.old_mean is None or layer.old_variance is None


def mean_off(layer: Recalibrated) -> float | None:
    """The largest |shift| of a channel, in standard deviations; NaN if one is NaN."""
    bounds = _bounds(abs(shift) for shift in layer.shift or ())
    return None if bounds is None else bounds[1]


def ratio_range(layer: Recalibrated) -> tuple[float, float] | None:
    """The smallest and the largest ratio of a channel; NaN if one is NaN."""
    return _bounds(layer.ratio or ())


def _bounds(numbers: Iterable[float]) -> tuple[float, float] | None:
    values = list(numbers)
    if any(math.isnan(value) for value in values):
        return math.nan, math.nan
    return (min(values), max(values)) if values else None


def worst_first(layers: Sequence[Recalibrated]) -> list[Recalibrated]:
    """Those that were furthest off first, those that had stored nothing last."""

    def rank(layer: Recalibrated) -> float:
        if layer.off is None:
            return 1.0
        return -math.inf if math.isnan(layer.off) else -layer.off

    return sorted(layers, key=rank)


def is_negligible(layer: Recalibrated) -> bool:
    """Whether the old statistics were those of the data already."""
    return layer.off is not None and layer.off < NEGLIGIBLE


def were_right(result: CalibrateResult) -> bool:
    """Whether all old statistics were those of the data already."""
    return bool(result.layers) and all(map(is_negligible, result.layers))


def counted(result: CalibrateResult) -> str:
    """`5 of 6 batch norms from 500 samples`."""
    total = plural(len(result.layers) + len(result.kept), "batch norm")
    return f"{len(result.layers)} of {total} from {plural(result.samples, 'sample')}"


def how(result: CalibrateResult) -> str:
    """One sentence on how the data was run."""
    size = result.batch_size
    batches = "in the batches they came in" if size is None else f"in batches of {size}"
    order = "in order" if result.seed is None else f"shuffled with seed {result.seed}"
    passes = {0: "not at all", 1: "once", 2: "twice"}.get(result.passes, f"{result.passes} times")
    text = (
        f"method {result.method}: {plural(result.samples, 'sample')} {batches}, {order}, "
        f"run {passes} on {result.provider} with engine {result.engine}"
    )
    if result.resumed:
        text += f"; {plural(result.resumed, 'batch', 'es')} taken from an earlier run"
    return text


def proven(proof: Validation) -> str:
    """What the comparison of the rewritten model with the original came to."""
    if proof.equivalent is None:
        return "rewritten batch norms could not be compared with the original on its own batch"
    verb = "reproduce" if proof.equivalent else "do NOT reproduce"
    return f"rewritten batch norms {verb} the original on its own batch"


def stage_seconds(result: CalibrateResult) -> dict[str, float]:
    """Wall seconds of each stage, by what it does."""
    times = result.timings
    return {
        "load": times.load,
        "rewrite": times.plan,
        "measure": times.calibrate,
        "prove": times.validate,
        "save": times.save,
    }


def next_command(result: CalibrateResult) -> str:
    """The command to run next; empty if there is none that helps."""
    if result.proof is not None and result.proof.equivalent is False:
        return ""
    if result.output is not None:
        return f"bnopt fold {quoted(result.output)}"
    if result.layers:
        return f"bnopt calibrate {quoted(result.info.path)} --data D -o OUT"
    return f"bnopt explain {result.kept[0].reason}" if result.kept else ""
