"""Planning: for every batch norm in a model, a decision and its reason. Nothing is changed.

From a batch norm the planner walks towards the inputs. Another affine in the way (a constant bias,
a batch norm that is on its way into a host itself) is composed with; the first host is asked to
absorb the composition; anything else ends the walk with a reason. Every batch norm is walked from
once and every walk ends at the first host or at the batch norm before, so the work is linear in
the size of the model.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import onnx_ir as ir

from bnopt.algebra import hosts
from bnopt.algebra.base import Absorption, Context, Recognized, Refusal, Request
from bnopt.algebra.recognizers import batch_normalization, constant_offset
from bnopt.findings import Decision, Folded, Form, Kept, Merged, Site
from bnopt.graph.operators import operand
from bnopt.graph.scopes import Scope, label, scopes
from bnopt.graph.uses import describe, other_readers
from bnopt.passes.obstacles import name_obstacle


@dataclass(frozen=True, slots=True)
class Move:
    """One host takes one affine, composed of a chain of nodes behind it.

    Attributes:
        host: The host.
        absorption: How it takes the affine.
        path: The nodes of the chain; the last one first. The host's output comes to stand for its
            output, and all of them go.
        sites: Ids of the batch norms in the chain.
        copied: Names of shared constants that the host gets copies of, with their bytes.
    """

    host: ir.Node
    absorption: Absorption
    path: tuple[ir.Node, ...]
    sites: tuple[str, ...]
    copied: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done to a model.

    Attributes:
        sites: Every batch norm with its decision, in graph order.
        moves: The edits that the decisions stand for.
        overridable: Graph inputs whose default values are folded in.
    """

    sites: tuple[Site, ...]
    moves: tuple[Move, ...]
    overridable: tuple[str, ...] = ()


@dataclass(slots=True)
class _Chain:
    """An affine that has found its host; grows while further affines follow it."""

    host: ir.Node
    absorption: Absorption
    affine: Recognized
    path: list[ir.Node]
    sites: list[str] = field(default_factory=list[str])
    overridable: dict[str, None] = field(default_factory=dict[str, None])


def plan(
    model: ir.Model, *, keep_overridable: bool = False, context: Context | None = None
) -> Plan:
    """Decide for every BatchNormalization node of `model` what becomes of it.

    Args:
        model: Read only.
        keep_overridable: Refuse what depends on initializers that are graph inputs.
        context: A context of the model, if the caller has one; it says what is overridable.
    """
    context = context or Context.of(model, keep_overridable=keep_overridable)
    sites: list[Site] = []
    moves: list[Move] = []
    overridable: dict[str, None] = {}
    for scope in scopes(model):
        planner = _ScopePlanner(scope, context)
        sites.extend(planner.run())
        for chain in planner.chains:
            moves.append(_move(chain))
            overridable.update(chain.overridable)
    return Plan(tuple(sites), tuple(moves), tuple(overridable))


