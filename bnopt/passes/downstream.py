"""Finding a place for an affine downstream, past carriers, in the hosts ahead of it.

An affine taken away ahead of a value is owed to every reader of that value: a host takes it into
its weights, a carrier owes it to the readers of what it yields, another affine takes it in.
"""

from __future__ import annotations

import onnx_ir as ir

from bnopt.algebra import carriers, hosts
from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Crossing, Refusal
from bnopt.algebra.units import Unit
from bnopt.graph.uses import describe, other_readers, readers
from bnopt.passes.fragment import Changed, Fragment
from bnopt.passes.walk import Walk, is_identity, is_shift


class Downstream(Walk):
    """Searches towards the outputs."""

    def owe(
        self, value: ir.Value, affine: Affine, into: Fragment, depth: int = 0
    ) -> Refusal | None:
        """Make every reader of `value` read `affine` of it, where it reads it bare from now on."""
        if is_identity(affine):
            return None
        if value.is_graph_output():
            return Refusal("graph-output", f"'{value.name}' is a graph output")
        far = self.too_far(value, depth)
        if far is not None:
            return far
        found = readers(value, self._context.model)
        if len({id(node) for node, _ in found}) < len(found):
            return Refusal("shared-output", f"'{value.name}' is read twice by one node")
        for node, index in found:
            if node.graph is not self._scope.graph:
                where = f"'{value.name}' is read inside a subgraph, by {describe(node)}"
                return Refusal("captured", where)
            refusal = self._reader(node, index, affine, into, depth)
            if refusal is not None:
                return refusal
        return None

    def _reader(
        self, node: ir.Node, index: int, affine: Affine, into: Fragment, depth: int
    ) -> Refusal | None:
        unit = self._units.get(id(node))
        if unit is not None:
            return self._ahead_of_unit(unit, affine, into, depth)
        if node.op_type in hosts.BY_TYPE:
            refusal = into.ask(node, self._scope, self._context, before=affine, data_index=index)
            return refusal or self._pass_on_rest(node, into)
        if node.op_type not in carriers.BY_TYPE:
            return Refusal("not-linear", f"{describe(node)} reads it")
        carried = carriers.forward(Crossing(node, index, affine, self._scope, self._context))
        if isinstance(carried, Refusal):
            return carried
        refusal = self.consult(node, into)
        if refusal is not None:
            return refusal
        for position, part in carried.affines.items():
            output = node.outputs[position]
            into.renamed[id(output)] = output
            refusal = self.owe(output, part, into, depth + 1)
            if refusal is not None:
                return refusal
        return None

    def _pass_on_rest(self, host: ir.Node, into: Fragment) -> Refusal | None:
        """Where an Add follows a host that has no bias, it takes the host's shift along."""
        taken = into.host(host)
        rest = None if taken is None else taken.absorption.rest
        found = readers(host.outputs[0], self._context.model)
        unit = self._units.get(id(found[0][0])) if len(found) == 1 else None
        inner = None if unit is None else into.affine_of(unit)
        if rest is None or unit is None or inner is None or not is_shift(inner):
            return None
        if id(unit) in self._pinned:
            return None
        if other_readers(host.outputs[0], unit.nodes[0], self._context.model) is not None:
            return None
        whole = inner.after(Affine.from_shift(rest))
        attempt = into.child()
        attempt.units[id(unit)] = (unit, Changed(whole, from_ahead=True))
        attempt.merged_into[id(unit)] = unit
        attempt.renamed[id(host.outputs[0])] = host.outputs[0]
        refusal = attempt.ask(host, self._scope, self._context, after=Affine.from_shift(-rest))
        if refusal is None and whole.is_finite():
            attempt.commit()
        return None

    def _ahead_of_unit(
        self, unit: Unit, affine: Affine, into: Fragment, depth: int
    ) -> Refusal | None:
        if id(unit) in self._pinned:
            return self._pinned[id(unit)]
        inner = into.affine_of(unit)
        if inner is None:
            return self.owe(unit.output, affine, into, depth + 1)
        whole = inner.after(affine)
        if id(unit) in self._sites:
            return self._merge(unit, inner, affine, Changed(whole, from_ahead=True), into)
        into.units[id(unit)] = (unit, Changed(None))
        into.renamed[id(unit.output)] = unit.output
        return self.owe(unit.output, whole, into, depth + 1)
