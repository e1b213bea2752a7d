"""A batch norm overflows in half precision.

What it does: looks at the batch norms whose data or parameters are float16, and reports channels
whose scale or shift is above 65504, float16's largest number, or whose variance is 0 while epsilon
is below 2.98e-8 and so rounds to 0 in float16.

Why it is bad: a runtime that computes the scale in float16, or folds it into float16 weights, gets
infinity there, and NaN behind it. Others compute in float32 and get it right, so the model's
answers depend on where it runs.

How it happens: a float32 model was converted to float16 as a whole (TensorFlow's and Keras's
floatx, PyTorch's model.half(), onnxconverter-common) instead of keeping batch norms in float32.
Small variances became 0, and gamma / sqrt(epsilon) is large: with epsilon 1e-5, gamma above 207 is
enough.

It is a warning, because most runtimes compute a batch norm in float32. It is an error where the
data is float16 and every number it can hold overflows: |shift| - 65504 |scale| > 65504, so that the
output is infinite whatever the runtime. Legitimate are channels that float32 runtimes alone will
see.

Example: gamma 300, variance 0, epsilon 1e-5: the scale is 94,868.

How to fix: keep the batch norms in float32 (autocast does); or fold them in float32 before the
conversion to float16, since weight times scale mostly fits.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx_ir as ir

from bnopt.findings import Finding, Severity
from bnopt.graph.operators import operand
from bnopt.graph.uses import describe
from bnopt.rules.channels import Mask, and_more, indices, scales
from bnopt.rules.norms import Norm
from bnopt.rules.view import View

CODE = "half-overflow"
SEVERITY: Severity = "error"
SUMMARY = "overflow in float16"
CAUSES = {
    "tensorflow": "the model was converted to float16, batch norms and all",
    "pytorch": "model.half() was called on the batch norms too",
    "": "the model was converted to float16, batch norms and all",
}

_LARGEST = float(np.finfo(np.float16).max)
_ROUNDS_TO_ZERO = 2.0**-25


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm in float16 if a channel overflows there."""
    fix = "keep batch norms in float32, or fold them before the conversion to float16"
    for norm in view.norms:
        data_is_half = _is_half(norm, 0, view)
        if not data_is_half and not _is_half(norm, 1, view):
            continue
        found = _overflow(norm, data_is_half)
        if found is None:
            continue
        severity, message, bad = found
        evidence: dict[str, object] = {
            "count": int(np.count_nonzero(bad)),
            "channels": indices(bad),
        }
        yield Finding(CODE, severity, norm.site, message, fix, evidence)


def _overflow(norm: Norm, data_is_half: bool) -> tuple[Severity, str, Mask] | None:
    scale = scales(norm)
    if (
        scale is None
        or norm.beta is None
        or norm.mean is None
        or norm.variance is None
        or norm.epsilon is None
        or len({norm.beta.shape, norm.mean.shape, norm.variance.shape}) > 1
    ):
        return None
    scale = np.where(np.isfinite(scale), scale, 0)
    with np.errstate(all="ignore"):
        shift = norm.beta.reshape(-1) - norm.mean.reshape(-1) * scale
    shift = np.where(np.isfinite(shift), shift, 0)
    what = describe(norm.node)
    surely = np.abs(shift) - _LARGEST * np.abs(scale) > _LARGEST
    if data_is_half and surely.any():
        first = int(np.flatnonzero(surely)[0])
        message = f"the output of {what} is beyond float16 in channel {first}{and_more(surely)}"
        return "error", message, surely
    for name, numbers in (("scale", scale), ("shift", shift)):
        bad = np.abs(numbers) > _LARGEST
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            number = f"{numbers[first]:.3g} in channel {first}{and_more(bad)}"
            return "warning", f"the {name} of {what} is {number}, beyond float16", bad
    zero = norm.variance.reshape(-1) == 0
    if 0 < norm.epsilon < _ROUNDS_TO_ZERO and zero.any():
        first = int(np.flatnonzero(zero)[0])
        where = f"channel {first}{and_more(zero)}"
        message = f"epsilon of {what}, {norm.epsilon:.3g}, is 0 in float16, as the variance is in "
        return "warning", message + where, zero
    return None


def _is_half(norm: Norm, index: int, view: View) -> bool:
    value = operand(norm.node, index)
    return value is not None and view.context.types.of(value).dtype == ir.DataType.FLOAT16
