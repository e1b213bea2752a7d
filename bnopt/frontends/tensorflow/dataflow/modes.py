"""Checks of what mode the batch norms run in, under the codes that `bnopt.rules` documents.

| code | what shows it here |
|---|---|
| training-mode | `FusedBatchNorm*` with is_training, or moments, and no switch around them |
| training-switch | a placeholder decides whether statistics are the batch's or the variables' |
| unrecoverable | weights named `merged_input`, or moved into constants, by grappler |
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from bnopt.findings import Finding, Severity
from bnopt.frontends.tensorflow.dataflow.constants import truth
from bnopt.frontends.tensorflow.dataflow.graph import Tensor
from bnopt.frontends.tensorflow.dataflow.layers import Layer
from bnopt.frontends.tensorflow.dataflow.sources import Source
from bnopt.frontends.tensorflow.dataflow.view import View
from bnopt.frontends.tensorflow.mistakes.no_batch_norm import merged

_MAX_LISTED = 16


def training_mode(view: View) -> Iterator[Finding]:
    """A finding for each batch norm that takes the statistics of its batch, whatever is set."""
    fix = "export the inference graph: is_training=False or training=False"
    for layer in view.layers:
        found = [
            source
            for source in layer.sources
            if source.origin in ("batch", "update") and all(map(view.is_fixed, source.gates))
        ]
        if not found or layer.gates:
            continue
        if found[0].origin == "update":
            message = f"its statistics are what '{found[0].node}' has just updated"
        elif layer.norm.training:
            message = f"'{layer.norm.node}' has is_training=true: the batch's own statistics"
        else:
            message = f"its statistics are those of the batch, by '{found[0].node}'"
        evidence: dict[str, object] = {"node": found[0].node, "op": view.graph.op(found[0].node)}
        yield Finding("training-mode", "error", layer.name, message, fix, evidence)


@dataclass(slots=True)
class _Decision:
    layers: dict[str, None] = field(default_factory=dict[str, None])
    inference: set[bool] = field(default_factory=set[bool])
    predicates: set[Tensor] = field(default_factory=set[Tensor])
    trains: bool = False


def training_switch(view: View) -> Iterator[Finding]:
    """A finding for each placeholder that chooses between the batch's and moving statistics."""
    decisions: dict[str, _Decision] = {}
    for layer in view.layers:
        for predicate, way in _choices(layer):
            for name in view.flags(predicate):
                decision = decisions.setdefault(name, _Decision())
                decision.layers[layer.name] = None
                decision.predicates.add(predicate)
                decision.trains = decision.trains or any(map(_of_training, layer.sources))
                if way is not None:
                    decision.inference.add(way)
    for name, decision in decisions.items():
        # Else it chooses between two ways of inference.
        if decision.trains:
            yield _switch(view, name, decision)


def _choices(layer: Layer) -> Iterator[tuple[Tensor, bool | None]]:
    """(predicate, value in inference; None if it does not tell) for each switch of a layer."""
    for source in layer.sources:
        for gate in source.gates:
            yield gate.predicate, gate.value != _of_training(source)
    for gate in layer.gates:
        trained = {_of_training(source) for source in layer.sources}
        yield gate.predicate, gate.value != trained.pop() if len(trained) == 1 else None


def _of_training(source: Source) -> bool:
    return source.origin != "variable"


def _switch(view: View, name: str, decision: _Decision) -> Finding:
    tensor = Tensor(name, 0)
    operands = view.graph.operands(name)
    default = truth(view.graph, operands[0], view.bound) if operands else None
    # The predicate may be the flag's negation: try both.
    ways = {
        value
        for value in (False, True)
        for way in decision.inference
        if all(truth(view.graph, p, {tensor: value}) == way for p in decision.predicates)
    }
    inference = ways.pop() if len(decision.inference) == 1 and len(ways) == 1 else None
    # By the name that the user gives it: a SavedModel's placeholders have names of their own.
    known = {Tensor.parse(text): key for key, text in view.model.inputs.items()}
    name = known.get(tensor, name)
    count = len(decision.layers)
    norms = "1 batch norm depends" if count == 1 else f"{count} batch norms depend"
    message = f"the input '{name}' chooses between training and inference; {norms} on it"
    severity: Severity = "warning"
    if default is not None:
        message += f"; its default is {str(default).lower()}"
        if default == inference:
            message += ", inference"
            severity = "info"
    word = "VALUE" if inference is None else str(inference).lower()
    fix = f"bind it: --set-input {shlex.quote(f'{name}={word}')}"
    if inference is None:
        fix += ", with the value that means inference"
    evidence: dict[str, object] = {
        "input": name,
        "default": default,
        "inference": inference,
        "batch_norms": list(decision.layers)[:_MAX_LISTED],
    }
    return Finding("training-switch", severity, None, message, fix, evidence)


def unrecoverable(view: View) -> Iterator[Finding]:
    """A finding for each host into which grappler has merged its batch norm."""
    fix = "export from the checkpoint or SavedModel, before an optimizer folds its batch norms"
    for name in merged(view):
        weight = next(o.node for o in view.graph.operands(name) if "merged_input" in o.node)
        message = f"mean and variance have gone into '{weight}'"
        yield Finding("unrecoverable", "info", name, message, fix, {"weight": weight})
