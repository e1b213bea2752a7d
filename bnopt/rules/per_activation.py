"""A batch norm has one mean and variance for each activation instead of each channel.

What it does: reports every BatchNormalization with spatial=0, and every chain of Mul and Add that
scales and shifts what an operator gives, by constants that vary along all axes but the batch. Such
a chain counts if a Conv, ConvTranspose, MatMul or Gemm stands right in front of it, or if its names
speak of a batch norm; other constants of that shape (anchors, masks, positions) are not reported.

Why it is bad: convolutions share their weights over all positions, and a batch norm for them must
share its statistics likewise: there are H x W times as many numbers, each estimated from H x W
times fewer samples. The model is tied to one image size, and no convolution can absorb it.

How it happens: TensorFlow 1: tf.nn.moments(x, [0]) on the output of a convolution, where [0, 1, 2]
was meant: the example for fully connected layers was copied. slim, contrib and Keras do not make
it, but with axis=[1, 2, 3] tf.compat.v1.layers.batch_normalization does. PyTorch cannot. Caffe2 and
ONNX before opset 9 have spatial=0.

It is a warning: for an input of fixed size, normalising each position is legitimate, if rare.

Example: Conv -> Mul by a [16, 16, 8] constant -> Add of a [16, 16, 8] constant.

How to fix: take moments over all axes but the channels, and train again.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from bnopt.algebra.units import Unit, find_units
from bnopt.findings import Finding, Severity
from bnopt.graph.operators import operand
from bnopt.graph.order import in_order
from bnopt.graph.scopes import label, scopes
from bnopt.graph.uses import describe
from bnopt.rules.view import View

CODE = "per-activation"
SEVERITY: Severity = "warning"
SUMMARY = "have statistics for each activation"
CAUSES = {
    "tensorflow": "the moments were taken over axis 0 only: tf.nn.moments(x, [0])",
    "": "the statistics were taken over the batch only",
}

_HOSTS = frozenset(("Conv", "ConvTranspose", "MatMul", "Gemm"))
_MOVES = frozenset(("Cast", "Identity", "Transpose"))
_NAMES = ("batchnorm", "batch_norm", "bn/")


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm if its numbers vary along more than the channel axis."""
    fix = "take the moments over all axes but that of the channels, and train again"
    found: list[tuple[str, ir.Node, tuple[int, ...]]] = [
        (norm.site, norm.node, norm.gamma.shape)
        for norm in view.norms
        if norm.gamma is not None and norm.gamma.ndim > 1 and norm.refusal is None
    ]
    for scope in scopes(view.model):
        for unit in find_units(in_order(scope.graph), scope, view.context):
            if not unit.batch_norms and _is_per_activation(unit):
                node = unit.nodes[-1]
                found.append((scope.site_id(node), node, unit.affine.scale.shape[1:]))
    for site, node, shape in found:
        sizes = " x ".join(str(n) for n in shape)
        message = f"{describe(node)} has statistics for each of {sizes} activations"
        yield Finding(CODE, SEVERITY, site, message, fix, {"shape": list(shape)})


def _is_per_activation(unit: Unit) -> bool:
    scale, shift = unit.affine.scale.hi, unit.affine.shift.hi
    if scale.ndim < 3 or scale.shape[0] != 1 or min(scale.shape[1:]) < 2:
        return False
    if shift.shape != scale.shape or (scale == scale.flat[0]).all():
        return False
    return _is_linear(unit.input) or any(_speaks(node) for node in unit.nodes)


def _is_linear(value: ir.Value) -> bool:
    """Whether a linear operator has just computed a value."""
    producer = value.producer()
    while producer is not None and producer.op_type in _MOVES:
        data = operand(producer, 0)
        producer = None if data is None else data.producer()
    return producer is not None and producer.op_type in _HOSTS


def _speaks(node: ir.Node) -> bool:
    names = [label(node), *(value.name or "" for value in node.inputs if value is not None)]
    return any(part in name.lower() for name in names for part in _NAMES)
