"""A batch norm runs in training mode.

What it does: reports every BatchNormalization that normalises with the statistics of the batch it
is given: training_mode=1 (opset 14 and later), several outputs (opset 7 to 13), is_test=0 (opset 1
to 6).

Why it is bad: the output for one sample depends on the other samples in its batch. Everything
looks fine at the training batch size, and turns to garbage at batch size 1. The moving statistics
that training gathered are not used at all.

How it happens: PyTorch exports a module on which eval() was never called, or one with
training=TrainingMode.TRAINING. TensorFlow 1 freezes a graph that was built with is_training=True.
Keras traces a call with training=True.

How to fix: export again in inference mode: model.eval(), is_training=False, training=False.
bnopt never folds such a node; with `--allow training-mode` it is kept as it is and the others are
folded.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.rules.view import View

CODE = "training-mode"
SEVERITY: Severity = "error"
SUMMARY = "run in training mode"
CAUSES = {
    "tensorflow": "the graph was exported with is_training=True or training=True",
    "pytorch": "model.eval() was not called before the export",
    "": "the model was exported in training mode",
}


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm if the node is in training mode."""
    fix = "export in inference mode: model.eval(), is_training=False or training=False"
    for norm in view.live:
        if norm.refusal is not None and norm.refusal.reason == CODE:
            yield Finding(CODE, SEVERITY, norm.site, norm.refusal.message, fix)
