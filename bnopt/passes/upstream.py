"""Finding a place for an affine upstream, past carriers, in the hosts behind it.

An affine asked of a value is asked of the value's producer, which must have no other reader to
disappoint. A host takes it; a carrier hands it on to what it reads; a sum asks all its terms.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from bnopt.algebra import carriers, hosts, recognizers
from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Carried, Crossing, Refusal
from bnopt.algebra.double_double import DoubleDouble
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.algebra.scaling import rounded
from bnopt.algebra.units import Unit
from bnopt.graph.constants import Constant
from bnopt.graph.uses import describe, other_readers, readers
from bnopt.passes.fragment import Changed, Fragment
from bnopt.passes.obstacles import name_obstacle
from bnopt.passes.walk import Walk, finite, is_identity, is_shift


class Upstream(Walk):
    """Searches towards the inputs."""

    def ask(
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
        if is_identity(affine):
            return None
        far = self.too_far(value, depth)
        if far is not None:
            return far
        producer = value.producer()
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
            if node.op_type != "Slice" or node.graph is not self._scope.graph:
                return False
            crossing = Crossing(node, index, affine, self._scope, self._context)
            carried = carriers.forward(crossing)
            if isinstance(carried, Refusal) or not is_identity(carried.affines[0]):
                return False
        return not value.is_graph_output()

    def _past(
        self, carrier: ir.Node, value: ir.Value, affine: Affine, into: Fragment, depth: int
    ) -> Refusal | None:
        if self._context.is_constant(value):
            return Refusal("constant-input", f"'{value.name}' is a constant")
        if into.carrier(carrier):
            return Refusal("padding", f"{describe(carrier)} pads with a rewritten value already")
        crossing = Crossing(carrier, value.index() or 0, affine, self._scope, self._context)
        carried = carriers.backward(crossing)
        if isinstance(carried, Refusal):
            return carried
        if carried.operands:
            into.carriers[id(carrier)] = (carrier, carried.operands)
        refusal = self.consult(carrier, into)
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
        return self.ask(value, affine, carrier, into, depth + 1, narrow)

    def _constant(
        self, carrier: ir.Node, index: int, affine: Affine, into: Fragment
    ) -> Refusal | None:
        """A constant that a carrier reads takes the affine itself."""
        if is_identity(affine):
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

    def _through_unit(
        self, unit: Unit, affine: Affine, into: Fragment, depth: int
    ) -> Refusal | None:
        """Past a unit that is gone, into a batch norm that stays, or along with another affine."""
        if id(unit) in self._pinned:
            return self._pinned[id(unit)]
        changed = into.unit(unit)
        inner = into.affine_of(unit)
        if inner is None:
            return self.ask(unit.input, affine, unit.nodes[0], into, depth + 1)
        whole = affine.after(inner)
        from_ahead = changed is not None and changed.from_ahead
        if id(unit) in self._sites and not is_shift(inner):
            return self._merge(unit, inner, affine, Changed(whole, from_ahead), into)
        scaled = into.child()
        if is_shift(inner):
            # Where not even the scale can go on, the whole cannot either. Asking for it first keeps
            # a row of such sums from being searched twice at each of them.
            refusal = self.ask(
                unit.input, affine.without_shift(), unit.nodes[0], scaled, depth + 1
            ) or finite(whole, unit)
            if refusal is not None:
                return refusal
        attempt = into.child()
        refusal = self.ask(unit.input, whole, unit.nodes[0], attempt, depth + 1)
        if refusal is None:
            attempt.units[id(unit)] = (unit, Changed(None))
            attempt.commit()
            return None
        if not is_shift(inner):
            return refusal
        # The sum stays and takes the shift; only the scale goes on.
        scaled.units[id(unit)] = (unit, Changed(Affine.from_shift(whole.shift), from_ahead))
        scaled.merged_into[id(unit)] = unit
        scaled.commit()
        return None
