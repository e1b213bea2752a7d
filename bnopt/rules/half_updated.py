"""Only one of the two moving statistics was updated.

What it does: reports every batch norm with a mean of 0 in every channel beside a variance that has
moved, or a variance of 1 in every channel beside a mean that has.

Why it is bad: half of the normalisation has nothing to do with the data. Depending on the half that
is missing, every channel is off by its mean, or by its spread.

How it happens: TensorFlow 1: a hand-written layer runs one of two assign ops, or the saver was
given a list of variables that holds only one of them. slim and contrib: one update op was taken
from the collection by name. Keras: weights were set by hand in the wrong order. PyTorch: a
checkpoint whose running_var (or running_mean) has another name was loaded with strict=False. Every
framework: a converter filled in a default for a tensor it did not find.

Severity: an error if more than half of the batch norms are so, two at least, else a warning.
Legitimate are statistics made up for a benchmark, and data that is centred exactly; say `--allow
half-updated`.

How to fix: restore the other statistic from the checkpoint, or update both and export again.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.rules.initial import initial_values, share
from bnopt.rules.view import View

CODE = "half-updated"
SEVERITY: Severity = "error"
SUMMARY = "have one statistic that was updated and one that was not"
CAUSES = {
    "tensorflow": "one of two assign ops was run, or one variable was left out of the checkpoint",
    "pytorch": "a buffer is missing from the checkpoint that was loaded",
    "": "one of the two was not saved, or not found by a converter",
}
FIX = "restore or update both the moving mean and the moving variance, and export again"


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm of which one statistic is at its initial value."""
    known = initial_values(view)
    found = [initial for initial in known if initial.half]
    grave = len(found) > 1 and share(len(found), len(known)) > 0.5
    severity: Severity = "error" if grave else "warning"
    for initial in found:
        still = "mean is 0" if initial.mean else "variance is 1"
        other = "variance" if initial.mean else "mean"
        message = f"{still} in every channel, and the {other} has moved"
        evidence: dict[str, object] = {"mean": initial.mean, "variance": initial.variance}
        yield Finding(CODE, severity, initial.site, message, FIX, evidence)
