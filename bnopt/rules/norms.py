"""The batch norms of a model as the rules see them: in whatever mode and form, with their numbers.

Unlike a recognizer this refuses nothing: what is wrong with a batch norm is what the rules are
about. Numbers that are not constants are None.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from bnopt.algebra.base import Context, Recognized, Refusal
from bnopt.algebra.decoys import is_decomposed_batch_norm
from bnopt.algebra.recognizers import batch_normalization, global_normalization, recognize
from bnopt.algebra.runtime_statistics import runtime_statistics
from bnopt.algebra.units import Unit, find_units
from bnopt.evidence import Statistics
from bnopt.findings import Form
from bnopt.graph.operators import get_float, operand
from bnopt.graph.order import in_order
from bnopt.graph.scopes import Scope, label, scopes
from bnopt.rules.switches import Switch, gated_nodes

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Norm:
    """One batch norm.

    Attributes:
        site: Its site id.
        name: Its node's name, or its output's where that has none.
        form: How it is written.
        scope: Where it stands.
        node: The node that stands for it: the last of a chain, the root of a variance.
        nodes: All of its nodes that are known, first to last.
        input: What it normalises; None where that is not known.
        axis: The channel axis of `input`; None where that is not known.
        gamma: Scale parameter, [C] or one number per activation; float64, as are the others.
        beta: Shift parameter.
        mean: Moving mean.
        variance: Moving variance.
        epsilon: Added to the variance; None where it cannot be told.
        scale: What the data is multiplied by, [C]; None without a fixed affine.
        shift: What is added then, [C].
        names: Parameter (`scale`, `bias`, `mean`, `variance`) -> the name of its value.
        refusal: Why it is no affine; None if it is one.
        gated: Whether it runs only behind a switch between training and inference.
    """

    site: str
    name: str
    form: Form
    scope: Scope
    node: ir.Node
    nodes: tuple[ir.Node, ...]
    input: ir.Value | None
    axis: int | None
    gamma: Array | None = None
    beta: Array | None = None
    mean: Array | None = None
    variance: Array | None = None
    epsilon: float | None = None
    scale: Array | None = None
    shift: Array | None = None
    names: dict[str, str] = field(default_factory=dict[str, str])
    refusal: Refusal | None = None
    gated: bool = False

    @property
    def channels(self) -> int | None:
        """C; None where it is not known."""
        for numbers in (self.gamma, self.mean, self.scale):
            if numbers is not None:
                return int(numbers.size)
        return None

    def statistics(self) -> Statistics:
        """The numbers as a record for reports."""

        def listed(numbers: Array | None) -> tuple[float, ...] | None:
            return None if numbers is None else tuple(numbers.reshape(-1).tolist())

        return Statistics(
            self.site,
            listed(self.gamma),
            listed(self.beta),
            listed(self.mean),
            listed(self.variance),
            self.epsilon,
            listed(self.scale),
        )


def collect(model: ir.Model, context: Context, switches: Sequence[Switch]) -> tuple[Norm, ...]:
    """Every batch norm of `model`, in graph order; their sites are those of a plan."""
    gated = gated_nodes(model, switches)
    return tuple(norm for scope in scopes(model) for norm in _of_scope(scope, context, gated))


def _of_scope(scope: Scope, context: Context, gated: frozenset[int]) -> Iterator[Norm]:
    chains = {
        id(unit.nodes[-1]): unit
        for unit in find_units(in_order(scope.graph), scope, context)
        if is_decomposed_batch_norm(unit, context)
    }
    for node in scope.graph:
        is_gated = id(node) in gated
        if batch_normalization.matches(node):
            yield _batch_norm(node, scope, context, is_gated)
        elif id(node) in chains:
            yield _chain(chains[id(node)], scope, context, is_gated)
        elif node.op_type == global_normalization.OPERATOR:
            yield _global(node, scope, context, is_gated)
        elif (found := runtime_statistics(node, context)) is not None:
            yield _computed(node, scope, found, is_gated)


def _batch_norm(node: ir.Node, scope: Scope, context: Context, gated: bool) -> Norm:
    found = batch_normalization.recognize(node, scope, context)
    form: Form = "batch_normalization"
    if isinstance(found, Refusal) and found.reason == "batch-statistics":
        form = "batch_statistics"
    return _parameters(
        node,
        scope,
        context,
        gated,
        form=form,
        axis=1,
        order=batch_normalization.PARAMETERS,
        epsilon=get_float(node, "epsilon", 1e-5),
        found=found,
    )


def _global(node: ir.Node, scope: Scope, context: Context, gated: bool) -> Norm:
    data = operand(node, 0)
    dims = None if data is None else context.dims.of(data)
    return _parameters(
        node,
        scope,
        context,
        gated,
        form="decomposed",
        axis=None if dims is None else len(dims) - 1,
        order=("mean", "variance", "bias", "scale"),
        epsilon=get_float(node, "variance_epsilon", 0.0),
        found=global_normalization.recognize(node, context),
    )


def _parameters(
    node: ir.Node,
    scope: Scope,
    context: Context,
    gated: bool,
    *,
    form: Form,
    axis: int | None,
    order: Sequence[str],
    epsilon: float,
    found: Recognized | Refusal,
) -> Norm:
    numbers: dict[str, Array] = {}
    names: dict[str, str] = {}
    for index, name in enumerate(order, start=1):
        value = operand(node, index)
        constant = context.constants.resolve(value)
        if value is not None:
            names[name] = value.name or ""
        if constant is not None:
            numbers[name] = constant.array().astype(np.float64)
    return Norm(
        site=scope.site_id(node),
        name=label(node),
        form=form,
        scope=scope,
        node=node,
        nodes=(node,),
        input=operand(node, 0),
        axis=axis,
        gamma=numbers.get("scale"),
        beta=numbers.get("bias"),
        mean=numbers.get("mean"),
        variance=numbers.get("variance"),
        epsilon=epsilon,
        scale=None if isinstance(found, Refusal) else found.affine.scale.hi.reshape(-1),
        shift=None if isinstance(found, Refusal) else found.affine.shift.hi.reshape(-1),
        names=names,
        refusal=found if isinstance(found, Refusal) else None,
        gated=gated,
    )


def _chain(unit: Unit, scope: Scope, context: Context, gated: bool) -> Norm:
    nodes = _without_bias(unit)
    affines = [recognize(node, scope, context) for node in nodes]
    first = affines[0]
    assert isinstance(first, Recognized)
    affine = first.affine
    for found in affines[1:]:
        assert isinstance(found, Recognized)
        affine = found.affine.after(affine)
    shape = affine.scale.shape
    # not a condition: a chain varies along exactly one axis
    axis = max(range(len(shape)), key=lambda a: shape[a])
    mean = None
    if nodes[0].op_type == "Sub" and first.affine.scale.is_one():
        # x - mean comes first in every hand-written formula.
        mean = _along(axis, -first.affine.shift.hi)
    return Norm(
        site=scope.site_id(nodes[-1]),
        name=label(nodes[-1]),
        form="decomposed",
        scope=scope,
        node=nodes[-1],
        nodes=tuple(nodes),
        input=first.input,
        axis=axis,
        mean=mean,
        scale=affine.scale.hi.reshape(-1),
        shift=_along(axis, affine.shift.hi + np.zeros(shape)),
        gated=gated,
    )


def _along(axis: int, numbers: Array) -> Array | None:
    """One number for each channel; None if they vary along another axis too."""
    if any(n > 1 for a, n in enumerate(numbers.shape) if a != axis):
        return None
    return numbers.reshape(-1)


def _without_bias(unit: Unit) -> list[ir.Node]:
    """The chain without the bias of the operator behind it: an Add that comes first."""
    nodes = list(unit.nodes)
    while len(nodes) > 1 and nodes[0].op_type == "Add":
        del nodes[0]
    return nodes


def _computed(node: ir.Node, scope: Scope, found: tuple[Form, Refusal], gated: bool) -> Norm:
    form, refusal = found
    return Norm(
        site=scope.site_id(node),
        name=label(node),
        form=form,
        scope=scope,
        node=node,
        nodes=(node,),
        input=None,
        axis=None,
        refusal=refusal,
        gated=gated,
    )
