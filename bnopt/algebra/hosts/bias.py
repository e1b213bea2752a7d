"""The bias of Conv and ConvTranspose: operand 2, shape [M]; `b' = scale * (b + added) + shift`."""

from __future__ import annotations

import numpy as np

from bnopt.algebra.base import Absorption, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.hosts.features import Features, with_rest
from bnopt.algebra.hosts.weights import Scaled, Weight, dequantized_bias
from bnopt.algebra.scaling import rounded
from bnopt.graph.constants import Constant
from bnopt.graph.operators import operand


def folded_bias(
    request: Request,
    scaled: Scaled,
    weight: Weight,
    features: Features,
    channels: int,
    added: DoubleDouble | None = None,
) -> Absorption | Refusal:
    """The absorption of `scaled` and of the bias that goes with it.

    A bias that would be zero everywhere is not added where there was none.

    Args:
        request: The request.
        scaled: The new weight.
        weight: The old one.
        features: What is asked for behind the host.
        channels: M.
        added: What the host's weights make of a shift ahead of it, before `features`. Shape [M].
    """
    old = find_bias(request)
    if isinstance(old, Refusal):
        return old
    values = DoubleDouble.of(np.zeros(channels)) if added is None else added
    names = weight.overridable
    if old is not None:
        if old.shape != (channels,):
            return Refusal("shape-mismatch", f"the bias of {request.what} has shape {old.shape}")
        if old.tensor.dtype != weight.dtype:
            return Refusal("data-type", f"weight and bias of {request.what} differ in type")
        values = values + DoubleDouble.of(old.array().astype(np.float64))
        names = tuple(dict.fromkeys((*names, *old.overridable)))
    values = features.apply(values)
    if old is None and values.is_zero():
        answer = Absorption(
            scaled.operands, ("weight",), set_attributes=scaled.set_attributes, overridable=names
        )
        return with_rest(answer, features, weight.dtype, request)
    base = f"{request.node.name or request.node.outputs[0].name}.bias"
    bias = rounded(values, weight.dtype, index=2, base=base, what=request.what)
    if isinstance(bias, Refusal):
        return bias
    answer = Absorption(
        (*scaled.operands, bias),
        ("weight", "bias"),
        set_attributes=scaled.set_attributes,
        overridable=names,
    )
    return with_rest(answer, features, weight.dtype, request)


def find_bias(request: Request) -> Constant | Refusal | None:
    """The bias of a host, dequantized if it must be; None if it has none."""
    value = operand(request.node, 2)
    producer = None if value is None else value.producer()
    if producer is not None and producer.op_type == "DequantizeLinear":
        return dequantized_bias(producer, request)
    return request.context.constant(request.node, 2, "bias", "dynamic-weight")
