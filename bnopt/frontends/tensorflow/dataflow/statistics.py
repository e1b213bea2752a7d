"""Checks of the moving statistics' values, under the codes that `bnopt.rules` documents.

| code | what shows it here |
|---|---|
| never-updated | both variables hold what their initializer gives, or 0 and 1 |
| half-updated | one of them does |
| one-step, barely-updated | `local_step` of zero debiasing counts the updates |
| zero-debias | a batch norm reads `biased` or `local_step` |
| wrong-scope | what it reads is never updated, and another layer's variables are |
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from bnopt.findings import Finding, Severity
from bnopt.frontends.tensorflow.dataflow.constants import constant
from bnopt.frontends.tensorflow.dataflow.layers import Pair
from bnopt.frontends.tensorflow.dataflow.view import View

_TRAIN = "run the update ops with the train op, and export again; or estimate them from data"
_WORSE = (
    "statistics from data help if training normalised by the batch, and make the model worse if "
    "its weights were trained for mean 0 and variance 1"
)
_KERAS = f"train it with training=True and trainable=True, and export again; {_WORSE}"
_UNSEEN = (
    "update them in training (Keras: training=True; TensorFlow 1: the update ops), and export "
    f"again; {_WORSE}"
)
_SCOPE = "build both towers in one variable scope with reuse=True, and export again"
_NUMBERED = re.compile(r"^(.*?)_(\d+)$")
_RESIDUE = 0.2
# The decay is float32 and each update rounds.
_ROUNDING = 1e-3


def never_updated(view: View) -> Iterator[Finding]:
    """A finding for each batch norm whose statistics never moved."""
    known = [pair for pair in view.pairs if pair.known]
    found = [pair for pair in known if pair.never]
    severity: Severity = "error" if len(found) * 2 > len(known) else "warning"
    for pair in found:
        message = f"'{pair.mean}' and '{pair.variance}' still hold their initial values"
        evidence: dict[str, object] = {"updated": len(known) - len(found), "known": len(known)}
        yield Finding(
            "never-updated", severity, pair.layer, message, _never_fix(view, pair), evidence
        )


def _never_fix(view: View, pair: Pair) -> str:
    """What to do, by who has to update: Keras itself, ops of this graph, or ops it is without."""
    if pair.mean in view.model.rates:
        return _KERAS
    return _TRAIN if {pair.mean, pair.variance} & view.updated.keys() else _UNSEEN


def half_updated(view: View) -> Iterator[Finding]:
    """A finding for each batch norm of which one statistic moved."""
    known = [pair for pair in view.pairs if pair.known]
    found = [pair for pair in known if pair.mean_initial != pair.variance_initial]
    grave = len(found) > 1 and len(found) * 2 > len(known)
    for pair in found:
        still, moved = pair.mean, pair.variance
        if pair.variance_initial:
            still, moved = moved, still
        message = f"'{still}' still holds its initial value, and '{moved}' has moved"
        evidence: dict[str, object] = {
            "mean": pair.mean_initial,
            "variance": pair.variance_initial,
        }
        fix = "restore or update both the moving mean and the moving variance, and export again"
        severity: Severity = "error" if grave else "warning"
        yield Finding("half-updated", severity, pair.layer, message, fix, evidence)


def few_steps(view: View) -> Iterator[Finding]:
    """A finding for each batch norm whose own counter says that it was hardly updated.

    A global step is no such counter: update ops also run without it, where gradients are
    accumulated or a loss is evaluated in training mode, and nothing in the graph tells.
    """
    for pair in view.pairs:
        counter = _counter(view, pair.mean)
        rate = _rate(view, pair.variance)
        counted = int(view.model.values[counter]) if counter else 0
        if rate is None or counted < 1:
            continue
        residue = (1 - rate) ** counted
        if counted > 1 and residue < _RESIDUE:
            continue
        # A variance below the residue did not start from 1: it was restored from a checkpoint that
        # had no counter yet.
        variance = view.model.values.get(pair.variance or "")
        if variance is None or not (variance >= residue * (1 - _ROUNDING)).all():
            continue
        code = "one-step" if counted == 1 else "barely-updated"
        message = (
            f"'{counter}' counts {counted} updates with a decay of {1 - rate:g}: "
            f"{residue:.3g} of the initial variance is left"
        )
        evidence: dict[str, object] = {"steps": counted, "decay": 1 - rate, "residue": residue}
        yield Finding(code, "error", pair.layer, message, _TRAIN, evidence)


def zero_debias(view: View) -> Iterator[Finding]:
    """A finding for each statistic that is a helper variable of zero debiasing."""
    for pair in view.pairs:
        for part, name in (("mean", pair.mean), ("variance", pair.variance)):
            last = (name or "").rpartition("/")[2]
            if re.fullmatch(r"(biased|local_step)(_\d+)?", last):
                message = f"the {part} is '{name}', a helper variable of zero debiasing"
                fix = "export moving_mean and moving_variance, not moving_mean/biased"
                yield Finding("zero-debias", "error", pair.layer, message, fix, {"name": name})


def wrong_scope(view: View) -> Iterator[Finding]:
    """A finding for each batch norm that reads other variables than those that are updated."""
    read = {name for pair in view.pairs for name in (pair.mean, pair.variance)}
    for pair in view.pairs:
        if pair.never and (other := _trained(view, pair, read)):
            message = f"inference reads '{pair.mean}', which nothing updates; '{other}' is updated"
            known = [p for p in view.pairs if p.known]
            grave = sum(p.never for p in known) * 2 > len(known)
            evidence: dict[str, object] = {"read": pair.mean, "updated": other}
            severity: Severity = "error" if grave else "warning"
            yield Finding("wrong-scope", severity, pair.layer, message, _SCOPE, evidence)


def _trained(view: View, pair: Pair, read: set[str | None]) -> str | None:
    """The moving mean of the layer that this one should have shared; None if there is none."""
    if pair.mean is None or pair.mean in view.updated:
        return None
    value = view.model.values[pair.mean]
    layer, _, last = pair.mean.rpartition("/")
    for other, found in view.model.values.items():
        twin = other != pair.mean and other not in read and found.shape == value.shape
        if not twin or not (other in view.updated or found.any()):
            continue
        scope, _, end = other.rpartition("/")
        if end == last and (_base(scope) == _base(layer)):
            return other
    return _switched_with(view, pair)


def _switched_with(view: View, pair: Pair) -> str | None:
    """The updated mean that the training branch beside this layer's inference branch reads."""
    gates = {g for layer in view.layers if layer.name == pair.layer for g in layer.gates}
    for update in view.updates:
        opposite = {(g.predicate, not g.value) for g in update.gates}
        beside = opposite & {(g.predicate, g.value) for g in gates}
        same = view.model.values.get(update.variable)
        if beside and same is not None and same.shape == view.model.values[pair.mean or ""].shape:
            return update.variable
    return None


def _base(scope: str) -> str:
    """A scope without the numbers that TensorFlow appends where a name is taken."""
    parts = [(m[1] if (m := _NUMBERED.match(part)) else part) for part in scope.split("/")]
    return "/".join(parts)


def _counter(view: View, mean: str | None) -> str:
    """The variable that counts the updates of a debiased mean; empty if there is none.

    Its name repeats the scope it was made in: `bn/bn/moving_mean/local_step`.
    """
    for name, value in view.model.values.items():
        if mean and f"/{name}".endswith(f"/{mean}/local_step") and value.size == 1:
            return name
    return ""


def _rate(view: View, variable: str | None) -> float | None:
    for update in view.updated.get(variable or "", []):
        value = None if update.rate is None else constant(view.graph, update.rate, view.bound)
        if value is not None and value.size == 1:
            return float(value.reshape(-1)[0])
    return None
