"""Different layers have identical statistics.

What it does: reports batch norms whose mean and variance are the same numbers as those of another
one, bit for bit, though each has its own tensors and neither holds initial values.

Why it is bad: two layers that see different data have different statistics. Equal ones were copied:
one of the two layers normalises with the other's numbers.

How it happens: TensorFlow 1: a checkpoint was restored by a mapping of names that maps two layers
to one variable. Keras: set_weights in a loop with the wrong index. PyTorch: a state_dict was
rewritten key by key, or a layer was copied with deepcopy after training. A converter that removes
duplicates compared less than the whole tensor.

Severity: a warning. Legitimate are a layer that is applied twice and exported with a copy of its
parameters for each call, and towers of an ensemble that share weights.

How to fix: compare both layers with the checkpoint, and restore the one that is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.rules.norms import Norm
from bnopt.rules.view import View

CODE = "identical-statistics"
SEVERITY: Severity = "warning"
SUMMARY = "have the statistics of another one"
CAUSES = {"": "one layer's variables were restored or copied into another's"}
FIX = "compare the layers with the checkpoint, and restore the one that is wrong"


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm but the first of those that are equal."""
    first: dict[tuple[bytes, bytes], Norm] = {}
    for norm in view.live:
        mean, variance = norm.mean, norm.variance
        if mean is None or variance is None or mean.size < 2:
            continue
        if (mean == mean.flat[0]).all() or (variance == variance.flat[0]).all():
            # Initial or made-up values, of which other rules speak.
            continue
        other = first.setdefault((mean.tobytes(), variance.tobytes()), norm)
        if other is norm or _shared(norm, other):
            continue
        message = f"mean and variance are those of '{other.name}'"
        yield Finding(CODE, SEVERITY, norm.site, message, FIX, {"same_as": other.site})


def _shared(norm: Norm, other: Norm) -> bool:
    """Whether both read the same tensors: one layer, called twice."""
    return all(norm.names.get(p) == other.names.get(p) for p in ("mean", "variance"))
