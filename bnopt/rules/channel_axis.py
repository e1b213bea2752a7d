"""A batch norm normalises along an axis that does not hold the features.

What it does: follows the data of a batch norm upstream, past Transpose, activations, pooling and
constants that are added or multiplied, to the Conv, ConvTranspose or MatMul that it comes from, and
reports the batch norm if its axis is not the one that holds that operator's features: axis 1 of
what a Conv gives, the last axis of what a MatMul by a constant gives. Behind a MatMul it does so
only if the parameters are as long as both axes, so that nobody noticed, and if nothing was
transposed on the way to the MatMul. A chain of Mul and Add counts only if it both scales and
shifts. Data that comes through a Reshape is not judged.

Why it is bad: rows of the image, or steps of the sequence, are normalised instead of features.
Training still converges, to something worse; the model is tied to one image size; and no
convolution can absorb the batch norm.

How it happens: TensorFlow and Keras have channels last and axis=-1; code that was written for
channels first says axis=1, or the reverse (slim: data_format="NCHW" on the convolution alone), and
no shape check fails, because the layer makes its parameters as long as the axis is. In PyTorch
BatchNorm1d normalises axis 1 of (N, C, L), but nn.Linear leaves its features in the last axis of
(N, L, C); where L equals C, nothing complains.

It is a warning: some models normalise another axis on purpose, for example each frequency of a
spectrogram, or each step of a series behind a linear layer over time.

Example: Conv -> Transpose(perm=[0, 2, 3, 1]) -> BatchNormalization: axis 1 is the height.

How to fix: Keras: axis=-1 for channels last, axis=1 for channels first; PyTorch: transpose(1, 2)
around BatchNorm1d. The model has to be trained again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.findings import Finding, Severity
from bnopt.graph.operators import is_standard, operand
from bnopt.graph.uses import describe
from bnopt.rules.norms import Norm
from bnopt.rules.view import View

CODE = "channel-axis"
SEVERITY: Severity = "warning"
SUMMARY = "normalise an axis that holds no features"
CAUSES = {
    "tensorflow": "axis=1 was given for channels-last data, or axis=-1 for channels-first data",
    "pytorch": "the features of a Linear lie in the last axis; BatchNorm1d takes axis 1",
    "": "the axis belongs to another data layout",
}

_KEEPS = frozenset(
    "AveragePool BatchNormalization Cast Clip DequantizeLinear Dropout Elu Gelu HardSigmoid "
    "HardSwish Identity LeakyRelu MaxPool Mish Pad PRelu QuantizeLinear Relu Selu Sigmoid Softplus "
    "Tanh".split()
)
_ARITHMETIC = frozenset(("Add", "Sub", "Mul", "Div"))
_CONVOLUTIONS = frozenset(("Conv", "ConvTranspose"))
_MAX_STEPS = 24


@dataclass(slots=True)
class _Trail:
    """The way from a value upstream.

    Attributes:
        node: Where it ends; None at a value that no node produces.
        axis: What the axis is called there.
        perms: The permutations on the way, the last in the graph first.
    """

    node: ir.Node | None
    axis: int
    perms: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])

    def downstream(self, axis: int) -> int:
        """What an axis at its end is called at its beginning."""
        for perm in reversed(self.perms):
            axis = perm.index(axis)
        return axis


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm if the axis it normalises is not that of the features."""
    fix = "give the batch norm the axis of the features, and train again"
    for norm in view.norms:
        if norm.input is None or norm.axis is None or _only_scales(norm):
            continue
        trail = _upstream(norm.input, norm.axis, view.context)
        if trail.node is None:
            continue
        features = _feature_axis(trail, norm, view.context)
        if features is None or features == trail.axis:
            continue
        holds = trail.downstream(features)
        message = (
            f"{describe(norm.node)} normalises axis {norm.axis}, but the features of "
            f"{describe(trail.node)} lie in axis {holds}"
        )
        evidence: dict[str, object] = {"axis": norm.axis, "feature_axis": holds}
        yield Finding(CODE, SEVERITY, norm.site, message, fix, evidence)


def _only_scales(norm: Norm) -> bool:
    """Whether a chain lacks the other half of a batch norm: a window or a mask."""
    if norm.form != "decomposed" or norm.shift is None:
        return False
    return bool((norm.shift == norm.shift[0]).all())


def _feature_axis(trail: _Trail, norm: Norm, context: Context) -> int | None:
    """The axis that holds the features where `trail` ends; None where that is not certain."""
    assert trail.node is not None
    if trail.node.op_type in _CONVOLUTIONS:
        return 1
    features = _linear_features(trail.node, context)
    dims = context.dims.of(trail.node.outputs[0])
    if features is None or dims is None or features != norm.channels:
        return None
    # Whoever transposes in front of a linear layer has chosen the axis it works on.
    data = operand(trail.node, 0)
    return len(dims) - 1 if _is_untouched(data, context) else None


def _is_untouched(value: ir.Value | None, context: Context) -> bool:
    """Whether nothing but other linear layers lies between a value and the model's inputs."""
    for _ in range(_MAX_STEPS):
        if value is None:
            return False
        trail = _upstream(value, 0, context)
        if trail.perms:
            return False
        if trail.node is None:
            return True
        if _linear_features(trail.node, context) is None:
            return False
        value = operand(trail.node, 0)
    return False


def _linear_features(node: ir.Node, context: Context) -> int | None:
    """How many features a MatMul by a constant on its right gives; None for another node."""
    if node.op_type != "MatMul":
        return None
    weight = context.constants.resolve(operand(node, 1))
    return weight.shape[-1] if weight is not None and len(weight.shape) > 1 else None


def _upstream(value: ir.Value, axis: int, context: Context) -> _Trail:
    """Where the numbers of `value` come from, as far as every axis keeps its meaning."""
    trail = _Trail(value.producer(), axis)
    for _ in range(_MAX_STEPS):
        node = trail.node
        if node is None or not is_standard(node, context.model):
            return trail
        data = operand(node, 0)
        if node.op_type == "Transpose":
            attribute = node.attributes.get("perm")
            perm = () if attribute is None or attribute.is_ref() else tuple(attribute.as_ints())
            if not 0 <= trail.axis < len(perm):
                return trail
            trail.perms.append(perm)
            trail.axis = perm[trail.axis]
        elif node.op_type in _ARITHMETIC:
            computed = [v for v in node.inputs if v is not None and not context.is_constant(v)]
            if len(computed) != 1:
                return trail
            data = computed[0]
        elif node.op_type not in _KEEPS:
            return trail
        if data is None:
            return trail
        trail.node = data.producer()
    return trail
