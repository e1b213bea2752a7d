"""A batch norm computes its mean and variance from the very data it normalises.

What it does: reports every batch norm, in whatever mode, whose statistics come out of a reduction
of its own input over the batch: ReduceMean, Sub, Mul, ReduceMean in front of a BatchNormalization
or of a chain of Sub, Mul and Add. Those that an input can switch off are left to
`training-switch`.

Why it is bad: the output for one sample depends on the other samples in its batch, as it does in
training mode, but no attribute says so. The moving statistics are not in the model. Nothing can be
folded.

How it happens: TensorFlow 1: the graph was frozen with is_training=True, so that tf.nn.moments
stayed in it; or tf.nn.batch_normalization was given the moments of the batch and no moving average
at all. slim and contrib: batch_norm(..., is_training=True), which is the default, in the evaluation
graph. Keras: model(x, training=True), or a layer called so. PyTorch: BatchNorm(...,
track_running_stats=False), which uses batch statistics even after eval().

It is an error, because a model must not answer for its neighbours. Legitimate are style transfer
and image translation that normalise with the statistics of the one image they are given (pix2pix),
at batch size 1; `--allow batch-statistics` lets them pass, InstanceNormalization says it better.

Example: `ReduceMean(x, axes=[0, 2, 3]) -> mean; BatchNormalization(x, g, b, mean, var)`.

How to fix: export the inference graph: is_training=False, training=False; in PyTorch train with
track_running_stats=True. Where only this model is left, take the statistics from data: run it on
samples of the training data and put their mean and variance in place of the reductions.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from bnopt.findings import Finding, Severity
from bnopt.graph.operators import operand
from bnopt.graph.scopes import label
from bnopt.graph.uses import describe
from bnopt.rules.norms import Norm
from bnopt.rules.view import View

CODE = "batch-statistics"
SEVERITY: Severity = "error"
SUMMARY = "compute their statistics from the batch"
CAUSES = {
    "tensorflow": "the training graph was exported: is_training=True or training=True",
    "pytorch": "the module was made with track_running_stats=False",
    "": "the training graph was exported",
}

_FIXES = {
    "tensorflow": "export the inference graph: is_training=False or training=False",
    "pytorch": "train with track_running_stats=True, which eval() then uses",
}
_MAX_NODES = 64


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm if its statistics are those of the batch."""
    fix = _FIXES.get(view.framework, "export in inference mode, with moving statistics")
    for norm in view.live:
        if norm.form != "batch_statistics" or norm.refusal is None:
            continue
        message = norm.refusal.message
        evidence: dict[str, object] = {}
        reduction = _reduction(norm)
        if reduction is not None:
            message += f", by {describe(reduction)}"
            evidence["reduction"] = label(reduction)
        yield Finding(CODE, SEVERITY, norm.site, message, fix, evidence)


def _reduction(norm: Norm) -> ir.Node | None:
    """The nearest reduction upstream of the statistics; the message on a chain names its own."""
    statistics = (operand(norm.node, 3), operand(norm.node, 4))
    pending = [p for v in statistics if v is not None and (p := v.producer()) is not None]
    seen: set[int] = set()
    while pending and len(seen) < _MAX_NODES:
        node = pending.pop(0)
        if node.op_type.startswith("Reduce"):
            return node
        for value in node.inputs:
            producer = None if value is None or value is norm.input else value.producer()
            if producer is not None and id(producer) not in seen:
                seen.add(id(producer))
                pending.append(producer)
    return None
