"""There are update ops, and training does not run them.

What it does: reports every moving statistic that has an op to update it, on which no optimizer step
of the same graph and no output depends, and which still holds its initial value or has no known
one.

Why it is bad: the moving statistics are never updated. Training looks well, because it uses the
statistics of the batch; inference uses mean 0 and variance 1.

How it happens: TensorFlow 1, tf.layers, contrib and slim put the updates into the collection
tf.GraphKeys.UPDATE_OPS and leave it to the caller to run them. A hand-written layer calls tf.assign
or assign_moving_average and lets go of the result. An ExponentialMovingAverage has an apply op, or
a helper class an assigner, which is never run. TensorFlow 2: `layer.updates` is not run by itself
in a graph.

Severity: an error if the statistics still hold their initial values, which proves it. If their
values are not known it is a warning: the program may run the updates by a session call of its own.
If they have moved nothing is reported.

Example:
    train_op = optimizer.minimize(loss)                     # nothing updates
    updates = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    train_op = tf.group(optimizer.minimize(loss), *updates)  # as it should be

How to fix: run the update ops with the train op and train on, or estimate the statistics from data.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.frontends.tensorflow.dataflow.view import View

CODE = "updates-not-run"
SEVERITY: Severity = "error"
SUMMARY = "have update ops that training does not run"
CAUSES = {"": "the ops in tf.GraphKeys.UPDATE_OPS were not run with the train op"}
FIX = "run tf.get_collection(tf.GraphKeys.UPDATE_OPS) with the train op, and train again"


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm whose updates nothing runs."""
    run = view.graph.ancestors([*view.graph.descendants(view.train_ops), *view.outputs])
    for pair in view.pairs:
        idle: list[str] = []
        moved = False
        for name, initial in (
            (pair.mean, pair.mean_initial),
            (pair.variance, pair.variance_initial),
        ):
            ops = [update.node for update in view.updated.get(name or "", [])]
            if ops and not any(op in run for op in ops):
                idle.extend(ops)
                moved = moved or initial is False
        if not idle or moved:
            continue
        severity: Severity = "error" if pair.never else "warning"
        by = "the train op" if view.train_ops else "any op of the graph"
        message = f"'{idle[0]}' would update it, and {by} does not depend on it"
        if not view.train_ops:
            message = f"'{idle[0]}' would update it, and nothing in the graph depends on it"
        evidence: dict[str, object] = {"updates": idle, "train_op": bool(view.train_ops)}
        yield Finding(CODE, severity, pair.layer, message, FIX, evidence)
