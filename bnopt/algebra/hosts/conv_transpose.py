"""ConvTranspose, of any rank and group, takes an affine from behind and a scale from ahead.

W is (C_in, M/group, k1, k2, ...), and group g produces the output channels g*M/group up to
(g+1)*M/group from the input channels g*C_in/group up to (g+1)*C_in/group. So in the view
(group, C_in/group, M/group, k...) the output channel is the C-ordered pair of axes 0 and 2, and the
input channel that of axes 0 and 1.

Exact because every output element is a sum of products with weights of its own output channel,
plus the bias, whatever pads, strides, dilations, output_padding and output_shape select. A shift
from ahead would reach each output element through as many kernel elements as cover it, which
differs at borders and between strides: it must be zero. Conditions: the affines act on axis 1; W
and b are constants (b may be missing); the lengths fit.

Source: ONNX operator specification, ConvTranspose-1, -11, -22.
"""

from __future__ import annotations

from bnopt.algebra.base import Absorption, Host, Refusal, Request
from bnopt.algebra.hosts.bias import folded_bias
from bnopt.algebra.hosts.conv import spread
from bnopt.algebra.hosts.features import ahead, behind
from bnopt.algebra.hosts.weights import find_weight
from bnopt.graph.operators import get_int


def absorb(request: Request) -> Absorption | Refusal:
    """Fold affines behind and ahead of a ConvTranspose into its weight and bias."""
    weight = find_weight(request, 1, "weight")
    if isinstance(weight, Refusal):
        return weight
    group = get_int(request.node, "group", 1)
    if weight is None or len(weight.shape) < 3 or group < 1 or weight.shape[0] % group:
        return Refusal("shape-mismatch", f"the weight of {request.what} does not fit its groups")
    rank, (inputs, features, *kernel) = len(weight.shape), weight.shape
    channels = group * features
    after = behind(request, rank, 1, channels)
    if isinstance(after, Refusal):
        return after
    before = ahead(request, rank, 1, inputs)
    if isinstance(before, Refusal):
        return before
    if not before.shift.is_zero():
        return Refusal("padding", f"a shift ahead of {request.what} is not uniform behind it")
    ones = [1] * len(kernel)
    view = (group, inputs // group, features, *kernel)
    output, inner = (group, 1, features, *ones), (group, inputs // group, 1, *ones)
    factor = spread(after.scale, output) * spread(before.scale, inner)
    fan_in = weight.constant.tensor.size // max(channels, 1)
    scaled = weight.scaled(view, factor, spread(after.shift, output), fan_in)
    if isinstance(scaled, Refusal):
        return scaled
    return folded_bias(request, scaled, weight, after, channels)


HOST = Host("ConvTranspose", (1, 11, 22), absorb)
