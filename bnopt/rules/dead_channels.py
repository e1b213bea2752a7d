"""Channels of a batch norm were constant in training.

What it does: reports every batch norm with channels whose moving variance is exactly 0, or below
1e-9 of the median of the layer's positive variances.

Why it is bad: what came into such a channel never varied, so it carries nothing, and its output is
beta. Should its input vary at inference, that is divided by sqrt(epsilon).

How it happens: dead ReLUs in front; weights that weight decay drove to zero (common in trained
depthwise convolutions); pruned channels; an input channel that is constant, such as an alpha
channel. It is the same in TensorFlow 1, slim, Keras and PyTorch: with decay d the moving variance
of such a channel falls from its initial 1 to d^n in n steps. The threshold lies in a gap: see
`dead_channels` in bnopt/rules/channels.py.

It is an info, because nearly every trained network has a few. It is a warning if most channels of a
layer are dead, since the layer was then hardly trained, or was fed with zeros; and if a dead
channel has a scale beyond 1000, because noise in it would drown the others. A layer of which all
means and all variances are 0 was not constant but never updated, and is left to that rule.

Example: variance [0.7, 3e-42, 1.2] with epsilon 1e-5: the scale of the second channel is 316 gamma.

How to fix: nothing, or prune the channels. If most are dead: look at the data and the learning rate
of the training, and at the layers in front.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnopt.findings import Finding, Severity
from bnopt.graph.uses import describe
from bnopt.rules.channels import LARGEST_SCALE, dead_channels, indices, scales
from bnopt.rules.view import View

CODE = "dead-channels"
SEVERITY: Severity = "warning"
SUMMARY = "have channels that were constant in training"
CAUSES = {"": "dead ReLUs or weights that decayed to zero in front of them"}


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm if a channel's variance is zero, or nothing beside the rest."""
    for norm in view.norms:
        if norm.variance is None:
            continue
        dead = dead_channels(norm.variance)
        count, size = int(np.count_nonzero(dead)), int(dead.size)
        zeros = int(np.count_nonzero(norm.variance == 0))
        if not count or (zeros == size and norm.mean is not None and not norm.mean.any()):
            continue
        message = f"{count} of {size} channels of {describe(norm.node)} were constant in training"
        severity: Severity = "warning" if 2 * count > size else "info"
        evidence: dict[str, object] = {
            "count": count,
            "of": size,
            "zero": zeros,
            "channels": indices(dead),
        }
        factors = scales(norm)
        largest = 0.0 if factors is None else float(np.max(np.abs(factors[dead])))
        if np.isfinite(largest) and largest > LARGEST_SCALE:
            severity = "warning"
            message += f", and one is multiplied by {largest:.3g}"
            evidence["largest_scale"] = largest
        fix = "nothing is wrong; the channels could be pruned"
        if severity == "warning":
            fix = "look at the layers in front and at the data of the training"
        yield Finding(CODE, severity, norm.site, message, fix, evidence)
