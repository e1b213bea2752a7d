"""The data has another range than that of training.

What it does: with `--data`, looks at the first batch norm of the model. If every channel of what it
gets has a standard deviation that is the stored one times the same large factor (8 or more, or an
eighth or less), the input has been scaled by that factor.

Why it is bad: every measurement on such data is worthless, and so is the model's output.

How it happens: images are fed as 0 to 255 to a model trained on 0 to 1 (a factor of 255), or the
other way round; the division by the standard deviation was left out. It happens the same way in
TensorFlow, Keras and PyTorch, most often in the code around the exported model.

Severity: an error: either the data given here is wrong, or the model in production gets the same.

How to fix: give the data as it was preprocessed for training.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.rules.comparison import comparisons, wrong_range
from bnopt.rules.view import View

CODE = "wrong-data-range"
SEVERITY: Severity = "error"
SUMMARY = ""
CAUSES = {"": "the preprocessing of training is not that of this data"}
FIX = "preprocess the data as in training (0 to 1 or 0 to 255, mean and standard deviation)"


def check(view: View) -> Iterator[Finding]:
    """A finding if the first batch norm gets its input times one factor."""
    first = wrong_range(comparisons(view))
    if first is not None:
        message = (
            f"the first batch norm, '{first.norm.name}', gets {first.factor:.3g} times the "
            "standard deviation that it stores, in all channels alike"
        )
        evidence: dict[str, object] = {"factor": first.factor, "scatter": first.scatter}
        yield Finding(CODE, SEVERITY, None, message, FIX, {**evidence, "site": first.norm.site})
