"""The moving averages move so fast that they hold little more than the last batch.

What it does: reports every batch norm whose moving mean or variance takes half or more of each new
batch. An average that takes all of it is `decay-is-flag` in a TensorFlow graph with its update ops,
and reported here in Keras and PyTorch.

Why it is bad: the statistics are those of the last batch of training, with all its noise. They are
not far off on the whole, so that nothing looks broken; but the smaller that batch, the further.
Measured on a small network with batches of 8: the moving variance of a channel is off by at most 3
to 13 % with a decay of 0.9, and by at most 18 to 50 % with one of 0.01 (five seeds).

How it happens: frameworks mean opposite things by the word. PyTorch: momentum is the weight of the
new batch, 0.1 by default; momentum=0.99, taken from a Keras model, is a decay of 0.01. Keras:
momentum is the weight of the old average, 0.99 by default; momentum=0.01 or 0.1, taken from a
PyTorch model, is a decay of 0.01 or 0.1. TensorFlow 1, contrib and slim: decay is as Keras has it.

Severity: a warning, because large batches give good statistics all the same. It is seen in Keras
models and files and in PyTorch modules, which know their momentum, and in TensorFlow graphs that
hold the update ops with a constant decay. An ONNX file and a SavedModel of inference do not say how
fast their averages were, and what `bnopt check --data` calls stale (`stale-statistics`) is further
off.

Example:
    nn.BatchNorm2d(64, momentum=0.99)                       # PyTorch: a decay of 0.01
    nn.BatchNorm2d(64, momentum=0.01)                       # as Keras' momentum=0.99
    keras.layers.BatchNormalization(momentum=0.1)           # Keras: a decay of 0.1

How to fix: take 1 - momentum, and train again; or estimate the statistics from data (`bnopt
calibrate`). The weights were trained with batch statistics and can stay.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.frontends.tensorflow.dataflow.constants import constant
from bnopt.frontends.tensorflow.dataflow.graph import Graph, Tensor
from bnopt.frontends.tensorflow.dataflow.sources import MERGES, SELECTS
from bnopt.frontends.tensorflow.dataflow.updates import updates
from bnopt.frontends.tensorflow.dataflow.view import View

CODE = "fast-average"
SEVERITY: Severity = "warning"
SUMMARY = "averages that hold little more than the last batch"
CAUSES = {
    "pytorch": "momentum is 1 - decay in PyTorch: momentum=0.99 is a decay of 0.01",
    "": "momentum or decay was given as another framework means it, as 1 - decay",
}
FIX = "use 1 - momentum and train again, or estimate the statistics from data"

_FAST = 0.5
# 1 - 0.5 may come out a little below it in float32.
_ROUNDING = 1e-6


def check(view: View) -> Iterator[Finding]:
    """A finding for each batch norm with statistics that were moved so."""
    rates = _rates(view) | {n: r for n, r in view.model.rates.items() if _is_fast(r)}
    for pair in view.pairs:
        fast = {name: rates[name] for name in (pair.mean, pair.variance) if name in rates}
        if not fast or pair.never:
            continue
        name, rate = next(iter(fast.items()))
        message = (
            f"'{name}' holds little more than the last batch: {rate:.3g} of it is new at each "
            f"step, a decay of {1 - rate:.3g}"
        )
        yield Finding(CODE, SEVERITY, pair.layer, message, FIX, {"rates": fast})


def _rates(view: View) -> dict[str | None, float]:
    """Variable -> the smallest rate it is ever moved with, where that is a fast one."""
    graph = view.undecided.graph
    found: dict[str | None, list[float]] = {}
    for update in updates(view.undecided):
        if update.rate is not None:
            # Outside training slim and Keras have a rate of 0. One that is not known may be small.
            moving = [rate or 0.0 for rate in _ways(graph, update.rate) if rate != 0]
            found.setdefault(update.variable, []).extend(moving)
    smallest = {variable: min(rates, default=0.0) for variable, rates in found.items()}
    return {name: rate for name, rate in smallest.items() if _is_fast(rate) and rate < 1}


def _is_fast(rate: float) -> bool:
    return rate >= _FAST - _ROUNDING


def _ways(graph: Graph, rate: Tensor) -> Iterator[float | None]:
    """What a rate is whichever way the conditionals go that it comes from; None if not known."""
    before = graph.ancestors([rate.node], control=False)
    choices = [name for name in before if graph.op(name) in MERGES | SELECTS]
    for way in (-2, -1):
        taken = {
            Tensor(name, 0): value
            for name in choices
            if (value := constant(graph, graph.operands(name)[way])) is not None
        }
        value = constant(graph, rate, taken)
        yield None if value is None or value.size != 1 else float(value.item())