class _ScopePlanner:
    def __init__(self, scope: Scope, context: Context) -> None:
        self._scope = scope
        self._context = context
        # The chain that ends in a value, by the identity of the value.
        self._ending: dict[int, _Chain] = {}
        self._decided: set[int] = set()
        self.chains: list[_Chain] = []

    def run(self) -> list[Site]:
        return [self._site(node) for node in self._scope.graph if batch_normalization.matches(node)]

    def _site(self, node: ir.Node) -> Site:
        site_id = self._scope.site_id(node)
        found = batch_normalization.recognize(node, self._scope, self._context)
        decision: Decision
        form: Form = "batch_normalization"
        if isinstance(found, Refusal):
            if found.reason == "batch-statistics":
                form = "batch_statistics"
            decision = Kept(found.reason, found.message)
        else:
            decision = self._decide(found, site_id)
        self._decided.add(id(node))
        return Site(site_id, label(node), form, self._scope.path, self._channels(node), decision)

    def _channels(self, node: ir.Node) -> int | None:
        scale = self._context.constants.resolve(operand(node, 1))
        return scale.shape[0] if scale is not None and len(scale.shape) == 1 else None

    def _decide(self, site: Recognized, site_id: str) -> Decision:
        output = site.node.outputs[0]
        if not output.uses() and not output.is_graph_output():
            return Kept("unread", f"nothing reads '{output.name}'")
        chain = self._walk(site)
        if isinstance(chain, Refusal):
            return Kept(chain.reason, chain.message)
        chain.sites.append(site_id)
        self._ending[id(output)] = chain
        parts = " and ".join(chain.absorption.parts)
        message = f"into the {parts} of {describe(chain.host)}"
        if chain.host.op_type == "BatchNormalization":
            return Merged(label(chain.host), message)
        return Folded(label(chain.host), message)

    def _walk(self, site: Recognized) -> _Chain | Refusal:
        """Follow the affine upstream to its host."""
        current, reader = site, site.node
        path = [site.node]
        while True:
            value = current.input
            producer = value.producer()
            if producer is None or producer.graph is not self._scope.graph:
                return name_obstacle(value, reader, self._context)
            taken = other_readers(value, reader, self._context.model)
            if taken is not None:
                return Refusal(*taken)
            chain = self._ending.get(id(value))
            if chain is not None:
                return self._extend(chain, current, path)
            if batch_normalization.matches(producer) and id(producer) not in self._decided:
                # It may yet go into a host itself, and would take nothing along.
                place = f"{describe(producer)} stands behind its reader in the list of nodes"
                return Refusal("not-carried", place)
            if hosts.is_host(producer.op_type):
                return self._start(producer, current, path)
            if producer.op_type not in ("Add", "Sub"):
                return name_obstacle(value, reader, self._context)
            offset = constant_offset.recognize(
                producer, self._scope, self._context, current.axis, current.affine.channels
            )
            if isinstance(offset, Refusal):
                return offset
            current = _compose(current, offset)
            reader = producer
            path.append(producer)

    def _start(self, host: ir.Node, current: Recognized, path: list[ir.Node]) -> _Chain | Refusal:
        absorption = self._ask(host, current)
        if isinstance(absorption, Refusal):
            return absorption
        chain = _Chain(host, absorption, current, path)
        chain.overridable.update(dict.fromkeys((*current.overridable, *absorption.overridable)))
        self.chains.append(chain)
        return chain

    def _extend(self, chain: _Chain, current: Recognized, path: list[ir.Node]) -> _Chain | Refusal:
        whole = _compose(current, chain.affine)
        absorption = self._ask(chain.host, whole)
        if isinstance(absorption, Refusal):
            return absorption
        chain.absorption = absorption
        chain.affine = whole
        chain.path = path + chain.path
        chain.overridable.update(dict.fromkeys(whole.overridable))
        return chain

    def _ask(self, host: ir.Node, current: Recognized) -> Absorption | Refusal:
        if not current.affine.is_finite():
            return Refusal("overflow", f"the affine behind {describe(host)} overflows float64")
        return hosts.absorb(Request(host, current.affine, current.axis, self._scope, self._context))


def _compose(outer: Recognized, inner: Recognized) -> Recognized:
    """First `inner`, then `outer`, as one affine that ends where `outer` ends."""
    names = tuple(dict.fromkeys((*outer.overridable, *inner.overridable)))
    return Recognized(outer.node, inner.input, inner.axis, outer.affine.after(inner.affine), names)


def _move(chain: _Chain) -> Move:
    copied: list[tuple[str, int]] = []
    for new in chain.absorption.operands:
        old = operand(chain.host, new.index)
        if old is not None and len(old.uses()) > 1:
            copied.append((old.name or "", new.nbytes))
    return Move(chain.host, chain.absorption, tuple(chain.path), tuple(chain.sites), tuple(copied))
