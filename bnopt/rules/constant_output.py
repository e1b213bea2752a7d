"""An output is the same whatever the input.

What it does: runs the model on different samples, small and large, and reports every output that
is computed from the data of an input and yet is the same for all of them, or differs by no more
than a change of the inputs in their last place does.

Why it is bad: the model says nothing about its input.

It is a warning, not an error, because the inputs tried may be to blame: unless data is given they
are random numbers. Legitimate are outputs that only some inputs reach, such as detections above a
threshold, and probabilities that are saturated on anything unlike the training data. Outputs that
read only the shape of the input, such as anchor boxes, are not reported.

How it happens: with statistics that were never updated, or belong to another layer, activations
grow or vanish from layer to layer until a ReLU or a sigmoid is stuck; this is so for TensorFlow 1,
slim and contrib (update ops that were not run), Keras and PyTorch (momentum that suits another
framework) alike. A batch norm in training mode behind a dense layer gives beta, whatever comes in,
at batch size 1. A variance near zero makes its scale explode. Or weights were never restored from
the checkpoint.

Example: "output 'probabilities' is the same for all samples tried".

How to fix: run the model on real data (`--data`); if the output stays constant, look at the other
findings first, then at whether the checkpoint was restored before the export.
"""

from __future__ import annotations

from collections.abc import Iterator

import onnx_ir as ir

from bnopt.findings import Finding, Severity
from bnopt.graph.uses import operands_of
from bnopt.rules.view import View

CODE = "constant-output"
SEVERITY: Severity = "warning"
SUMMARY = ""
CAUSES = {"": "activations are stuck, or the weights were not restored before the export"}

NEGLIGIBLE = 1e-3
"""Of the largest output: a difference above it is one, however noisy the output."""

_SHAPE_READERS = frozenset(("Shape", "Size"))


def check(view: View) -> Iterator[Finding]:
    """A finding for each output that ought to depend on the input and does not."""
    if view.behaviour is None:
        return
    outputs = {value.name: value for value in view.model.graph.outputs}
    for seen in view.behaviour.outputs:
        value = outputs.get(seen.name)
        stuck = seen.spread <= seen.noise and seen.spread < NEGLIGIBLE
        if not seen.per_sample or not stuck or value is None or not _reads_input(value, view.model):
            continue
        yield Finding(
            CODE,
            SEVERITY,
            None,
            f"output '{seen.name}' is the same for all samples tried",
            "run the model on real data (--data); then look at the other findings",
            {"output": seen.name, "spread": seen.spread, "noise": seen.noise},
        )


def _reads_input(output: ir.Value, model: ir.Model) -> bool:
    """Whether the numbers of an input, not just its shape, reach `output`."""
    inputs = {id(value) for value in model.graph.inputs if not value.is_initializer()}
    pending: list[ir.Value | None] = [output]
    seen: set[int] = set()
    while pending:
        value = pending.pop()
        if value is None or id(value) in seen:
            continue
        seen.add(id(value))
        if id(value) in inputs:
            return True
        node = value.producer()
        if node is not None and node.op_type not in _SHAPE_READERS:
            pending.extend(operands_of(node))
    return False
