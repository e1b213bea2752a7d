"""The output for one sample depends on the others in its batch.

What it does: runs the model on a batch, on the same batch with one sample kept and the others
replaced, and on each sample alone. Reports the model if the output for a sample changes by more
than 0.1 % of the largest output, and by more than 100 times what a change of the inputs in their
last place does. Rounding, which differs between batch sizes because kernels add in another order,
stays near that noise; batch statistics move the output by percents.

Why it is bad: nobody can say what the answer for a sample is. Accuracy looks fine on large, mixed
batches, and is lost at batch size 1 or on batches of one class.

It is an error where a batch norm of the model uses the statistics of the batch, or may. Where
there is no batch norm, or all have fixed statistics, they are not what mixes the samples, and it
is a warning: some models do so on purpose. Legitimate are contrastive losses and other losses kept
in the graph, softmax or normalisation over the batch, non-maximum suppression over a batch,
dynamic quantization (one scale for the whole batch), and graph networks, whose leading axis is
nodes. Models that draw random numbers, and those whose leading axis may be time, are left out.

How it happens: in TensorFlow 1 the graph was frozen with is_training=True; in slim and contrib
is_training was left at its default, which is True; in Keras the model was traced with
training=True, or the learning phase was 1; in PyTorch model.eval() was not called, or a batch norm
has track_running_stats=False.

Example: "output 'logits' for a sample changes by 35 % when the others in its batch are replaced".

How to fix: export again in inference mode: model.eval(), is_training=False, training=False. If the
batch norms have no moving statistics, estimate them from data. If it is meant: `--allow
batch-dependence`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from bnopt.evidence import OutputBehaviour
from bnopt.findings import Finding, Severity
from bnopt.rules.norms import Norm
from bnopt.rules.view import View

CODE = "batch-dependence"
SEVERITY: Severity = "error"
SUMMARY = ""
CAUSES = {
    "tensorflow": "most often the graph was exported with is_training=True or training=True",
    "pytorch": "most often model.eval() was not called before the export",
    "": "most often the model was exported in training mode",
}

SMALLEST = 1e-3
"""Of the largest output; what matters to nobody, and more than float16 arithmetic makes."""

TIMES_NOISE = 100.0
"""Two batch sizes differ in every sum of the model, noise in its inputs only."""

_MIXING = frozenset(("training-mode", "batch-statistics", "dynamic-statistics"))


def check(view: View) -> Iterator[Finding]:
    """One finding for the model if an output for one sample depends on other samples."""
    if view.behaviour is None:
        return
    found = [output for output in view.behaviour.outputs if _depends(output)]
    if not found:
        return
    worst = max(found, key=_size)
    guilty = [norm for norm in view.norms if _may_mix(norm)]
    message = _describe(worst, view.behaviour.batch)
    if len(found) > 1:
        more = len(found) - 1
        message += "; so does 1 more output" if more == 1 else f"; so do {more} more outputs"
    fix = "export in inference mode: model.eval(), is_training=False or training=False"
    if not guilty:
        message += "; no batch norm is to blame"
        fix = "find what mixes the samples; if that is meant, ignore this rule"
    yield Finding(
        CODE,
        SEVERITY if guilty else "warning",
        None,
        message,
        fix,
        {
            "batch": view.behaviour.batch,
            "batch_norms_to_blame": len(guilty),
            "outputs": [
                {
                    "name": output.name,
                    "neighbours": _number(output.neighbours),
                    "alone": _number(output.alone),
                    "noise": _number(output.noise),
                }
                for output in found
            ],
        },
    )


def _size(output: OutputBehaviour) -> float:
    return max(output.neighbours or 0.0, output.alone or 0.0)


def _depends(output: OutputBehaviour) -> bool:
    return output.per_sample and _size(output) > max(SMALLEST, TIMES_NOISE * output.noise)


def _may_mix(norm: Norm) -> bool:
    return norm.refusal is not None and norm.refusal.reason in _MIXING


def _describe(output: OutputBehaviour, batch: int) -> str:
    if (output.neighbours or 0.0) >= (output.alone or 0.0):
        how = "when the others in its batch are replaced"
        return f"output '{output.name}' for a sample changes by {_percent(output.neighbours)} {how}"
    how = f"between batch 1 and batch {batch}"
    return f"output '{output.name}' for a sample changes by {_percent(output.alone)} {how}"


def _percent(share: float | None) -> str:
    if share is None or not math.isfinite(share):
        return "more than can be said"
    return f"{100 * share:.2g} %"


def _number(value: float | None) -> float | None:
    """JSON has no infinity."""
    return value if value is not None and math.isfinite(value) else None
