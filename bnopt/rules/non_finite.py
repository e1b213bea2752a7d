"""A statistic of a batch norm is NaN or infinite.

What it does: reports every batch norm of which the scale, bias, mean or variance holds a number
that is not finite. So does it where an exporter has computed a constant from such a number: a
factor that multiplies data, or the bias of the operator that the batch norm was folded into.

Why it is bad: every output of the channel is NaN. Folding would spread the NaN over the weights
and bury where it came from.

How it happens: the training diverged after the last good checkpoint; a moving variance was updated
from a batch of one sample (PyTorch divides by n - 1, which is 0) or from half-precision numbers
that overflowed, which one step is enough for, since a moving average never forgets a NaN; a
converter read the wrong tensor. TensorFlow's optimizers compute gamma / sqrt(variance + epsilon)
before the export, so that a NaN variance turns up as a NaN in a Mul. There is no legitimate case.

Example: a moving variance of [0.8, nan, 1.1].

How to fix: find the checkpoint before the statistics went wrong, or estimate them anew from data.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bnopt.findings import Finding, Severity
from bnopt.graph.scopes import scopes
from bnopt.graph.uses import describe
from bnopt.rules.channels import and_more, indices
from bnopt.rules.norms import Array, Norm
from bnopt.rules.view import View

CODE = "non-finite"
SEVERITY: Severity = "error"
SUMMARY = "hold NaN or infinity"
CAUSES = {"": "training diverged, or a converter read the wrong tensor"}

_FIX = "go back to a checkpoint with finite statistics, or estimate them anew from data"


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm, or what is left of one, if a number is NaN or infinite."""
    for norm in view.norms:
        parameter, numbers = _bad_parameter(norm)
        if norm.refusal is not None and norm.refusal.reason == CODE:
            message = norm.refusal.message
        elif numbers is not None:
            message = f"the {parameter} of {describe(norm.node)} {_bad_number(numbers)}"
        else:
            continue
        evidence: dict[str, object] = {}
        if numbers is not None:
            evidence = {"parameter": parameter, "channels": indices(~np.isfinite(numbers))}
        yield Finding(CODE, SEVERITY, norm.site, message, _FIX, evidence)
    for trace in view.traces:
        if trace.shift is not None and not np.isfinite(trace.shift).all():
            message = f"what is added behind {describe(trace.node)} {_bad_number(trace.shift)}"
            yield Finding(CODE, SEVERITY, trace.site, message, _FIX)
    yield from _factors(view)


def _factors(view: View) -> Iterator[Finding]:
    """Mul by a vector that is not finite: it is no affine, and so none of the batch norms."""
    for scope in scopes(view.model):
        for node in scope.graph:
            if node.op_type != "Mul":
                continue
            constants = [view.context.constants.resolve(value) for value in node.inputs]
            known = [c for c in constants if c is not None and c.tensor.size > 1]
            # Two constants make a constant, of which the reader speaks.
            if None not in constants or not known:
                continue
            numbers = known[0].array().astype(np.float64).reshape(-1)
            if not np.isfinite(numbers).all():
                message = f"the factor of {describe(node)} {_bad_number(numbers)}"
                yield Finding(CODE, SEVERITY, None, message, _FIX, {"node": scope.site_id(node)})


def _bad_parameter(norm: Norm) -> tuple[str, Array | None]:
    parameters = (norm.gamma, norm.beta, norm.mean, norm.variance)
    for name, numbers in zip(("scale", "bias", "mean", "variance"), parameters, strict=True):
        if numbers is not None and not np.isfinite(numbers).all():
            return name, numbers.reshape(-1)
    return "", None


def _bad_number(numbers: Array) -> str:
    bad = ~np.isfinite(numbers)
    first = int(np.flatnonzero(bad)[0])
    return f"is {numbers[first]} in channel {first}{and_more(bad)}"
