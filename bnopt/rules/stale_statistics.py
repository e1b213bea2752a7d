"""The moving statistics are not those of the data.

What it does: with `--data`, compares the mean and variance of what each batch norm really gets,
over all samples, with the stored ones. The effect is the shift of the mean in standard deviations,
and the logarithm of the ratio of variances, each as root mean square over channels; a finding needs
an effect that is large and well beyond the sampling error at this number of samples.

Why it is bad: the layer does not normalise. What follows was trained on normalised values and gets
something else.

How it happens: the statistics were never updated, or too few times for their decay, or were frozen
before the weights stopped moving. TensorFlow 1 and slim: UPDATE_OPS did not run. Keras: fine-tuning
with trainable=False, or training=True at every call. PyTorch: eval() during fine-tuning, a small
momentum, distributed training that keeps each worker's statistics. Or the data is not like that of
training: another preprocessing, another domain.

Severity: an error if more than half of the batch norms are so, else a warning: a layer at the end
may be off where the data given is of few classes. Legitimate is data that is known to differ.

How to fix: let data run through the model with its weights as they are, so that the statistics
become those of the data; or correct the preprocessing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.rules.comparison import comparisons, wrong_range
from bnopt.rules.initial import share
from bnopt.rules.view import View

CODE = "stale-statistics"
SEVERITY: Severity = "error"
SUMMARY = "do not have the statistics of the data"
CAUSES = {"": "the moving averages did not follow the weights, or the data is another"}
FIX = "estimate the statistics anew from data, or give data preprocessed as in training"


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm whose stored statistics are far from the measured ones."""
    every = comparisons(view)
    if wrong_range(every) is not None:
        # All that follows is off as well, for the same reason.
        return
    found = [one for one in every if one.verdict == "stale"]
    severity: Severity = "error" if share(len(found), len(every)) > 0.5 else "warning"
    for one in found:
        message = (
            f"over {one.samples} samples the mean is off by {one.shift:.2g} standard deviations "
            f"and the variance by a factor of {math.exp(one.spread):.3g}"
        )
        evidence: dict[str, object] = {
            "samples": one.samples,
            "shift": one.shift,
            "log_variance_ratio": one.spread,
            "standard_errors": one.statistic,
            "limits": list(one.limits),
        }
        yield Finding(CODE, severity, one.norm.site, message, FIX, evidence)
