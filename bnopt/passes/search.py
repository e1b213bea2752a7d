"""Finding a place for an affine: upstream through carriers to hosts, or downstream.

Both ways walk the graph once, from value to value. Upstream, an affine asked of a value is asked of
the value's producer, which must have no other reader to disappoint. Downstream, an affine taken
away ahead of a value is owed to every reader of it.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bnopt.algebra import carriers, hosts, recognizers
from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Carried, Context, Crossing, Refusal
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.algebra.scaling import rounded
from bnopt.graph.constants import Constant
from bnopt.graph.scopes import Scope
from bnopt.graph.uses import describe, other_readers, readers
from bnopt.passes.fragment import Changed, Fragment
from bnopt.passes.obstacles import name_obstacle
from bnopt.passes.units import Unit

# A network has few carriers between two hosts; longer walks only cost time.
_MAX_DEPTH = 32


class Search:
    """Searches in one scope.

    Args:
        scope: The scope.
        context: What may be looked at.
        units: The units of the scope, by the identity of each of their nodes.
        sites: Identities of the units that are batch norms; they are merged with, not dissolved.
    """

    def __init__(
        self, scope: Scope, context: Context, units: dict[int, Unit], sites: set[int]
    ) -> None:
        self._scope = scope
        self._context = context
        self._units = units
        self._sites = sites

    def upstream(
        self,
        value: ir.Value,
        affine: Affine,
        reader: ir.Node,
        into: Fragment,
        depth: int = 0,
        narrow: Affine | None = None,
    ) -> Refusal | None:
        """Make what `reader` reads as `value` become `affine` of it.

        Args:
            value: What is read.
            affine: Of the rank of `value`.
            reader: The only node that may read it.
            into: Where the changes go.
            depth: How many carriers have been passed.
            narrow: What does the same for `reader`, but less for others.

        Returns:
            Why it cannot be done; then `into` is of no use any more.
        """
        if _is_identity(affine):
            return None
        producer = value.producer()
        if depth > _MAX_DEPTH:
            return Refusal("not-carried", f"'{value.name}' is too far away")
        if producer is None or producer.graph is not self._scope.graph:
            return name_obstacle(value, reader, self._scope, self._context)
        taken = other_readers(value, reader, self._context.model)
        if taken is not None:
            if narrow is None or not self._others_miss_it(value, narrow, reader):
                return Refusal(*taken)
            affine = narrow
        into.renamed[id(value)] = value
        unit = self._units.get(id(producer))
        if unit is not None:
            return self._through_unit(unit, affine, into, depth)
        if producer.op_type in hosts.BY_TYPE:
            return into.ask(producer, self._scope, self._context, after=affine)
        if producer.op_type in carriers.BY_TYPE:
            refusal = self._past(producer, value, affine, into, depth)
            # A sum with a constant that is no affine says more of itself as such.
            seen = recognizers.recognize(producer, self._scope, self._context)
            return seen if refusal is not None and isinstance(seen, Refusal) else refusal
        return name_obstacle(value, reader, self._scope, self._context)

    def _others_miss_it(self, value: ir.Value, affine: Affine, reader: ir.Node) -> bool:
        """Whether all other readers cut out parts of `value` that the affine leaves as they are."""
        others = [
            (node, index)
            for node, index in readers(value, self._context.model)
            if node is not reader
        ]
        for node, index in others:
            if node.op_type != "Slice" or node.graph is not self._scope.graph or index != 0:
                return False
            crossing = Crossing(node, index, affine, self._scope, self._context)
            carried = carriers.forward(crossing)
            if isinstance(carried, Refusal) or not _is_identity(carried.affines[0]):
                return False
        return bool(others) and not value.is_graph_output()

    def _past(
        self, carrier: ir.Node, value: ir.Value, affine: Affine, into: Fragment, depth: int
    ) -> Refusal | None:
        if self._context.is_constant(value):
            return Refusal("constant-input", f"'{value.name}' is a constant")
        crossing = Crossing(carrier, value.index() or 0, affine, self._scope, self._context)
        carried = carriers.backward(crossing)
        if isinstance(carried, Refusal):
            return carried
        refusal = self._edit(carrier, carried, into)
        for index, part in carried.affines.items():
            narrow = carried.narrow.get(index)
            refusal = refusal or self._operand(carrier, index, part, into, depth, narrow)
        if refusal is None and carried.one_of:
            refusal = self._one_of(carrier, carried, into, depth)
        if refusal is not None and len(carried.affines) > 1:
            # The refusal of one term is no reason by itself: it is the sum that needs them all.
            where = f"{describe(carrier)} needs all its terms, and {refusal.message}"
            return Refusal(refusal.reason if carrier.op_type == "Concat" else "residual", where)
        return refusal

    def _one_of(
        self, carrier: ir.Node, carried: Carried, into: Fragment, depth: int
    ) -> Refusal | None:
        refusal: Refusal | None = None
        for index, part in carried.one_of.items():
            attempt = into.child()
            refusal = self._operand(carrier, index, part, attempt, depth)
            if refusal is None:
                attempt.commit()
                return None
        return refusal

    def _operand(
        self,
        carrier: ir.Node,
        index: int,
        affine: Affine,
        into: Fragment,
        depth: int,
        narrow: Affine | None = None,
    ) -> Refusal | None:
        value = carrier.inputs[index]
        if value is None:
            return Refusal("shape-mismatch", f"{describe(carrier)} lacks an operand")
        if self._context.is_constant(value):
            return self._constant(carrier, index, affine, into)
        return self.upstream(value, affine, carrier, into, depth + 1, narrow)

    def _constant(
        self, carrier: ir.Node, index: int, affine: Affine, into: Fragment
    ) -> Refusal | None:
        """A constant that a carrier reads takes the affine itself."""
        if _is_identity(affine):
            return None
        constant = self._context.constant(carrier, index, "operand", "not-carried")
        if not isinstance(constant, Constant):
            return constant
        if constant.dtype not in FOLDABLE_DTYPES or len(constant.shape) != affine.rank:
            return Refusal("data-type", f"the constant of {describe(carrier)} is no float tensor")
        earlier = into.constant(carrier, index)
        whole = affine if earlier is None else affine.after(earlier)
        values = whole.apply(DoubleDouble.of(constant.array().astype(np.float64)))
        if values.shape != constant.shape:
            return Refusal("shape-mismatch", f"the constant of {describe(carrier)} is broadcast")
        new = rounded(
            values, constant.tensor.dtype, index=index, base="constant", what=describe(carrier)
        )
        if isinstance(new, Refusal):
            return new
        into.constants[id(carrier), index] = (carrier, whole, new)
        return None

    def _edit(self, carrier: ir.Node, carried: Carried, into: Fragment) -> Refusal | None:
        if not carried.operands:
            return None
        if into.carrier(carrier):
            return Refusal("padding", f"{describe(carrier)} pads with a rewritten value already")
        into.carriers[id(carrier)] = (carrier, carried.operands)
        return None

    def _through_unit(
        self, unit: Unit, affine: Affine, into: Fragment, depth: int
    ) -> Refusal | None:
        """Past a unit that is gone, into a batch norm that stays, or along with another affine."""
        changed = into.unit(unit)
        inner = into.affine_of(unit)
        if inner is None:
            return self.upstream(unit.input, affine, unit.nodes[0], into, depth + 1)
        whole = affine.after(inner)
        from_ahead = changed is not None and changed.from_ahead
        if id(unit) in self._sites and not _is_shift(inner):
            into.units[id(unit)] = (unit, Changed(whole, from_ahead))
            into.merged_into[id(unit)] = unit
            return self._finite(whole, unit)
        attempt = into.child()
        refusal = self.upstream(unit.input, whole, unit.nodes[0], attempt, depth + 1)
        if refusal is None:
            attempt.units[id(unit)] = (unit, Changed(None))
            attempt.commit()
            return None
        if not _is_shift(inner):
            return refusal
        # The sum stays and takes the shift; only the scale goes on.
        attempt = into.child()
        refusal = self.upstream(
            unit.input, affine.without_shift(), unit.nodes[0], attempt, depth + 1
        ) or self._finite(whole, unit)
        if refusal is None:
            attempt.units[id(unit)] = (unit, Changed(Affine.from_shift(whole.shift), from_ahead))
            attempt.commit()
        return refusal

    def downstream(
        self, value: ir.Value, affine: Affine, into: Fragment, depth: int = 0
    ) -> Refusal | None:
        """Make every reader of `value` read `affine` of it, where it reads it bare from now on."""
        if _is_identity(affine):
            return None
        if value.is_graph_output():
            return Refusal("graph-output", f"'{value.name}' is a graph output")
        if depth > _MAX_DEPTH:
            return Refusal("not-carried", f"'{value.name}' is too far away")
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
            return into.ask(node, self._scope, self._context, before=affine, data_index=index)
        if node.op_type not in carriers.BY_TYPE:
            return Refusal("not-linear", f"{describe(node)} reads it")
        carried = carriers.forward(Crossing(node, index, affine, self._scope, self._context))
        if isinstance(carried, Refusal):
            return carried
        for position, part in carried.affines.items():
            output = node.outputs[position]
            into.renamed[id(output)] = output
            refusal = self.downstream(output, part, into, depth + 1)
            if refusal is not None:
                return refusal
        return None

    def _ahead_of_unit(
        self, unit: Unit, affine: Affine, into: Fragment, depth: int
    ) -> Refusal | None:
        inner = into.affine_of(unit)
        if inner is None:
            return self.downstream(unit.output, affine, into, depth + 1)
        whole = inner.after(affine)
        if id(unit) in self._sites:
            into.units[id(unit)] = (unit, Changed(whole, from_ahead=True))
            into.merged_into[id(unit)] = unit
            return self._finite(whole, unit)
        into.units[id(unit)] = (unit, Changed(None))
        into.renamed[id(unit.output)] = unit.output
        return self.downstream(unit.output, whole, into, depth + 1)

    @staticmethod
    def _finite(affine: Affine, unit: Unit) -> Refusal | None:
        if affine.is_finite():
            return None
        return Refusal("overflow", f"the affine at {describe(unit.nodes[0])} overflows float64")


def _is_identity(affine: Affine) -> bool:
    return _is_shift(affine) and affine.shift.is_zero()


def _is_shift(affine: Affine) -> bool:
    return bool((affine.scale.hi == 1).all() and not affine.scale.lo.any())
