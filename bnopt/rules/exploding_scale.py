"""The variance of a batch norm is so small that its scale explodes.

What it does: reports every batch norm with a channel in which |gamma / sqrt(variance + epsilon)| is
above 1000 and the variance is at most epsilon, or at most 1e-6. Channels that were constant in
training are left to `dead-channels`.

Why it is bad: a change of the input by one part in a thousand becomes as large as a normal
activation. Rounding, another runtime, half precision or quantization then decide the output.

How it happens: the variance was taken from data that hardly varied (one sample, all-zero batches,
inputs divided by 255 twice); the moving average of a variance started at 0 and had a few steps
only; epsilon was set far below the frameworks' 1e-3 and 1e-5, or lost in conversion, in
TensorFlow 1 typically by a variance_epsilon written by hand; in PyTorch and Keras by eps=1e-12.

It is a warning: the model does what it says. The two conditions go together because a large scale
alone may be a large gamma, and a small variance alone is harmless under a larger epsilon: with
epsilon 1e-5 and gamma 1 no scale exceeds 316. At 1e-6 the deviation of the data is a thousandth of
what it becomes. Legitimate is data that is small by its unit (volts of an electroencephalogram) in
front of a first batch norm.

Example: variance 1e-9, epsilon 1e-12, gamma 1: the scale is 31,600.

How to fix: look at the data that the statistics were gathered from; use a larger epsilon in
training; scale small inputs to about 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnopt.findings import Finding, Severity
from bnopt.graph.uses import describe
from bnopt.rules.channels import LARGEST_SCALE, and_more, dead_channels, indices, scales
from bnopt.rules.view import View

CODE = "exploding-scale"
SEVERITY: Severity = "warning"
SUMMARY = "have a scale that explodes"
CAUSES = {"": "the statistics come from data that hardly varied, or epsilon is too small"}

_SMALL_VARIANCE = 1e-6


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm if a tiny variance makes the scale of a live channel huge."""
    fix = "look at the data behind the statistics; use a larger epsilon in training"
    for norm in view.norms:
        factors = scales(norm)
        if factors is None or norm.variance is None or norm.epsilon is None:
            continue
        variance = norm.variance.reshape(-1)
        huge = np.isfinite(factors) & (np.abs(factors) > LARGEST_SCALE)
        small = variance <= max(norm.epsilon, _SMALL_VARIANCE)
        bad = huge & small & ~dead_channels(variance)
        if not bad.any():
            continue
        worst = int(np.argmax(np.where(bad, np.abs(factors), 0)))
        message = (
            f"channel {worst} of {describe(norm.node)} is multiplied by {factors[worst]:.3g}: its "
            f"variance is {variance[worst]:.3g}, epsilon {norm.epsilon:.3g}{and_more(bad)}"
        )
        evidence: dict[str, object] = {
            "channel": worst,
            "variance": float(variance[worst]),
            "epsilon": norm.epsilon,
            "scale": float(factors[worst]),
            "count": int(np.count_nonzero(bad)),
            "channels": indices(bad),
        }
        yield Finding(CODE, SEVERITY, norm.site, message, fix, evidence)
