"""The statistics have been folded away, so nothing can be said about them.

What it does: without `--data`, reports each batch norm that an exporter has folded into a
convolution, a matrix product or a pair of constants, and of whose statistics nothing is left that
would prove or disprove that they were updated.

Why it is bad: it need not be. But the question whether the moving statistics were ever updated can
no longer be answered from the model.

How it happens: tf2onnx folds BatchNormalization into the Conv before it; TensorFlow's grappler
merges a decomposed batch norm into a Conv without bias even with tf2onnx's optimizers off; Keras 3
writes batch norm as a multiplication and an addition. PyTorch's default exporter folds it as well,
without leaving a name behind.

Severity: an info.

How to fix: give data like that of training with `--data`, or check the model before the export is
optimized.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.rules.initial import initial_values, says_batch_norm
from bnopt.rules.view import View

CODE = "unrecoverable"
SEVERITY: Severity = "info"
SUMMARY = "have statistics that are folded away and cannot be checked"
CAUSES: dict[str, str] = {}
FIX = "give data with --data, or check the model before an optimizer folds its batch norms"


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm of which the model says nothing any more."""
    if view.measured is not None:
        return
    known = {initial.site for initial in initial_values(view)}
    for norm in view.live:
        hidden = norm.form == "decomposed" and norm.scale is not None and norm.variance is None
        if hidden and norm.site not in known and says_batch_norm(norm.name):
            message = "mean and variance have gone into a factor and a summand"
            yield Finding(CODE, SEVERITY, norm.site, message, FIX)
    for trace in view.traces:
        if trace.site not in known:
            message = f"mean and variance have gone into '{trace.evidence}' and its bias"
            yield Finding(CODE, SEVERITY, trace.site, message, FIX)
