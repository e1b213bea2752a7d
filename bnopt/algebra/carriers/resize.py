"""Resize and Upsample by nearest or linear interpolation: weights that sum to 1.

Every output element is a weighted mean of input elements of the same channel, so an affine passes
that does not vary along a resized axis. An axis stays as it is if its scale is exactly 1, or if its
size is given and is the old one; that the length stays is not enough (4 * 1.1 rounds to 4).

Conditions: the mode is nearest or linear; no coordinates that move at scale 1
(`tf_half_pixel_for_nn`) or put a constant outside a box (`tf_crop_and_resize`); no `antialias`,
`exclude_outside` or aspect-ratio policy; the scales or sizes are known where the affine varies.

Source: ONNX operator specification, Resize-10 to -19, Upsample-1 to -10.
"""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import dims_of, has_operand, integers, mixed, normalised
from bnopt.graph.constants import Constant
from bnopt.graph.operators import get_int


def _interpolate(crossing: Crossing) -> Carried | Refusal:
    node = crossing.node
    if _text(crossing, "mode", "nearest") not in ("nearest", "linear", "bilinear"):
        return Refusal("not-carried", f"{crossing.what} interpolates by another mode than linear")
    transform = _text(crossing, "coordinate_transformation_mode", "")
    if transform in ("tf_crop_and_resize", "tf_half_pixel_for_nn"):
        return Refusal("not-carried", f"{crossing.what} transforms coordinates by {transform}")
    if get_int(node, "antialias", 0) or get_int(node, "exclude_outside", 0):
        return Refusal("not-carried", f"{crossing.what} weights by antialias or exclude_outside")
    if _text(crossing, "keep_aspect_ratio_policy", "stretch") != "stretch":
        return Refusal("not-carried", f"{crossing.what} changes its sizes to keep their ratio")
    kept = _kept_axes(crossing)
    plain = mixed(crossing, [axis for axis in range(crossing.affine.rank) if axis not in kept])
    return plain if isinstance(plain, Refusal) else Carried({0: plain})


def _text(crossing: Crossing, name: str, default: str) -> str:
    attribute = crossing.node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def _kept_axes(crossing: Crossing) -> set[int]:
    """The axes along which nothing is interpolated."""
    node, rank = crossing.node, crossing.affine.rank
    given = node.attributes.get("axes")
    axes = range(rank) if given is None else normalised(given.as_ints(), rank)
    kept = set(range(rank)) - set(axes)
    scales = _scales(crossing)
    if scales is not None:
        return kept | {axis for axis, n in zip(axes, scales, strict=False) if n == 1}
    if node.op_type == "Upsample" and crossing.scope.opset < 7:
        return {0, 1}
    if not has_operand(node, 3):
        return kept
    sizes = integers(crossing, "sizes", 3)
    dims = dims_of(crossing.context, crossing.data, crossing.what)
    if isinstance(sizes, Refusal) or isinstance(dims, Refusal):
        # The sizes may depend on the data's own shape; what is inferred of the result will do.
        after = dims_of(crossing.context, node.outputs[0], crossing.what)
        if isinstance(after, Refusal) or isinstance(dims, Refusal):
            return kept
        return kept | {a for a in axes if dims[a] is not None and dims[a] == after[a]}
    return kept | {axis for axis, n in zip(axes, sizes or (), strict=False) if dims[axis] == n}


def _scales(crossing: Crossing) -> list[float] | None:
    node = crossing.node
    attribute = node.attributes.get("scales")
    if attribute is not None:
        return list(attribute.as_floats())
    old = crossing.scope.opset < 11 or node.op_type == "Upsample"
    found = crossing.context.constant(node, 1 if old else 2, "scales", "not-carried")
    if not isinstance(found, Constant) or not found.array().size:
        return None
    return [float(n) for n in np.asarray(found.array(), np.float64).reshape(-1)]


RESIZE = Carrier("Resize", (10, 11, 13, 18, 19), _interpolate, _interpolate)
UPSAMPLE = Carrier("Upsample", (1, 7, 9, 10), _interpolate, _interpolate)
