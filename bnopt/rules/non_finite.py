"""A statistic of a batch norm is NaN or infinite.

What it does: reports every batch norm of which the scale, bias, mean or variance holds a number
that is not finite.

Why it is bad: every output of the channel is NaN. Folding would spread the NaN over the weights
and bury where it came from.

How it happens: the training diverged after the last good checkpoint; a moving variance was updated
from a batch of one sample or of half-precision overflows; a converter read the wrong tensor.

How to fix: find the checkpoint before the statistics went wrong, or estimate them anew from data.
"""

from __future__ import annotations

from bnopt.findings import Finding, Severity
from bnopt.rules.base import Subject

CODE = "non-finite"
SEVERITY: Severity = "error"


def check(subject: Subject) -> Finding | None:
    """A finding if a parameter is NaN or infinite."""
    refusal = subject.refusal
    if refusal is None or refusal.reason != CODE:
        return None
    fix = "go back to a checkpoint with finite statistics, or estimate them anew from data"
    return Finding(CODE, SEVERITY, subject.site, refusal.message, fix)
