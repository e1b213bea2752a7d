"""The moving statistics have hardly left their initial values.

What it does: reports batch norms whose variance still holds a part of the initial 1. With decay d,
that part is d^n after n updates. Where channels are constant in training (dead behind a ReLU) their
variance is exactly d^n: three or more that agree give the number, and with it the steps n for each
usual decay. Where all variances of a layer are below 1 and nearly equal, and smaller than any other
in the model, what they have in common is most of it. Where mean and variance are close to 0 and 1
in every channel of a layer, the smallest variance is an upper bound.

Why it is bad: the statistics are a mixture of the data's and of 0 and 1. Training does not look at
them, so nothing shows before production. At a residue of 0.9 the model is nearly as wrong as one
that was never updated.

How it happens: too few steps for the decay: after n steps of decay 0.999 a part of 0.999^n is left,
which is 95 % after 50 steps and 37 % after 1000. slim and contrib: the default decay of 0.999 needs
thousands of steps, with zero_debias_moving_mean=True only the mean is corrected. tf.layers and
Keras: momentum=0.99, fine-tuning for a few epochs on little data. PyTorch: momentum=0.001, meant
for Keras' 0.999.

Severity: an error if the residue is 0.2 or more and in more than half of the batch norms, or if all
of them, two at least, are close to 0 and 1; else a warning. Legitimate is a layer whose input is
standardised already, which is why one layer alone is never more than a warning.

How to fix: train on with a smaller decay (0.9 or 0.99), or let data run through the model with its
weights as they are, so that the statistics become those of the data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bnopt.findings import Finding, Severity
from bnopt.rules import one_step
from bnopt.rules.initial import share
from bnopt.rules.norms import Norm
from bnopt.rules.residue import (
    Residue,
    near_initial,
    of_dead_channels,
    of_tight_layer,
    steps_text,
    upper_bound,
)
from bnopt.rules.view import View

CODE = "barely-updated"
SEVERITY: Severity = "error"
SUMMARY = "have hardly left their initial values"
CAUSES = {
    "tensorflow": "too few training steps for the decay (momentum) of the moving averages",
    "pytorch": "too few batches in train(), or a small momentum: 0.1 means decay 0.9, 0.001 0.999",
    "": "too few training steps for the momentum of the moving averages",
}
FIX = "train on with a faster average (decay 0.9 or 0.99), and export again"

_FIXES = {"pytorch": "train on, or with a larger momentum (0.1 is the default), and export again"}

_LARGE = 0.2


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm with a residue, or close to initial values."""
    norms = [norm for norm in view.live if norm.mean is not None and norm.variance is not None]
    if one_step.looks_so(view, norms):
        return
    fix = _FIXES.get(view.framework, FIX)
    residue = of_dead_channels(norms) or of_tight_layer(norms)
    if residue is not None:
        yield from _with_residue(norms, residue, fix)
        return
    near = [norm for norm in norms if near_initial(norm)]
    every = len(near) == len(norms) >= 2
    bound = upper_bound(near)
    for norm in near:
        message = f"mean and variance are close to 0 and 1 in all {norm.channels} channels"
        if bound < 1:
            message += f"; at most {bound:.3g} of the initial value is left"
        evidence: dict[str, object] = {"residue_at_most": bound}
        yield Finding(CODE, "error" if every else "warning", norm.site, message, fix, evidence)


def _with_residue(norms: Sequence[Norm], residue: Residue, fix: str) -> Iterator[Finding]:
    # No variance can lie below the residue that all of them were started with.
    concerned = [
        norm
        for norm in norms
        if norm.variance is not None and norm.variance.min() >= residue.value * (1 - 1e-3)
    ]
    grave = residue.value >= _LARGE and share(len(concerned), len(norms)) > 0.5
    severity: Severity = "error" if grave else "warning"
    message = (
        f"about {residue.value:.3g} of the initial variance is left (within {residue.spread:.1g}), "
        f"by {residue.channels} channels that agree: as after {steps_text(residue.value)}"
    )
    for norm in concerned:
        evidence: dict[str, object] = {
            "residue": residue.value,
            "spread": residue.spread,
            "channels": residue.channels,
            "steps": {str(decay): residue.steps(decay) for decay in (0.9, 0.99, 0.999)},
        }
        yield Finding(CODE, severity, norm.site, message, fix, evidence)
