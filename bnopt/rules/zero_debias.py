"""The biased averages were exported, not the debiased ones.

What it does: reports a batch norm whose mean or variance is a variable named `biased`, or that
reads a `local_step`.

Why it is bad: with zero_debias the moving average proper is `biased / (1 - decay^local_step)`. The
helper variable `biased` starts from 0 and stays too small by that factor for a long time.

How it happens: TensorFlow 1: tf.contrib.layers.batch_norm(zero_debias_moving_mean=True) and
moving_averages.assign_moving_average keep three variables for each average, `moving_mean`,
`moving_mean/biased` and `moving_mean/local_step`, and a converter or a hand-written export took the
wrong one. Keras and PyTorch have no such variables.

Severity: an error: the names leave no doubt.

How to fix: export `moving_mean` and `moving_variance`, not what is below them.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.graph.names import helps_debiasing
from bnopt.rules.view import View

CODE = "zero-debias"
SEVERITY: Severity = "error"
SUMMARY = "hold biased averages"
CAUSES = {"": "the export took the variable 'biased' of an average that is debiased"}
FIX = "export moving_mean and moving_variance, not moving_mean/biased"


def check(view: View) -> Iterator[Finding]:
    """A finding for each statistic that is a helper variable of zero debiasing."""
    for norm in view.live:
        for parameter in ("mean", "variance"):
            name = norm.names.get(parameter, "")
            if helps_debiasing(name):
                message = f"the {parameter} is '{name}', a helper variable of zero debiasing"
                yield Finding(CODE, SEVERITY, norm.site, message, FIX, {"name": name})
