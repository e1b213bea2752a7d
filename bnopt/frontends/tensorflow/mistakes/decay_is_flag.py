"""The flag for training was passed as the decay of the moving averages.

What it does: reports every moving average whose decay is exactly 0 or 1, or is computed from a
boolean placeholder. A decay that the flag only switches on, 1 - 0.1 * is_training, is none.

Why it is bad: with a decay of 1 nothing moves, and the statistics keep their initial values. With a
decay of 0 they are those of the last batch. And since the flag itself was not passed, its default
holds: is_training=True, also in production.

How it happens: TensorFlow 1, contrib and slim: the second parameter of batch_norm is decay, not
is_training. `batch_norm(x, is_training)` binds the flag to decay, and a Python bool, or a flag that
was cast to float, is taken without complaint. tf.layers and Keras: the second parameter is axis,
and a bool is an axis too (0 or 1); see `channel-axis`.

Severity: an error where the decay is constant or comes from a boolean. Legitimate is a decay of 1
that freezes the statistics on purpose; say `--allow decay-is-flag`.

Example:
    y = batch_norm(x, is_training)                          # decay=is_training
    y = batch_norm(x, is_training=is_training)              # as it was meant

How to fix: pass the flag by its name, train again, or estimate the statistics from data; the
weights were trained with batch statistics and can stay.
"""

from __future__ import annotations

from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.frontends.tensorflow.dataflow.constants import constant
from bnopt.frontends.tensorflow.dataflow.graph import BOOL, PLACEHOLDERS, Tensor
from bnopt.frontends.tensorflow.dataflow.updates import Update
from bnopt.frontends.tensorflow.dataflow.view import View

CODE = "decay-is-flag"
SEVERITY: Severity = "error"
SUMMARY = "average with a decay that is the flag for training"
CAUSES = {"": "batch_norm(x, is_training) binds the second parameter, which is decay"}
FIX = "pass the flag by name, batch_norm(x, is_training=is_training), and train again"

_ON_THE_WAY = frozenset(("Sub", "Cast", "Identity", "Add", "AddV2", "Mul", "Neg", "Reshape"))


def check(view: View) -> Iterator[Finding]:
    """A finding for each layer with a moving average of such a decay."""
    layers: dict[str, tuple[str, list[str]]] = {}
    for update in view.updates:
        if reason := _reason(view, update):
            layer = update.variable.rpartition("/")[0] or update.variable
            message = f"the moving average '{update.variable}' {reason}"
            layers.setdefault(layer, (message, []))[1].append(update.node)
    for layer, (message, ops) in layers.items():
        yield Finding(CODE, SEVERITY, layer, message, FIX, {"updates": ops})


def _reason(view: View, update: Update) -> str:
    if update.rate is None:
        return ""
    rate = view.rates.get(update.node)
    if rate in (0.0, 1.0):
        decay = 1 - int(rate)
        return f"has a decay of {decay}: {'it never moves' if decay else 'it holds one batch'}"
    name = _flag(view, update.rate)
    if not name or _is_switched(view, update.rate, name):
        return ""
    return f"takes its decay from the boolean '{name}'"


def _is_switched(view: View, rate: Tensor, flag: str) -> bool:
    """Whether a flag only switches a rate on and off: `0.1 * cast(is_training)`."""
    bound = [{**view.bound, Tensor(flag, 0): value} for value in (False, True)]
    rates = [constant(view.graph, rate, values) for values in bound]
    return any(r is not None and bool(((r > 0) & (r < 1)).all()) for r in rates)


def _flag(view: View, rate: Tensor) -> str:
    """The boolean placeholder that a rate is computed from; empty if there is none."""
    pending = [rate]
    seen: set[str] = set()
    while pending:
        name = pending.pop().node
        node = view.graph.nodes.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op in PLACEHOLDERS and node.attr["dtype"].type == BOOL:
            return name
        if node.op in _ON_THE_WAY:
            pending.extend(view.graph.operands(name))
    return ""
