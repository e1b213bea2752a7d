"""The scale parameter of a batch norm is zero.

What it does: reports every batch norm with channels whose gamma is exactly 0, and how many.

Why it is bad: such a channel is a constant, beta, whatever its input is: the work that went into it
is lost, and an operator behind it could do without it. If all channels of a layer are so, the
whole layer, and the branch it ends, does nothing.

How it happens: structured pruning pushes gamma to zero and then removes the channels (network
slimming); the export came before the removal. In all channels: residual branches are often
initialised with gamma 0 (PyTorch: zero_init_residual; Keras and TensorFlow:
gamma_initializer="zeros"; slim: param_initializers={"gamma": tf.zeros_initializer()}), so a model
in which all of them still are was never trained.

It is an info, because pruning and weight decay are no mistakes. It is a warning if all channels of
a layer are zero; legitimate then is an export of an untrained model on purpose.

Example: gamma [0.9, 0, 1.1]: the second channel is its beta.

How to fix: nothing, or remove the channels. If whole layers are zero: export a trained checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnopt.findings import Finding, Severity
from bnopt.graph.uses import describe
from bnopt.rules.channels import indices
from bnopt.rules.view import View

CODE = "zero-gamma"
SEVERITY: Severity = "warning"
SUMMARY = "have channels with gamma 0"
CAUSES = {
    "tensorflow": "channels were pruned, or gamma_initializer='zeros' was never trained away",
    "pytorch": "channels were pruned, or zero_init_residual was never trained away",
    "": "channels were pruned, or initialised with 0 and never trained",
}


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm if gamma, or what is left of it, is 0 in a channel."""
    for norm in view.norms:
        numbers = norm.gamma if norm.gamma is not None else norm.scale
        if numbers is None:
            continue
        zero = numbers.reshape(-1) == 0
        count = int(np.count_nonzero(zero))
        if not count:
            continue
        evidence: dict[str, object] = {
            "count": count,
            "of": int(zero.size),
            "channels": indices(zero),
        }
        if count == zero.size:
            message = f"gamma of {describe(norm.node)} is 0 in all {count} channels: a constant"
            fix = "export a trained checkpoint; remove the branch if it is meant to do nothing"
            yield Finding(CODE, "warning", norm.site, message, fix, evidence)
        else:
            message = f"gamma of {describe(norm.node)} is 0 in {count} of {zero.size} channels"
            fix = "nothing is wrong; the channels could be removed"
            yield Finding(CODE, "info", norm.site, message, fix, evidence)
