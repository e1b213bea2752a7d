"""Writing measured moments into batch norms, and what has changed by it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import numpy as np
import onnx_ir as ir

from bnopt.algebra.rounding import round_array
from bnopt.calibration.layers import Layer
from bnopt.calibration.moments import Moments
from bnopt.calibration.runner import sound
from bnopt.calibration.slots import MEAN, VARIANCE, Array, Slot
from bnopt.errors import RefusalError
from bnopt.evidence import Recalibrated


def pooled(layer: Layer, measured: Mapping[str, Moments | None]) -> Moments | None:
    """The moments of the inputs of all calls of a layer together.

    Each call has the weight of its numbers, and the variance between calls counts, as that between
    batches does.

    Args:
        layer: The calls.
        measured: Site id -> moments of its input.

    Returns:
        The moments; None if all inputs are empty.

    Raises:
        RefusalError: An input is not finite.
    """
    parts: list[Moments] = []
    for slot in layer:
        moments = measured.get(slot.site)
        if moments is None:
            continue
        if not sound(moments):
            raise RefusalError(
                f"the input of '{slot.name}' is not finite on this data, so it has no mean; "
                "`bnopt check` names what else is wrong with the model"
            )
        parts.append(moments)
    return reduce(Moments.merge, parts) if parts else None


def store(slot: Slot, moments: Moments | None) -> Moments:
    """Make measured moments the statistics of a batch norm.

    Args:
        slot: Its node is edited.
        moments: Of its input, and of those of other calls of its layer; finite.

    Returns:
        The moments.

    Raises:
        RefusalError: They are no statistics: of a single number, too large for the data type of
            the node, or without any variance and epsilon.
    """
    what = f"the input of '{slot.name}'"
    if moments is None:
        raise RefusalError(f"{what} is empty on this data, so it has no mean")
    if moments.count < 2:
        raise RefusalError(f"{what} is one number for each channel, which has no variance")
    for index, values in ((MEAN, moments.mean), (VARIANCE, moments.variance)):
        constant = slot.node.inputs[index]
        assert constant is not None
        assert constant.const_value is not None
        rounded = round_array(values, constant.const_value.dtype.numpy())
        if not np.isfinite(rounded.astype(np.float64)).all():
            raise RefusalError(f"{what} is too large for statistics of type {rounded.dtype}")
        if index == VARIANCE and not (rounded.astype(np.float64) + slot.epsilon > 0).all():
            raise RefusalError(f"{what} is constant in a channel, and epsilon is 0")
        constant.const_value = ir.tensor(rounded, name=constant.name)
    return moments


def comparison(slot: Slot, moments: Moments, depth: int) -> Recalibrated:
    """Old statistics against new ones.

    A value x of the data becomes (x - m') / s' with the old statistics and (x - m) / s with the
    new ones, where s = sqrt(v + epsilon). Over data with mean m and variance v the mean square of
    the difference is (m - m')^2 / s'^2 + v (1 / s' - 1 / s)^2, which `off` is the root of.
    """
    old_mean, old_variance = slot.mean, slot.variance
    shift = ratio = off = None
    if old_mean is not None and old_variance is not None:
        with np.errstate(all="ignore"):
            new = np.sqrt(moments.variance + slot.epsilon)
            old = np.sqrt(old_variance + slot.epsilon)
            shift = (moments.mean - old_mean) / new
            ratio = old / new
            square = ((moments.mean - old_mean) / old) ** 2
            square += moments.variance * (1 / old - 1 / new) ** 2
            off = float(np.sqrt(square.mean()))
    return Recalibrated(
        site=slot.site,
        name=slot.name,
        form=slot.form,
        depth=depth,
        count=moments.count,
        epsilon=slot.epsilon,
        old_mean=_listed(old_mean),
        old_variance=_listed(old_variance),
        mean=tuple(moments.mean.tolist()),
        variance=tuple(moments.variance.tolist()),
        gamma=_listed(slot.gamma),
        beta=_listed(slot.beta),
        shift=_listed(shift),
        ratio=_listed(ratio),
        off=off,
    )


def _listed(numbers: Array | None) -> tuple[float, ...] | None:
    return None if numbers is None else tuple(numbers.tolist())
