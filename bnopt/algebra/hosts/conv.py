"""Conv, of any rank and group: `W[o] *= scale[o]`, `b'[o] = scale[o] * b[o] + shift[o]`.

Exact because convolution is linear in its weights for each output channel, whatever the padding,
stride, dilation and group, and the affine is one number per output channel. Conditions: the affine
acts on axis 1, the output channels; W and b are constants (b may be missing); W has C filters.

Source: ONNX operator specification, Conv-1, Conv-11, Conv-22; W is (M, C/group, k1, k2, ...).
"""

from __future__ import annotations

from bnopt.algebra.base import Absorption, Host, Refusal, Request
from bnopt.algebra.hosts.bias import folded_bias
from bnopt.algebra.scaling import scaled_weight


def absorb(request: Request) -> Absorption | Refusal:
    """Fold an affine behind a Conv into its weight and bias."""
    weight = request.context.constant(request.node, 1, "weight", "dynamic-weight")
    if isinstance(weight, Refusal):
        return weight
    if weight is None or len(weight.shape) < 3:
        return Refusal("shape-mismatch", f"{request.what} has no weight of rank 3 or more")
    channels = weight.shape[0]
    if request.axis != 1:
        return Refusal("channel-axis", f"the features of {request.what} are on axis 1")
    if channels != request.affine.channels:
        return Refusal(
            "shape-mismatch",
            f"{request.what} has {channels} output channels, the batch norm "
            f"{request.affine.channels}",
        )
    scaled = scaled_weight(weight, weight.shape, (0,), request.affine, index=1, what=request.what)
    if isinstance(scaled, Refusal):
        return scaled
    return folded_bias(request, scaled, weight)


HOST = Host("Conv", (1, 11, 22), absorb)
