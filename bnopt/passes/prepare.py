"""From a model and options to a plan: inputs bound, live branches and calls written out, planned.

Three rewrites come before planning, all exact and all in place:

1. Inputs that the caller sets become constants; every `If` and `Where` that this decides goes.
2. An `If` whose condition is a true constant goes, if a batch norm stands in it or reads it.
3. Where batch norms are kept at the boundary of model-local functions, these are inlined, if that
   leaves fewer batch norms than planning without.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.findings import Folded, Kept, Merged, Site
from bnopt.graph.constants import Constant
from bnopt.graph.scopes import attribute_graphs, scopes
from bnopt.passes import specialise
from bnopt.passes.plan import Lower, Plan, plan
from bnopt.passes.specialise.walk import all_nodes

# Reasons that lie in the batch norm itself, so that no neighbour would change them.
_INTRINSIC = frozenset(
    {
        "batch-statistics",
        "data-type",
        "extra-outputs",
        "negative-variance",
        "non-finite",
        "overridable",
        "rounded",
        "shape-mismatch",
        "training-mode",
        "unread",
    }
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model ready to be folded.

    Attributes:
        context: Of the model as it now is.
        plan: What would be done to it.
        notes: What was done to it so far.
    """

    context: Context
    plan: Plan
    notes: tuple[str, ...]

    @property
    def modified(self) -> bool:
        """Whether the model is no longer what it was, or will not be once the plan is applied."""
        return bool(self.notes) or bool(self.plan.moves)


def prepare(
    model: ir.Model,
    *,
    set_inputs: Mapping[str, object] | None = None,
    keep_overridable: bool = False,
    lower: Lower = "keep",
) -> Prepared:
    """Rewrite `model` in place as far as that helps, and plan.

    Args:
        model: The model.
        set_inputs: Input name -> value to bind it to (`specialise.assign`).
        keep_overridable: As for `plan`.
        lower: As for `plan`.

    Raises:
        UsageError: A value in `set_inputs` that does not fit; the model is then as it was.
    """

    def planned(of: ir.Model) -> tuple[Context, Plan]:
        context = Context.of(of, keep_overridable=keep_overridable)
        return context, plan(of, context=context, lower=lower)

    notes = _bind(model, set_inputs or {})
    context, found = planned(model)
    settled = _settle_constant(model, found)
    if settled:
        notes += settled
        context, found = planned(model)
    if _concerned(model, found):
        # Tried on a copy: inlining that gains nothing would only take the model's structure away.
        trial = model.clone()
        _inline(trial, found, planned)
        if _left(trial, planned(trial)[1]) < _left(model, found):
            notes += _inline(model, found, planned)
            context, found = planned(model)
    return Prepared(context, found, tuple(notes))


def inline_batch_norms(model: ir.Model) -> list[str]:
    """Inline every function that holds a batch norm, in place, where that is exact.

    For whoever has to look at a batch norm's input from outside, whether or not it folds.

    Returns:
        Notes for the report.
    """
    notes: list[str] = []
    tried: frozenset[ir.OperatorIdentifier] = frozenset()
    while model.functions:
        inner = {site.id for site in plan(model).sites if site.scope.startswith("function ")}
        nodes = _nodes(model, inner)
        holding = {
            key
            for key, function in model.functions.items()
            if any(id(node) in nodes for node in all_nodes(function))
        }
        wanted = frozenset(holding) - tried
        tried |= wanted
        gone = specialise.inline(model, wanted) if wanted else ()
        if not gone:
            break
        notes.append(f"local functions inlined: {_list(gone)}")
    return notes


def _inline(
    model: ir.Model, found: Plan, planned: Callable[[ir.Model], tuple[Context, Plan]]
) -> list[str]:
    """Inline the functions concerned, then those that this brings near, until none is left."""
    notes: list[str] = []
    tried: frozenset[ir.OperatorIdentifier] = frozenset()
    while wanted := _concerned(model, found) - tried:
        tried |= wanted
        gone = specialise.inline(model, wanted)
        if not gone:
            continue
        notes.append(f"local functions inlined: {_list(gone)}")
        found = planned(model)[1]
        settled = _settle_constant(model, found)
        if settled:
            notes += settled
            found = planned(model)[1]
    return notes


def _bind(model: ir.Model, values: Mapping[str, object]) -> list[str]:
    if not values:
        return []
    notes: list[str] = []
    bound = specialise.assign(model, values)
    for value in bound:
        assert value.const_value is not None
        text = _number(value.const_value)
        notes.append(f"input '{value.name}' bound to {text} and removed")
    names = {value.name for value in bound}

    def follows(constant: Constant) -> bool:
        return bool(constant.overridable) and names.issuperset(constant.overridable)

    while True:
        branches = specialise.settle_branches(model, lambda _, condition: follows(condition))
        selections = specialise.settle_selections(model, follows)
        if branches:
            notes.append(f"If replaced by the branch it takes then: {_list(branches)}")
        if selections:
            notes.append(f"Where replaced by what it selects then: {_list(selections)}")
        if not branches and not selections:
            break
    return [*notes, *specialise.seal(model, bound)]


def _settle_constant(model: ir.Model, found: Plan) -> list[str]:
    """Settle each If of constant condition that holds a batch norm, or that one reads."""
    sites = _nodes(model, {site.id for site in found.sites})

    def choose(node: ir.Node, condition: Constant) -> bool:
        if condition.overridable:
            return False
        bodies = [body for value in node.attributes.values() for body in attribute_graphs(value)]
        inside = (id(inner) for body in bodies for inner in all_nodes(body))
        readers = (id(reader) for output in node.outputs for reader, _ in output.uses())
        return not sites.isdisjoint((*readers, *inside))

    gone = specialise.settle_branches(model, choose)
    return [f"If of constant condition replaced by the branch it takes: {_list(gone)}"] * bool(gone)


def _concerned(model: ir.Model, found: Plan) -> frozenset[ir.OperatorIdentifier]:
    """The functions that may be why batch norms are kept."""
    if not model.functions:
        return frozenset()
    kept = {
        site.id
        for site in found.sites
        if isinstance(site.decision, Kept) and site.decision.reason not in _INTRINSIC
    }
    return specialise.concerned(model, _nodes(model, kept))


def _nodes(model: ir.Model, ids: Collection[str]) -> set[int]:
    return {
        id(node)
        for scope in scopes(model)
        for node in scope.graph
        if node.outputs and scope.site_id(node) in ids
    }


def _left(model: ir.Model, found: Plan) -> int:
    """How many batch norms would run that are neither folded nor merged, counted per call."""
    times = specialise.multiplicities(model) or {}
    weights = {f"function {key[0]}::{key[1]}": count for key, count in times.items()}

    def weight(site: Site) -> int:
        paths = (p for p in weights if site.scope == p or site.scope.startswith(f"{p}/"))
        return weights.get(next(paths, ""), 1)

    return sum(
        weight(site) for site in found.sites if not isinstance(site.decision, Folded | Merged)
    )


def _number(tensor: ir.TensorProtocol) -> str:
    text = str(tensor.numpy().tolist())
    text = {"True": "true", "False": "false"}.get(text, text)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _list(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
