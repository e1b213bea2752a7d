"""The parameters of a batch norm do not fit each other or the data.

What it does: reports every batch norm whose scale, bias, mean and variance have different lengths,
are missing, or are not as long as the channel axis of the data.

Why it is bad: the model does not run, or a runtime reads past the end of the shorter array, or
broadcasts a parameter along an axis it was not meant for.

How it happens: channels were pruned in the convolution but not in the batch norm behind it;
a checkpoint was loaded by position or with strict=False; the model was rewritten by hand;
TensorFlow 1 restored variables of another scope of the same name. In Keras and PyTorch an axis that
is not the channel axis gives such shapes once the data has another size than in training. There is
no legitimate case.

Example: a convolution with 64 output channels, and a batch norm with 63 means.

How to fix: export again from the unedited model; after pruning, prune all four parameters alike.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.rules.norms import Norm
from bnopt.rules.view import View

CODE = "parameter-shape"
SEVERITY: Severity = "error"
SUMMARY = "have parameters that do not fit"
CAUSES = {"": "the model was pruned or rewritten, and the parameters were not"}


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm if its parameters fit neither each other nor the data."""
    fix = "export again from the model before it was pruned or rewritten"
    for norm in view.norms:
        if norm.refusal is not None and norm.refusal.reason == "shape-mismatch":
            yield Finding(CODE, SEVERITY, norm.site, norm.refusal.message, fix, _shapes(norm))


def _shapes(norm: Norm) -> dict[str, object]:
    parameters = (norm.gamma, norm.beta, norm.mean, norm.variance)
    return {
        name: list(numbers.shape)
        for name, numbers in zip(("scale", "bias", "mean", "variance"), parameters, strict=True)
        if numbers is not None
    }
