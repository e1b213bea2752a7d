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

from bnopt.findings import Finding, Severity
from bnopt.rules.base import Subject

CODE = "training-mode"
SEVERITY: Severity = "error"


def check(subject: Subject) -> Finding | None:
    """A finding if the node is in training mode."""
    refusal = subject.refusal
    if refusal is None or refusal.reason != CODE:
        return None
    fix = "export in inference mode: model.eval(), is_training=False or training=False"
    return Finding(CODE, SEVERITY, subject.site, refusal.message, fix)
