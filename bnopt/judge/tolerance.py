r"""How large an error is allowed: as large as the original's own, up to a small factor.

A fold is right when the folded model is as close to the truth as the original was. For one output
of one run, and one channel c of it, with T the float64 truth, O the original and

* `E[c] = max |O - T|`: the original's own error,
* `N[c]`: the noise floor, the largest change of O when the inputs move by one unit in their last
  place, or when the same run is repeated,
* `S[c]`: the channel's size, `max |O|` of the run times the channel's share of it in any run,

the candidate may be off by

    A[c] = max(K * max(E[c], N[c], m * S[c], u * S[c]), 2 v * P).

Here u is the unit roundoff of the output's dtype and m the median over channels of `max(E, N) / S`:
E[c] may be small by luck. P is the largest |O| of any run and v is u or float32's unit roundoff,
whichever is smaller: functions such as Sigmoid are computed to an absolute accuracy, so where they
saturate the relative error has no meaning. The median is taken relative to S so that a channel a
thousand times larger does not lend its error to a small one. Two cases make errors spiky: channels
of few elements, whose own error says little, and models that round to integers on the way
(quantization, ArgMax, TopK, ...), where one flipped step outweighs all rounding errors and any
channel may be the next to flip. There the largest relative error takes the place of m and
`max(S[c], median of S)` that of S[c], but their product is never more than the largest error of the
whole output.

Without a truth the oracle is O itself, E is left out, and the candidate's distance to O holds the
errors of both.

What one rounding of all weights does to T (`rounding_floor`) does not count towards A: a right fold
was never found to need it, and on networks of constant weights, whose channels are all alike, it is
as large as the output. It only says how far reference and onnxruntime may be apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bnopt.judge.compare import channel_rows, difference, magnitude, per_channel, unit, views

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

    from numpy.typing import NDArray

    Doubles: TypeAlias = NDArray[np.float64]

K = 10.0
"""How many times the yardstick a right fold may be off.

Errors of two right computations of the same thing are samples of the same distribution, but the
kernels differ (fused or not, other summation order), and the largest of few elements scatters.
`tools/judge_power.py` measures both sides; docs/judge.md has the numbers.
"""

K_WITHOUT_TRUTH = 40.0
"""The same where no float64 truth measures the original's error.

A network of L layers rounds L times but the noise floor moves only its inputs, so its errors may be
several times the floor; and the distance of candidate and original holds both their errors.
"""

DISAGREEMENT = 1000.0
"""Reference and onnxruntime disagree if they differ by this many times what rounding explains."""

FEW = 16
"""A channel of fewer elements says too little about its own error; see `_pooled`."""

STEP_OPERATORS = frozenset(
    {
        "ArgMax", "ArgMin", "Bernoulli", "Ceil", "DynamicQuantizeLinear", "Floor", "Hardmax",
        "NonMaxSuppression", "QLinearConv", "QLinearMatMul", "Quant", "QuantizeLinear", "Round",
        "Sign", "TopK",
    }
)  # fmt: skip
"""Operators whose output jumps where the input moves a little."""


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What the original did in one run, for one output.

    Attributes:
        original: O, of the output's own dtype.
        truth: T in float64, or None.
        noise: Outputs of the original under input noise, or from running it again.
        rounding: From `rounding_floor`, or None.
        dtype: The output's dtype.
        steps: Whether the model has step operators.
        largest: Largest finite `|O|` over all runs.
    """

    original: NDArray[Any]
    truth: NDArray[Any] | None
    noise: tuple[NDArray[Any], ...]
    dtype: str
    rounding: tuple[Doubles, ...] | None = None
    steps: bool = False
    largest: float = 0.0


def shares(outputs: Sequence[NDArray[Any]]) -> tuple[Doubles, ...]:
    """Per view and channel, its largest share of a run's largest value, over runs.

    A channel's value may be near zero in one run by chance; over runs its real size shows.
    """
    found: list[Doubles] = []
    for axis in views(outputs[0].ndim):
        share = per_channel(np.zeros(outputs[0].shape), axis)
        for output in outputs:
            size = magnitude(output)
            peak = float(size.max(initial=0.0))
            if peak > 0.0 and size.ndim == outputs[0].ndim:
                channels = per_channel(size, axis)
                if channels.size == share.size:
                    share = np.maximum(share, channels / peak)
        found.append(share)
    return tuple(found)


