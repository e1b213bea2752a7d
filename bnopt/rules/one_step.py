"""The moving statistics are one step away from their initial values.

What it does: reports a model in which every variance of every batch norm is 0.9 or more, and most
are between 0.9 and 1: as after a single update with PyTorch's momentum of 0.1, which leaves
0.9 * 1 + 0.1 * variance. Trained statistics spread over orders of magnitude and respect no such
floor.

Why it is bad: the statistics are those of an untrained model. Whatever the weights are, the batch
norms do not belong to them.

How it happens: PyTorch: torch.onnx.export(..., training=TrainingMode.TRAINING) runs the model once
in training mode, which moves fresh statistics by one step; or one forward pass was made in train()
before the export. For TensorFlow and Keras, whose decays are 0.99 and more, see `barely-updated`.

Severity: an error. Legitimate is a test model that was never trained; say `--allow one-step`.

How to fix: load the trained checkpoint, call model.eval(), and export in inference mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from bnopt.findings import Finding, Severity
from bnopt.rules.norms import Norm
from bnopt.rules.view import View

CODE = "one-step"
SEVERITY: Severity = "error"
SUMMARY = "are one step away from their initial values"
CAUSES = {
    "pytorch": "an untrained model was run once in training mode, as a training export does",
    "": "an untrained model was run once in training mode",
}
FIX = "load the trained checkpoint, and export in inference mode"

_FLOOR = 0.9
_FEWEST = 8
# float16 parameters round 0.9 to 0.8999.
_ROUNDING = 1e-3


def looks_so(view: View, norms: Sequence[Norm]) -> bool:
    """Whether all variances of a model respect the residue of one step of momentum 0.1."""
    if view.framework == "tensorflow":
        # Its decays are larger: many steps of 0.99 or 0.999 end at the same number.
        return False
    found = [norm.variance.reshape(-1) for norm in norms if norm.variance is not None]
    if not found:
        return False
    every = np.concatenate(found)
    respected = every.min() >= _FLOOR * (1 - _ROUNDING)
    mostly = np.median(every) < 1 and every.min() < 1 - _ROUNDING
    return bool(respected and mostly and every.size >= _FEWEST)


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm, if all of them look so."""
    norms = [norm for norm in view.live if norm.mean is not None and norm.variance is not None]
    if not looks_so(view, norms):
        return
    for norm in norms:
        assert norm.variance is not None
        low, high = float(norm.variance.min()), float(norm.variance.max())
        message = f"all variances lie between {low:.3g} and {high:.3g}, as after one step from 1"
        yield Finding(CODE, SEVERITY, norm.site, message, FIX, {"lowest": low, "highest": high})
