"""Pooling over spatial axes, and means and maxima over given axes.

Averages have weights that sum to 1, so every affine passes that does not vary along the pooled
axes. An AveragePool that counts padded zeros has smaller weights at borders: a scale passes, a
shift does not. Maxima commute with any affine whose scales are not negative; with scale zero both
sides are the shift.

Conditions: the affine does not vary along the pooled axes; AveragePool with `count_include_pad` and
padding (or `ceil_mode`, where runtimes disagree): no shift; maxima: scale >= 0, nobody reads the
indices of a MaxPool.

Source: ONNX operator specification, AveragePool-1 to -22, GlobalAveragePool-1, -22, MaxPool-1 to
-22, GlobalMaxPool-1, -22, ReduceMean and ReduceMax-1 to -20.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import (
    dims_of,
    integers,
    is_read,
    mixed,
    no_negative,
    no_shift,
    normalised,
)
from bnopt.graph.operators import get_int


def _spatial(crossing: Crossing) -> Carried | Refusal:
    plain = mixed(crossing, range(2, crossing.affine.rank))
    return plain if isinstance(plain, Refusal) else Carried({0: plain})


def _average(crossing: Crossing) -> Carried | Refusal:
    node = crossing.node
    pads = node.attributes.get("pads")
    mode = node.attributes.get("auto_pad")
    padded = (pads is not None and any(pads.as_ints())) or (
        mode is not None and mode.as_string() not in ("NOTSET", "VALID")
    )
    if get_int(node, "count_include_pad", 0) and (padded or get_int(node, "ceil_mode", 0)):
        refusal = no_shift(crossing)
        if refusal is not None:
            return refusal
    return _spatial(crossing)


def _maximum(crossing: Crossing) -> Carried | Refusal:
    if is_read(crossing.node, 1):
        return Refusal("not-carried", f"somebody reads the indices of {crossing.what}")
    return no_negative(crossing) or _spatial(crossing)


def _axes(crossing: Crossing) -> tuple[int, ...] | Refusal:
    dims = dims_of(crossing.context, crossing.data, crossing.what)
    if isinstance(dims, Refusal):
        return dims
    axes = integers(crossing, "axes", 1)
    if isinstance(axes, Refusal):
        return axes
    if not axes:
        return () if get_int(crossing.node, "noop_with_empty_axes", 0) else tuple(range(len(dims)))
    return normalised(axes, len(dims))


def _reduce_forward(crossing: Crossing) -> Carried | Refusal:
    axes = _axes(crossing)
    if isinstance(axes, Refusal):
        return axes
    plain = mixed(crossing, axes)
    if isinstance(plain, Refusal):
        return plain
    if not get_int(crossing.node, "keepdims", 1):
        plain = plain.map(lambda array: np.squeeze(array, axes))
    return Carried({0: plain})


def _reduce_backward(crossing: Crossing) -> Carried | Refusal:
    axes = _axes(crossing)
    if isinstance(axes, Refusal):
        return axes
    if get_int(crossing.node, "keepdims", 1):
        plain = mixed(crossing, axes)
        return plain if isinstance(plain, Refusal) else Carried({0: plain})
    return Carried({0: crossing.affine.map(lambda array: np.expand_dims(array, axes))})


def _max_forward(crossing: Crossing) -> Carried | Refusal:
    return no_negative(crossing) or _reduce_forward(crossing)


def _max_backward(crossing: Crossing) -> Carried | Refusal:
    return no_negative(crossing) or _reduce_backward(crossing)


AVERAGE = Carrier("AveragePool", (1, 7, 10, 11, 19, 22), _average, _average)
GLOBAL_AVERAGE = Carrier("GlobalAveragePool", (1, 22), _spatial, _spatial)
MAXIMUM = Carrier("MaxPool", (1, 8, 10, 11, 12, 22), _maximum, _maximum)
GLOBAL_MAXIMUM = Carrier("GlobalMaxPool", (1, 22), _maximum, _maximum)
REDUCE_MEAN = Carrier("ReduceMean", (1, 11, 13, 18), _reduce_backward, _reduce_forward)
REDUCE_MAX = Carrier("ReduceMax", (1, 11, 12, 13, 18, 20), _max_backward, _max_forward)
