"""An input of the model chooses between training and inference.

What it does: reports every graph input that decides an If or Where in which a batch norm stands,
that feeds one, or that chooses between two. There is one finding for each such input, with its
default, if it has one, and the value that leads to inference, if that can be told: the branch
that computes statistics of the batch is the one for training. Boolean inputs that no batch norm
depends on are not reported.

Why it is bad: a caller who passes the wrong value gets batch statistics, and outputs that depend on
the other samples of the batch. Nothing can be folded while both ways are open.

How it happens: TensorFlow 1, slim and contrib: is_training is a tf.placeholder, and the graph was
frozen as it was; tf.cond became an If. With tf.placeholder_with_default the default is an
initializer of the same name. Update operations in the training branch come along. Keras: the
learning phase (keras_learning_phase) was left open. PyTorch: a scripted module with an `if
training:` of its own.

It is a warning, and an info if the input has a default that leads to inference, since then only a
caller who asks for training gets it. Legitimate is a model that is meant to be trained further.

Example: `y = If(is_training) {BatchNormalization of the batch} else {BatchNormalization}`.

How to fix: bind the input, `--set-input is_training=false`: the switch goes, and what is behind it
can be folded. Or freeze the graph with a constant.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

import onnx_ir as ir

from bnopt.findings import Finding, Severity
from bnopt.graph.scopes import label
from bnopt.rules.norms import Norm
from bnopt.rules.switch_branches import Branches
from bnopt.rules.switches import Switch
from bnopt.rules.view import View

CODE = "training-switch"
SEVERITY: Severity = "warning"
SUMMARY = ""
CAUSES = {
    "tensorflow": "is_training was left a placeholder when the graph was frozen",
    "": "the flag for training was left an input when the model was exported",
}

_MAX_LISTED = 16
_MAX_NODES = 12


@dataclass(slots=True)
class _Decision:
    """What one input decides.

    Attributes:
        switches: The nodes that choose.
        sites: The batch norms concerned, by site id.
        inference: The values of the input that lead away from batch statistics.
    """

    switches: dict[str, None] = field(default_factory=dict[str, None])
    sites: dict[str, None] = field(default_factory=dict[str, None])
    inference: set[bool] = field(default_factory=set[bool])


def check(view: View) -> Iterator[Finding]:
    """A finding for each input if a batch norm depends on the choice it makes."""
    if not view.switches:
        return
    inputs = {value.name or "": value for value in view.model.graph.inputs}
    for name, decision in _decisions(view).items():
        if decision.sites:
            yield _finding(inputs[name], decision, view)


def _decisions(view: View) -> dict[str, _Decision]:
    branches = Branches.of(view)
    decisions: dict[str, _Decision] = {}
    for switch in view.switches:
        sites = _concerned(switch, view, branches)
        for name in switch.inputs:
            decision = decisions.setdefault(name, _Decision())
            decision.switches[label(switch.node)] = None
            decision.sites.update(dict.fromkeys(sites))
            inference = branches.inference(switch)
            if inference is not None:
                decision.inference.add(inference)
    return decisions


def _finding(value: ir.Value, decision: _Decision, view: View) -> Finding:
    name = value.name or ""
    constant = view.context.constants.resolve(value)
    default = None if constant is None else bool(constant.array().reshape(-1)[0])
    inference = decision.inference.pop() if len(decision.inference) == 1 else None
    count = len(decision.sites)
    norms = "1 batch norm depends" if count == 1 else f"{count} batch norms depend"
    message = f"the input '{name}' chooses between training and inference; {norms} on it"
    severity: Severity = "warning"
    if default is not None:
        message += f"; its default is {_word(default)}"
        if default == inference:
            message += ", inference"
            severity = "info"
    word = "VALUE" if inference is None else _literal(inference, value)
    fix = f"bind it: --set-input {shlex.quote(f'{name}={word}')}"
    if inference is None:
        fix += ", with the value that means inference"
    evidence: dict[str, object] = {
        "input": name,
        "default": default,
        "inference": inference,
        "switches": list(decision.switches)[:_MAX_LISTED],
        "batch_norms": list(decision.sites)[:_MAX_LISTED],
    }
    return Finding(CODE, severity, None, message, fix, evidence)


def _word(value: bool) -> str:
    return "true" if value else "false"


def _literal(value: bool, of: ir.Value) -> str:
    return _word(value) if of.dtype in (None, ir.DataType.BOOL) else str(int(value))


def _concerned(switch: Switch, view: View, branches: Branches) -> list[str]:
    behind = branches.behind(switch)
    return [
        norm.site
        for norm in view.norms
        if any(id(node) in behind for node in norm.nodes) or _reads(norm, switch.node)
    ]


def _reads(norm: Norm, switch: ir.Node) -> bool:
    """Whether a batch norm's data is what a switch gives, or its statistics come from it."""
    if norm.input is not None and norm.input.producer() is switch:
        return True
    if norm.refusal is None:
        return False
    pending = list(norm.node.inputs)
    # The statistics hang close to the switch; a longer walk would cross into other layers.
    for _ in range(_MAX_NODES):
        value = pending.pop(0) if pending else None
        producer = None if value is None else value.producer()
        if producer is switch:
            return True
        if producer is not None:
            pending.extend(producer.inputs)
    return False
