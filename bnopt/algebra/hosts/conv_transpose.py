"""ConvTranspose, of any rank and group: scale the output-feature axis of W, fold the bias.

W is (C_in, M/group, k1, k2, ...), and group g produces the output channels g*M/group up to
(g+1)*M/group from the input channels g*C_in/group up to (g+1)*C_in/group. So in the view
(group, C_in/group, M/group, k...) the output channel is the C-ordered pair of axes 0 and 2.

Exact because every output element is a sum of products with weights of its own output channel,
plus the bias, whatever pads, strides, dilations, output_padding and output_shape select.
Conditions: the affine acts on axis 1; W and b are constants (b may be missing); M = C.

Source: ONNX operator specification, ConvTranspose-1, -11, -22.
"""

from __future__ import annotations

from bnopt.algebra.base import Absorption, Host, Refusal, Request
from bnopt.algebra.hosts.bias import folded_bias
from bnopt.algebra.scaling import scaled_weight
from bnopt.graph.operators import get_int


def absorb(request: Request) -> Absorption | Refusal:
    """Fold an affine behind a ConvTranspose into its weight and bias."""
    weight = request.context.constant(request.node, 1, "weight", "dynamic-weight")
    if isinstance(weight, Refusal):
        return weight
    group = get_int(request.node, "group", 1)
    if weight is None or len(weight.shape) < 3 or group < 1 or weight.shape[0] % group:
        return Refusal("shape-mismatch", f"the weight of {request.what} does not fit its groups")
    if request.axis != 1:
        return Refusal("channel-axis", f"the features of {request.what} are on axis 1")
    inputs, features, *kernel = weight.shape
    if group * features != request.affine.channels:
        return Refusal(
            "shape-mismatch",
            f"{request.what} has {group * features} output channels, the batch norm "
            f"{request.affine.channels}",
        )
    view = (group, inputs // group, features, *kernel)
    scaled = scaled_weight(weight, view, (0, 2), request.affine, index=1, what=request.what)
    if isinstance(scaled, Refusal):
        return scaled
    return folded_bias(request, scaled, weight)


HOST = Host("ConvTranspose", (1, 11, 22), absorb)
