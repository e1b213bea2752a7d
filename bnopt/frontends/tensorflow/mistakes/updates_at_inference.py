"""Inference updates the moving statistics.

What it does: reports every moving statistic that is changed whenever an output is computed,
whatever the flag for training says.

Why it is bad: the model changes while it is used. Every validation run during training has moved
the statistics towards the data of validation, and what a served model answers depends on what it
was asked before.

How it happens: TensorFlow 1, contrib and slim: `updates_collections=None` makes the output depend
on the updates, and the graph is the training graph. Or two towers, one for training and one for
inference, were built first and then chosen with tf.cond(is_training, lambda: a, lambda: b): what
was built outside runs whichever is chosen. A hand-written layer: control_dependencies on the assign
ops without a tf.cond around them.

Severity: a warning. The exported model does not update anything: bnopt cuts the inference path out
and says so; what is in the statistics already, it cannot undo. Legitimate is test-time adaptation.

Example:
    a, b = batch_norm(x, is_training=True, scope="bn"), batch_norm(x, is_training=False, ...)
    y = tf.cond(is_training, lambda: a, lambda: b)          # a is computed, and updates, always

How to fix: build the towers inside the functions given to tf.cond, or pass is_training itself to
batch_norm. If validation has run, estimate the statistics anew from training data.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.frontends.tensorflow.dataflow.view import View

CODE = "updates-at-inference"
SEVERITY: Severity = "warning"
SUMMARY = "are updated by inference too"
CAUSES = {"": "the updates hang on the output, not on the branch that is for training"}
FIX = "build the training tower inside tf.cond, or pass is_training to batch_norm"


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm with an update that every run of an output does."""
    run = view.graph.ancestors(view.outputs) - view.idle
    layers: dict[str, list[str]] = {}
    for update in view.updates:
        if update.node in run and not update.gates and update.variable in view.statistics:
            scope = update.variable.rpartition("/")[0] or update.variable
            layers.setdefault(scope, []).append(update.node)
    for layer, ops in layers.items():
        message = f"every run of an output also runs '{ops[0]}'"
        yield Finding(CODE, SEVERITY, layer, message, FIX, {"updates": ops})
