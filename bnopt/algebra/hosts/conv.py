"""Conv, of any rank and group, takes an affine from behind and one from ahead.

    W'[o, i] = after.scale[o] * W[o, i] * before.scale[i]
    b'[o]    = after.scale[o] * (b[o] + sum over i, k of W[o, i, k] * before.shift[i])
               + after.shift[o]

Behind: exact because convolution is linear in its weights for each output channel, whatever the
padding, stride, dilation and group. Ahead: the scale likewise, for each input channel; the shift
only where every output element sums over the whole kernel, that is, without padding: a padded zero
stays zero, while `before` would have made it `before.shift`. Conditions: the affines act on axis 1;
W and b are constants (b may be missing, W may be quantized); the lengths fit.

Source: ONNX operator specification, Conv-1, Conv-11, Conv-22; W is (M, C/group, k1, k2, ...).
"""

from __future__ import annotations

from bnopt.algebra.base import Absorption, Host, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.hosts.bias import folded_bias
from bnopt.algebra.hosts.features import ahead, behind
from bnopt.algebra.hosts.weights import Weight, find_weight
from bnopt.algebra.scaling import contract
from bnopt.graph.operators import get_int


def absorb(request: Request) -> Absorption | Refusal:
    """Fold affines behind and ahead of a Conv into its weight and bias."""
    weight = find_weight(request, 1, "weight")
    if isinstance(weight, Refusal):
        return weight
    group = get_int(request.node, "group", 1)
    if weight is None or len(weight.shape) < 3 or group < 1 or weight.shape[0] % group:
        return Refusal("shape-mismatch", f"the weight of {request.what} does not fit its groups")
    rank, (channels, per_group, *kernel) = len(weight.shape), weight.shape
    after = behind(request, rank, 1, channels)
    if isinstance(after, Refusal):
        return after
    before = ahead(request, rank, 1, group * per_group)
    if isinstance(before, Refusal):
        return before
    if not before.shift.is_zero() and _pads(request):
        return Refusal("padding", f"{request.what} pads, and a shift ahead of it is not zero")
    view = (group, channels // group, per_group, *kernel)
    ones = [1] * len(kernel)
    output, inner = (group, channels // group, 1, *ones), (group, 1, per_group, *ones)
    factor = spread(after.scale, output) * spread(before.scale, inner)
    fan_in = weight.constant.tensor.size // max(channels, 1)
    scaled = weight.scaled(view, factor, spread(after.shift, output), fan_in)
    if isinstance(scaled, Refusal):
        return scaled
    added = None
    if not before.shift.is_zero():
        added = _sums(weight, view, spread(before.shift, inner)).reshape(channels)
    return folded_bias(request, scaled, weight, after, channels, added)


def spread(values: DoubleDouble, shape: tuple[int, ...]) -> DoubleDouble:
    """A vector cut over the axes of `shape`; one number stays one."""
    return values.reshape(*([1] * len(shape) if values.shape[0] == 1 else shape))


def _sums(weight: Weight, view: tuple[int, ...], shift: DoubleDouble) -> DoubleDouble:
    return contract(weight.array().reshape(view), shift, tuple(range(2, len(view))))


def _pads(request: Request) -> bool:
    node = request.node
    mode = node.attributes.get("auto_pad")
    if mode is not None and mode.as_string() not in ("NOTSET", "VALID"):
        return True
    pads = node.attributes.get("pads")
    return pads is not None and any(pads.as_ints())


HOST = Host("Conv", (1, 11, 22), absorb)
