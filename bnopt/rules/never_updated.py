"""The moving statistics were never updated.

What it does: reports every batch norm whose moving mean and variance still hold what the framework
started them from: mean 0 and variance 1, or 0 and 0. Where an exporter has already turned them into
a multiplication and an addition, or into the weights of a convolution, it looks for what is left of
them there: a factor of 1 / sqrt(1 + epsilon) in every channel, or no shift in any.

Why it is bad: the model normalises with numbers that have nothing to do with its data. Where
training used the statistics of the batch it trained well, and gives garbage in production. Where
training itself ran in inference mode, with 0 and 1, the weights fit 0 and 1: the model computes
what it was trained to, without the normalisation that it was meant to have.

How it happens: TensorFlow 1, tf.layers and slim: the update ops in tf.GraphKeys.UPDATE_OPS were
never run with the train op. contrib: `updates_collections` was given and then forgotten. A
hand-written layer: the assign ops of the moving averages hang on nothing that is run. Keras: a
custom training loop calls model(x) without training=True, or layer.trainable is False from the
start. PyTorch: the model was exported before training, model.eval() was called during training, or
a checkpoint was loaded with strict=False and the buffers were not in it.

Severity: an error if more than half of the batch norms are so. A few may be on purpose, in a branch
that training never used: then it is a warning. Legitimate are a model that was initialised on
purpose and not trained, weights made up for a benchmark, and statistics frozen at 0 and 1 so that
gamma and beta are the whole affine; say `--allow never-updated` for these.

Example:
    ops = tf.get_collection(tf.GraphKeys.UPDATE_OPS)
    with tf.control_dependencies(ops):          # without this line nothing updates
        train_op = optimizer.minimize(loss)

How to fix: run the update ops and train on, or let data run through the model with the weights as
they are (`bnopt calibrate`), so that the statistics become those of the data. Not so where training
ran in inference mode: statistics of the data are not what the weights behind them expect, and make
the model worse; train again with the batch norms in training mode, or keep it as it is with
`--allow never-updated`. To tell one from the other, look at the forward pass whose loss was
minimised: is_training=True, training=True or model.train() there means that the batch was used. Or
measure the model on labelled samples as it stands: about as good as in training means that the
weights fit 0 and 1, and far worse means that the statistics are what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.rules.initial import initial_values, share
from bnopt.rules.view import View

CODE = "never-updated"
SEVERITY: Severity = "error"
SUMMARY = "were never updated"
CAUSES = {
    "tensorflow": "the update ops did not run with the train op, or training=True was not passed",
    "pytorch": "the model was exported untrained, or trained in eval mode",
    "": "the moving averages were not part of the training step",
}
FIX = "run the update ops with the train op (training=True, model.train()) and export again"


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm with initial statistics."""
    known = initial_values(view)
    found = [initial for initial in known if initial.never]
    severity: Severity = "error" if share(len(found), len(known)) > 0.5 else "warning"
    for initial in found:
        evidence: dict[str, object] = {"updated": len(known) - len(found), "known": len(known)}
        yield Finding(CODE, severity, initial.site, initial.why, FIX, evidence)
