"""The variance of a batch norm plus epsilon is not positive.

What it does: reports every batch norm with a channel in which variance + epsilon <= 0.

Why it is bad: the square root of it is NaN, or the division by it infinite. Some runtimes clamp it
silently, so two of them give different answers.

How it happens: no sound training run makes a variance negative. A variable was mixed up (mean for
variance, log-variance for variance: mostly a loader that assigns a checkpoint's arrays by position,
where Keras, PyTorch and Caffe order them differently), a moving average without bias correction was
subtracted, a checkpoint was quantized carelessly, or epsilon was lost in conversion. There is no
legitimate case.

Example: variance [0.8, -0.02] with epsilon 1e-5.

How to fix: look at where the exporter takes the variance from; restore the right variable.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnopt.findings import Finding, Severity
from bnopt.graph.uses import describe
from bnopt.rules.channels import Mask, and_more, indices
from bnopt.rules.norms import Norm
from bnopt.rules.view import View

CODE = "negative-variance"
SEVERITY: Severity = "error"
SUMMARY = "have variance + epsilon <= 0"
CAUSES = {"": "the variance is another variable, or was quantized carelessly"}


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm if variance + epsilon is zero or negative in a channel."""
    fix = "restore the moving variance; it must not be negative, nor zero where epsilon is 0"
    for norm in view.norms:
        bad = _bad_channels(norm)
        if norm.refusal is not None and norm.refusal.reason == CODE:
            message = norm.refusal.message
        elif bad.any() and norm.variance is not None:
            first = int(np.flatnonzero(bad)[0])
            spread = norm.variance.reshape(-1)[first] + (norm.epsilon or 0.0)
            message = (
                f"variance + epsilon of {describe(norm.node)} is {spread:.3g} in channel {first}"
                f"{and_more(bad)}"
            )
        else:
            continue
        yield Finding(CODE, SEVERITY, norm.site, message, fix, {"channels": indices(bad)})


def _bad_channels(norm: Norm) -> Mask:
    """Channels whose variance + epsilon is known, and not positive; NaN is another rule's."""
    if norm.variance is None or norm.epsilon is None:
        return np.zeros(0, np.bool_)
    return norm.variance.reshape(-1) + norm.epsilon <= 0
