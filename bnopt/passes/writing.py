"""How an affine that stays is written: a batch norm, Mul and Add, or a depthwise convolution.

    y = scale * x + shift
      = gamma' * (x - mean) / sqrt(var + epsilon) + beta'
        with gamma' = scale * sqrt(var + epsilon) and beta' = shift + scale * mean

keeps the statistics of a batch norm that others have been merged into from behind. One that has
taken in affines from ahead gets mean 0, because its old mean belongs to data it no longer sees.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Context, NewOperand, Refusal
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.hosts.features import vector
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.algebra.scaling import check_range, rounded
from bnopt.algebra.units import Unit
from bnopt.graph.constants import Constant
from bnopt.graph.operators import get_float, since_version
from bnopt.graph.scopes import Scope, label
from bnopt.graph.uses import describe
from bnopt.passes.moves import Keep, Move, Replace, Step


def write(
    unit: Unit, affine: Affine, *, from_ahead: bool, scope: Scope, context: Context
) -> Move | Refusal:
    """The shortest way to write a unit that is `affine` by now."""
    if unit.batch_norms and not affine.scale.is_one():
        kept = _as_batch_norm(unit, affine, from_ahead, context)
        if isinstance(kept, Keep):
            return kept
    return as_mul_add(unit, affine, scope, context)


def as_mul_add(unit: Unit, affine: Affine, scope: Scope, context: Context) -> Move | Refusal:
    """A unit as a Mul, an Add, or both; whichever changes something."""
    if scope.opset < 7:
        return Refusal("unknown-opset", "before opset 7 constants are broadcast by attributes")
    dtype = data_type(unit, scope, context)
    if dtype is None:
        return Refusal("data-type", f"the type of '{unit.output.name}' is not known")
    steps: list[Step] = []
    for op_type, values, is_neutral in (
        ("Mul", affine.scale, affine.scale.is_one()),
        ("Add", affine.shift, affine.shift.is_zero()),
    ):
        if is_neutral:
            continue
        constant = _constant(unit, values, dtype, op_type == "Mul")
        if isinstance(constant, Refusal):
            return constant
        steps.append(Step(op_type, (constant,)))
    return Replace(tuple(unit.nodes), unit.input, tuple(steps))


def as_depthwise_conv(unit: Unit, affine: Affine, scope: Scope, context: Context) -> Move | Refusal:
    """A unit along axis 1 of data of rank 3 or more as a convolution with one weight a channel."""
    dtype = data_type(unit, scope, context)
    if dtype is None:
        return Refusal("data-type", f"the type of '{unit.output.name}' is not known")
    dims = context.dims.of(unit.input)
    channels = None if dims is None or len(dims) < 3 else dims[1]
    channels = channels or (affine.length(1) if affine.rank > 2 and affine.length(1) > 1 else None)
    scale, shift = (
        vector(part, 1) if affine.rank > 2 else None for part in (affine.scale, affine.shift)
    )
    if channels is None or scale is None or shift is None:
        return Refusal("channel-axis", f"'{unit.output.name}' is no affine of images along axis 1")
    kernel = [1] * (affine.rank - 2)
    ones = DoubleDouble.of(np.ones(channels))
    weight = _constant(unit, (scale * ones).reshape(channels, 1, *kernel), dtype, True)
    if isinstance(weight, Refusal):
        return weight
    constants = [weight]
    if not shift.is_zero():
        zeros = DoubleDouble.of(np.zeros(channels))
        bias = _constant(unit, shift + zeros, dtype, False)
        if isinstance(bias, Refusal):
            return bias
        constants.append(bias)
    attributes = (("group", channels), ("kernel_shape", tuple(kernel)))
    step = Step("Conv", tuple(constants), attributes)
    return Replace(tuple(unit.nodes), unit.input, (step,))


def data_type(unit: Unit, scope: Scope, context: Context) -> ir.DataType | None:
    """The type of the data of a unit, as far as a constant can have it."""
    dtype = context.types.of(unit.input).dtype or context.types.of(unit.output).dtype
    if dtype is None:
        # Constants of arithmetic, and the parameters of a batch norm before opset 15, have it too.
        for node in unit.nodes:
            if (since_version(node.op_type, scope.opset) or 15) < 15:
                found = [context.constants.resolve(value) for value in node.inputs]
                dtype = next((c.tensor.dtype for c in found if c is not None), dtype)
    return dtype if dtype is not None and dtype.numpy() in FOLDABLE_DTYPES else None


def _as_batch_norm(
    unit: Unit, affine: Affine, from_ahead: bool, context: Context
) -> Keep | Refusal:
    node = unit.batch_norms[0]
    constants = [
        context.constant(node, index, "parameter", "dynamic-statistics") for index in (1, 2, 3, 4)
    ]
    gamma, beta, mean, variance = (c if isinstance(c, Constant) else None for c in constants)
    scale, shift = vector(affine.scale, 1), vector(affine.shift, 1)
    # not a condition: a recognized batch norm has constant parameters
    if gamma is None or beta is None or mean is None or variance is None:
        return Refusal("dynamic-statistics", f"{describe(node)} has no constant parameters")
    if scale is None or shift is None or len(gamma.shape) != 1:
        return Refusal("channel-axis", f"{describe(node)} works along axis 1 only")
    centre = DoubleDouble.of(mean.array().astype(np.float64))
    if from_ahead:
        centre = DoubleDouble.of(np.zeros(mean.shape))
    spread = DoubleDouble.of(variance.array().astype(np.float64))
    spread = spread + DoubleDouble.of(np.float64(get_float(node, "epsilon", 1e-5)))
    what = describe(node)
    new_gamma = scale * spread.sqrt()
    refusal = check_range(np.ones(gamma.shape), new_gamma, gamma.dtype, None, 1, what)
    if refusal is not None:
        return refusal
    operands: list[NewOperand] = []
    for index, values, old in (
        (1, new_gamma, gamma),
        (2, shift + scale * centre, beta),
        *([(3, centre, mean)] if from_ahead else []),
    ):
        new = rounded(values, old.tensor.dtype, index=index, base="parameter", what=what)
        if isinstance(new, Refusal):
            return new
        operands.append(new)
    return Keep(tuple(unit.nodes), unit.input, node, tuple(operands))


def _constant(
    unit: Unit, values: DoubleDouble, dtype: ir.DataType, is_scale: bool
) -> NewOperand | Refusal:
    what = describe(unit.nodes[-1])
    if is_scale:
        refusal = check_range(np.ones(values.shape), values, dtype.numpy(), None, 1, what)
        if refusal is not None:
            return refusal
    name = label(unit.nodes[-1])
    base = f"{name}.scale" if is_scale else f"{name}.shift"
    return rounded(values, dtype, index=1, base=base, what=what)
