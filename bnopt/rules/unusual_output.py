"""What comes out of a batch norm does not look normalised.

What it does: with `--data`, for batch norms whose statistics an exporter has folded into constants
or weights: measures what comes out of them. A healthy one gives beta as the mean and |gamma| as the
standard deviation of each channel, whatever its statistics were, and most training leaves beta near
0 and gamma near 1. It reports a layer whose means are 0.5 and more (root mean square over channels)
or whose standard deviations are far from 1 (median below 0.6 or above 1.7).

Why it is bad: it is what statistics look like that do not belong to the data; see
`stale-statistics`, which is the same with proof.

How it happens: as there. tf2onnx folds batch norms into convolutions (`*_weights_fused_bn`), and
TensorFlow's grappler folds decomposed ones (`merged_input`), before any ONNX tool sees them.

Severity: a warning: gamma and beta alone may have moved that far. Legitimate are networks trained
long and with strong scales, weights made up for a test, and data unlike that of training.

How to fix: check the model before optimizers have folded it (tf2onnx without its optimizers), or
compare its outputs with the framework's own at batch size 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnopt.evidence import Measured
from bnopt.findings import Finding, Severity
from bnopt.rules.comparison import FEWEST
from bnopt.rules.initial import says_batch_norm
from bnopt.rules.view import View

CODE = "unusual-output"
SEVERITY: Severity = "warning"
SUMMARY = "give values that do not look normalised"
CAUSES = {"": "the statistics that were folded in may never have been updated"}
FIX = "check the model before an optimizer folds its batch norms"

_MEAN = 0.5
_DEVIATION = (0.6, 1.7)


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm of unknown statistics with outputs far from 0 and 1."""
    for site, mean, deviation, samples in _outputs(view):
        if samples < FEWEST or not mean.size or not (deviation > 0).any():
            continue
        off = float(np.sqrt(np.mean(np.square(mean))))
        typical = float(np.median(deviation[deviation > 0]))
        if off > _MEAN or not _DEVIATION[0] <= typical <= _DEVIATION[1]:
            message = (
                f"over {samples} samples its channels have means of {off:.2g} (root mean square) "
                f"and a standard deviation of {typical:.2g} (median)"
            )
            evidence: dict[str, object] = {"mean": off, "deviation": typical, "samples": samples}
            yield Finding(CODE, SEVERITY, site, message, FIX, evidence)


def _outputs(view: View) -> Iterator[tuple[str, np.ndarray, np.ndarray, int]]:
    """Site, means and standard deviations of what comes out, and the number of samples."""
    measured = view.measured or {}
    for norm in view.live:
        found = measured.get(norm.site)
        hidden = norm.form == "decomposed" and norm.variance is None and says_batch_norm(norm.name)
        if found is None or not hidden or norm.scale is None or norm.shift is None:
            continue
        mean, deviation = _moments(found)
        if mean.size == norm.scale.size:
            yield (
                norm.site,
                norm.scale * mean + norm.shift,
                np.abs(norm.scale) * deviation,
                found.samples,
            )
    for trace in view.traces:
        found = measured.get(trace.site)
        if found is not None:
            yield trace.site, *_moments(found), found.samples


def _moments(found: Measured) -> tuple[np.ndarray, np.ndarray]:
    return np.array(found.mean), np.sqrt(np.array(found.variance))