def allowed(
    yardstick: Yardstick, share: Sequence[Doubles], *, trust: bool = True
) -> list[tuple[int | None, Doubles]]:
    """The allowed errors `A`, one entry per way of looking at the output.

    Args:
        yardstick: What the original did.
        share: Per view of the output (`compare.views`), what `shares` returns.
        trust: Whether E counts; False where reference and onnxruntime disagree.

    Returns:
        (axis, allowed error per channel); axis None is the whole output as one channel.
    """
    size = magnitude(yardstick.original)
    peak = float(size.max(initial=0.0))
    factor = K if yardstick.truth is not None and trust else K_WITHOUT_TRUTH
    absolute = _absolute_floor(yardstick.dtype) * max(peak, yardstick.largest)
    own = own_error(yardstick, trust=trust)
    result: list[tuple[int | None, Doubles]] = []
    for number, axis in enumerate(views(size.ndim)):
        error = per_channel(own, axis)
        scale = share[number] * peak
        if scale.size != error.size:
            # The channel count differs from run to run, so shares over runs mean nothing.
            scale = per_channel(size, axis)
        few = channel_rows(own, axis).shape[1] < FEW
        common = _pooled(error, scale, spiky=few or yardstick.steps)
        floor = unit(yardstick.dtype) * scale
        limit = factor * np.maximum.reduce([error, common, floor])
        result.append((axis, np.maximum(limit, absolute)))
    return result


def own_error(yardstick: Yardstick, *, trust: bool = True) -> Doubles:
    """`max(|O - T|, |O - O'|)` per element, over all noisy O'.

    Elements that are not finite count as 0: an overflow of the original must not excuse everything.
    """
    original = yardstick.original
    others = [*yardstick.noise]
    if yardstick.truth is not None and trust:
        others.append(yardstick.truth)
    worst = np.zeros(original.shape)
    for other in others:
        if other.shape == original.shape:
            error = difference(original, other)
            worst = np.maximum(worst, np.where(np.isfinite(error), error, 0.0))
    return worst


def rounding_floor(
    truth: NDArray[Any], moved: Sequence[NDArray[Any]], share: Sequence[Doubles]
) -> tuple[Doubles, ...]:
    """`change[c] / S[c]` per view: how far the truth moves when every weight moves by an ulp."""
    worst = np.zeros(truth.shape)
    for other in moved:
        if other.shape == truth.shape:
            error = difference(other, truth)
            worst = np.maximum(worst, np.where(np.isfinite(error), error, 0.0))
    peak = magnitude(truth).max(initial=0.0)
    found: list[Doubles] = []
    for number, axis in enumerate(views(truth.ndim)):
        scale = share[number] * peak
        change = per_channel(worst, axis)
        found.append(np.divide(change, scale, out=np.zeros_like(change), where=scale > 0.0))
    return tuple(found)


def disagrees(yardstick: Yardstick, share: Sequence[Doubles]) -> bool:
    """Whether reference and onnxruntime differ by far more than rounding explains.

    One of them is then wrong about the model, and which one cannot be known.
    """
    truth, original = yardstick.truth, yardstick.original
    if truth is None or yardstick.steps:
        return False
    if truth.shape != original.shape:
        return True
    peak = float(magnitude(original).max(initial=0.0))
    error = difference(original, truth)
    gap = float(np.where(np.isfinite(error), error, 0.0).max(initial=0.0))
    noise = [difference(original, other) for other in yardstick.noise if other.shape == truth.shape]
    explained = max(
        [float(np.where(np.isfinite(e), e, 0.0).max(initial=0.0)) for e in noise], default=0.0
    )
    for number, relative in enumerate(yardstick.rounding or ()):
        if relative.size == share[number].size:
            explained = max(explained, float((relative * share[number]).max(initial=0.0)) * peak)
    return gap > DISAGREEMENT * max(explained, unit(yardstick.dtype) * peak)


def _absolute_floor(dtype: str) -> float:
    return 2.0 * min(unit(dtype), unit("float32"))


def _pooled(error: Doubles, scale: Doubles, *, spiky: bool) -> Doubles:
    """`m * S[c]`, or what stands for it where errors are spiky."""
    live = scale > 0.0
    if not live.any():
        return np.zeros_like(error)
    if not spiky:
        return float(np.median(error[live] / scale[live])) * scale
    # One element may be near zero by chance in every run; that makes no channel exact.
    typical = np.maximum(scale, float(np.median(scale[live])))
    return np.minimum(float((error / typical).max()) * typical, float(error.max()))
