"""One output of one run: is the candidate close enough, and where is it furthest?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.findings import OutputComparison, Worst
from bnopt.judge.compare import (
    difference,
    exact_mismatch,
    figures,
    is_float,
    magnitude,
    spread,
)
from bnopt.judge.tolerance import Yardstick, allowed, disagrees

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from numpy.typing import NDArray

    Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fixed:
    """A tolerance given by the user: `atol + rtol * |original|`, per element."""

    rtol: float
    atol: float


@dataclass(frozen=True, slots=True)
class Judged:
    """One output of one run.

    Attributes:
        ratio: Error over allowed error at the deciding element; more than 1 is too much.
        comparison: The figures, with its verdict.
        distrusted: Reference and onnxruntime disagree about the original.
    """

    ratio: float
    comparison: OutputComparison
    distrusted: bool = False


def failed(name: str, message: str) -> Judged:
    """An output that could not even be subtracted."""
    comparison = OutputComparison(
        name=name,
        equivalent=False,
        max_abs=math.inf,
        max_rel=math.inf,
        ulp=math.inf,
        snr_db=-math.inf,
        tolerance=0.0,
        message=message,
    )
    return Judged(math.inf, comparison)


def judge(
    name: str,
    candidate: NDArray[Any] | None,
    yardstick: Yardstick,
    share: Sequence[Doubles],
    run: str,
    fixed: Fixed | None = None,
) -> Judged:
    """Compare one output of one run.

    Args:
        name: The output's name.
        candidate: What the candidate computed; None if it gave no such output.
        yardstick: What the original did.
        share: See `tolerance.shares`.
        run: Description of the run, for messages.
        fixed: A fixed tolerance instead of the measured one.
    """
    original = yardstick.original
    if candidate is None:
        return failed(name, f"the candidate does not give output '{name}' ({run})")
    if candidate.shape != original.shape:
        if any(other.shape != original.shape for other in yardstick.noise):
            return _within(name)
        return failed(
            name,
            f"output '{name}' has shape {candidate.shape}, the original's {original.shape} ({run})",
        )
    if not (is_float(original) and is_float(candidate)):
        return _judge_exact(name, candidate, yardstick, run)
    if fixed is not None:
        size = magnitude(original)
        return _judge_float(name, candidate, yardstick, run, None, fixed.atol + fixed.rtol * size)
    if not disagrees(yardstick, share):
        limit = _elementwise(allowed(yardstick, share), original.shape)
        return _judge_float(name, candidate, yardstick, run, yardstick.truth, limit)
    # Whichever of the two is right about the model, a right fold is close to it.
    limit = _elementwise(allowed(yardstick, share, trust=False), original.shape)
    oracles = [None] if yardstick.truth is None else [None, yardstick.truth]
    tried = [
        _judge_float(name, candidate, yardstick, run, oracle, limit)
        for oracle in oracles
        if oracle is None or oracle.shape == original.shape
    ]
    best = min(tried, key=lambda judged: judged.ratio)
    return Judged(best.ratio, best.comparison, distrusted=True)


def _elementwise(limits: list[tuple[int | None, Doubles]], shape: tuple[int, ...]) -> Doubles:
    """The tightest of the views' limits at each element."""
    tightest = np.full(shape, np.inf)
    for axis, channels in limits:
        tightest = np.minimum(tightest, spread(channels, axis, len(shape)))
    return tightest


def _judge_float(
    name: str,
    candidate: NDArray[Any],
    yardstick: Yardstick,
    run: str,
    truth: NDArray[Any] | None,
    limit: Doubles,
) -> Judged:
    original = yardstick.original
    oracle = original if truth is None else truth
    error = difference(candidate, oracle)
    overflowed = ~np.isfinite(original)
    if overflowed.any():
        # Where the original overflows, doing the same is as right as being close to the truth.
        error = np.where(overflowed, np.minimum(error, difference(candidate, original)), error)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.where(error == 0.0, 0.0, error / limit)
    if ratios.size == 0:
        return _within(name)
    flat = int(ratios.argmax()) if ratios.max() > 0.0 else int(magnitude(oracle).argmax())
    index = tuple(int(i) for i in np.unravel_index(flat, ratios.shape))
    ratio = float(ratios[index])
    shown = figures(error, oracle, yardstick.dtype, index)
    channel = index[1] if len(index) >= 2 else None
    worst = Worst(
        index=index,
        channel=channel,
        original=_number(original[index]),
        candidate=_number(candidate[index]),
        reference=None if truth is None else _number(truth[index]),
        run=run,
    )
    where = f" channel {channel}" if channel is not None else ""
    message = (
        f"output '{name}'{where} is off by {shown.max_abs:.3g}, "
        f"allowed are {float(limit[index]):.3g} ({run})"
    )
    comparison = OutputComparison(
        name=name,
        equivalent=ratio <= 1.0,
        max_abs=shown.max_abs,
        max_rel=shown.max_rel,
        ulp=shown.ulp,
        snr_db=shown.snr_db,
        tolerance=float(limit[index]),
        original_error=_largest(original, [] if yardstick.truth is None else [yardstick.truth]),
        noise_floor=_largest(original, yardstick.noise),
        worst=worst,
        message="" if ratio <= 1.0 else message,
    )
    return Judged(ratio, comparison)


def _judge_exact(name: str, candidate: NDArray[Any], yardstick: Yardstick, run: str) -> Judged:
    """Integers, booleans and strings: equal, but where the original itself flips."""
    original = yardstick.original
    if candidate.dtype != original.dtype:
        return failed(
            name,
            f"output '{name}' is {candidate.dtype}, the original's is {original.dtype} ({run})",
        )
    wrong = exact_mismatch(candidate, original)
    others = [*yardstick.noise, *([] if yardstick.truth is None else [yardstick.truth])]
    for other in others:
        if other.shape == original.shape:
            wrong = wrong & ~exact_mismatch(other, original)
    count = int(wrong.sum())
    if count == 0:
        return _within(name)
    index = tuple(int(i) for i in np.argwhere(wrong)[0])
    numeric = original.dtype.kind in "biu"
    gap = abs(float(candidate[index]) - float(original[index])) if numeric else math.inf
    worst = Worst(
        index=index,
        channel=index[1] if len(index) >= 2 else None,
        original=_number(original[index]),
        candidate=_number(candidate[index]),
        reference=None,
        run=run,
    )
    comparison = OutputComparison(
        name=name,
        equivalent=False,
        max_abs=gap,
        max_rel=math.inf,
        ulp=math.inf,
        snr_db=-math.inf,
        tolerance=0.0,
        worst=worst,
        message=f"output '{name}' differs in {count} of {wrong.size} exact values ({run})",
    )
    return Judged(math.inf, comparison)


def _within(name: str) -> Judged:
    comparison = OutputComparison(
        name=name,
        equivalent=True,
        max_abs=0.0,
        max_rel=0.0,
        ulp=0.0,
        snr_db=math.inf,
        tolerance=0.0,
    )
    return Judged(0.0, comparison)


def _largest(original: NDArray[Any], others: Sequence[NDArray[Any]]) -> float | None:
    errors = [difference(original, other) for other in others if other.shape == original.shape]
    finite = [float(e[np.isfinite(e)].max(initial=0.0)) for e in errors]
    return max(finite) if finite else None


def _number(value: Any) -> float:
    try:
        return float(abs(value)) if isinstance(value, complex) else float(value)
    except (TypeError, ValueError):
        return math.nan
