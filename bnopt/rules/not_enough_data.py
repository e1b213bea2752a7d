"""There is too little data to compare the statistics with.

What it does: says so where fewer than 8 samples were given with `--data`.

Why it is bad: the mean of a few samples is so far from that of all that no difference would prove
anything. Positions of an image do not make up for it: they are alike.

How it happens: a single test image was given, or the test data of a model zoo, which is one batch.

Severity: an info: nothing is known to be wrong.

How to fix: give 64 samples or more, drawn at random from data like that of training.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.rules.comparison import FEWEST, comparisons
from bnopt.rules.view import View

CODE = "not-enough-data"
SEVERITY: Severity = "info"
SUMMARY = ""
CAUSES: dict[str, str] = {}
FIX = "give 64 samples or more with --data"


def check(view: View) -> Iterator[Finding]:
    """A finding if batch norms were measured on too few samples."""
    short = [one for one in comparisons(view) if one.verdict == "not-enough-data"]
    if short:
        count = short[0].samples
        samples = "1 sample" if count == 1 else f"{count} samples"
        message = f"only {samples}, too few to compare statistics (from {FEWEST})"
        yield Finding(CODE, SEVERITY, None, message, FIX, {"samples": count})
