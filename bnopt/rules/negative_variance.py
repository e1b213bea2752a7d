"""The variance of a batch norm plus epsilon is not positive.

What it does: reports every batch norm with a channel in which variance + epsilon <= 0.

Why it is bad: the square root of it is NaN, or the division by it infinite. Some runtimes clamp it
silently, so two of them give different answers.

How it happens: no sound training run makes a variance negative. A variable was mixed up (mean for
variance, log-variance for variance), a moving average without bias correction was subtracted, a
checkpoint was quantized carelessly, or epsilon was lost in conversion.

How to fix: look at where the exporter takes the variance from; restore the right variable.
"""

from __future__ import annotations

from bnopt.findings import Finding, Severity
from bnopt.rules.base import Subject

CODE = "negative-variance"
SEVERITY: Severity = "error"


def check(subject: Subject) -> Finding | None:
    """A finding if variance + epsilon is zero or negative in a channel."""
    refusal = subject.refusal
    if refusal is None or refusal.reason != CODE:
        return None
    fix = "restore the moving variance; it must not be negative, nor zero where epsilon is 0"
    return Finding(CODE, SEVERITY, subject.site, refusal.message, fix)
