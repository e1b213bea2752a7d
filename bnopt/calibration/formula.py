"""Batch norms that are written out, found in their formula and proved by running it.

    m = mean(x)    v = mean((x - m)^2)    y = gamma * (x - m) / sqrt(v + epsilon) + beta

in whatever order: `v` as a mean of squares less a squared mean, `y` as x * a + (beta - m * a), with
Reshape, Transpose and Cast in between. A root of v + epsilon is given; x, m and y are searched for,
and believed for these reasons:

1. x is a value through which alone v depends on the data, and from x to v there are arithmetic,
   sums and moves only. v is the population variance of x over all axes but one; what counts as m is
   the mean. Weighted moments, a division by n - 1, other axes give other numbers (`proof.draws`).
2. From x to y there are Add, Sub, Mul and Div whose other operand does not depend on x once m and v
   are given, and moves: so y = a * x + b. gamma := a * sqrt(v + epsilon) and beta := b + m * a are
   the same for any m and v, and one number per channel (`proof.batch_norms`). That is what makes it
   a batch norm: where m or v is clipped, corrected or blended with a constant, they are not.
3. All that is done to x is done in the type that the root is taken in.

A Cast of x that comes first belongs to what is normalised. A constant scale or bias of its own that
follows is left where it is, and so is the bias of the operator behind x.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from bnopt.algebra.base import Context, Refusal
from bnopt.calibration.evaluation import FLOATS, Evaluation, is_recast
from bnopt.calibration.proof import Cuts, Draw, Setting, batch_norms, draws, is_moment
from bnopt.calibration.slots import Array
from bnopt.calibration.steps import first_step, last_of, next_step
from bnopt.graph.constants import EVALUATED
from bnopt.graph.operators import get_int, is_standard, operand
from bnopt.graph.order import in_order
from bnopt.graph.uses import describe

_ALGEBRAIC = frozenset(
    "Add Cast Div Gather Identity Mul Neg Pow ReduceMean ReduceProd ReduceSum ReduceSumSquare "
    "Reshape Shape Size Squeeze Sub Transpose Unsqueeze".split()
)
_OF_MOMENTS = (EVALUATED | _ALGEBRAIC | {"Relu"}) - {"CastLike"}
"""What may be done to moments: anything that can be run, since the numbers decide."""
_REDUCTIONS = frozenset(("ReduceMean", "ReduceSum", "ReduceSumSquare"))
_BOUNDS = frozenset(("Max", "Relu"))
_MOST_NODES = 64


@dataclass(frozen=True, slots=True, eq=False)
class Root:
    """The root of a variance.

    Attributes:
        node: The Sqrt.
        variance: What epsilon is added to.
        epsilon: A positive number.
        dtype: The type of all of them.
    """

    node: ir.Node
    variance: ir.Value
    epsilon: float
    dtype: np.dtype[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Formula:
    """A batch norm that is written out.

    Attributes:
        root: Of its variance.
        input: What it normalises, or that before a Cast to the type of the root.
        axis: The channel axis of `input`.
        output: The result.
        order: The axes of `input` in the order in which the result has them.
        is_cast: Whether `input` is to be cast first.
        gamma: Scale parameter, [C].
        beta: Shift parameter, [C].
    """

    root: Root
    input: ir.Value
    axis: int
    output: ir.Value
    order: tuple[int, ...]
    is_cast: bool
    gamma: Array
    beta: Array


def root_of(node: ir.Node, context: Context) -> Root:
    """The operands of a Sqrt that `runtime_statistics` has something to say about."""
    total = operand(node, 0)
    add = None if total is None else total.producer()
    assert add is not None
    for index in (0, 1):
        variance = operand(add, index)
        epsilon = context.constants.resolve(operand(add, 1 - index))
        if variance is not None and epsilon is not None:
            number = float(epsilon.array().astype(np.float64).reshape(-1)[0])
            return Root(node, variance, number, epsilon.dtype)
    raise AssertionError("it adds an epsilon")


class Search:
    """Finds formulas in the main graph of a model.

    Args:
        context: Of the model.
        opset: The operator set that holds there.
    """

    def __init__(self, context: Context, opset: int) -> None:
        self._context = context
        self._graph = context.model.graph
        self._position = {id(node): n for n, node in enumerate(in_order(self._graph))}
        self._evaluation = Evaluation(context, opset)

    def formula(self, root: Root) -> Formula | Refusal:
        """The batch norm that `root` belongs to."""
        refusal = Refusal(
            "batch-statistics",
            f"what {describe(root.node)} takes the root of is not the variance of one tensor over "
            "all axes but that of its channels",
        )
        variance = self._unbounded(root.variance)
        for source, between in self._sources(variance):
            if not any(node.op_type in _REDUCTIONS for node in between):
                continue
            dims = self._context.dims.of(source)
            if dims is None:
                where = f"the rank of '{source.name}', before {describe(root.node)}, is not known"
                refusal = Refusal("not-measurable", where)
                continue
            for axis, channels in enumerate(dims):
                if (
                    axis == 0  # not a condition: the batch is reduced, or there were no root here
                    or channels is None
                ):
                    continue
                ran = draws(self._evaluation, source, dims, axis, between)
                if all(is_moment("variance", id(variance), draw, axis) for draw in ran):
                    found = self._written(root, source, axis, dims)
                    if isinstance(found, Formula):
                        return found
                    refusal = found
                    break
        return refusal

    def _is_standard(self, node: ir.Node) -> bool:
        return (
            node.graph is self._graph
            and len(node.outputs) == 1
            and is_standard(node, self._context.model)
        )

    def _varying(self, node: ir.Node) -> list[ir.Value]:
        """The operands of a node that are no constants."""
        return [
            value
            for value in node.inputs
            if value is not None and value.name and not self._context.is_constant(value)
        ]

    def _unbounded(self, value: ir.Value) -> ir.Value:
        """What a variance is before it is kept from being negative."""
        node = value.producer()
        while node is not None and node.op_type in _BOUNDS and self._is_standard(node):
            varying = self._varying(node)
            if len(varying) != 1:
                break
            value, node = varying[0], varying[0].producer()
        return value

    def _sources(self, value: ir.Value) -> Iterator[tuple[ir.Value, list[ir.Node]]]:
        """The values through which alone `value` depends on the data, nearest first.

        Each comes with the nodes between, in topological order.
        """

        def position(one: ir.Value) -> int:
            return self._position.get(id(one.producer()), -1)

        between: list[ir.Node] = []
        pending = {id(value): value}
        while pending and len(between) < _MOST_NODES:
            last = max(pending.values(), key=position)
            if len(pending) == 1 and between:
                yield last, between[::-1]
            del pending[id(last)]
            node = last.producer()
            if node is None or node.op_type not in _ALGEBRAIC or not self._is_standard(node):
                return
            between.append(node)
            pending.update((id(one), one) for one in self._varying(node))

    def _following(self, source: ir.Value) -> list[ir.Node]:
        """Nodes that depend on `source` and constants alone, in topological order."""
        known = {id(source)}
        found: list[ir.Node] = []
        pending: list[tuple[int, ir.Node]] = []
        seen: set[int] = set()
        values = [source]
        while len(found) < _MOST_NODES:
            for node in [reader for value in values for reader, _ in value.uses()]:
                if self._is_standard(node) and id(node) not in seen:
                    seen.add(id(node))
                    heapq.heappush(pending, (self._position[id(node)], node))
            if not pending:
                break
            node, values = heapq.heappop(pending)[1], []
            if node.op_type in _OF_MOMENTS and all(id(v) in known for v in self._varying(node)):
                found.append(node)
                values = [node.outputs[0]]
                known.add(id(node.outputs[0]))
        return found

    def _written(
        self, root: Root, source: ir.Value, axis: int, dims: tuple[int | None, ...]
    ) -> Formula | Refusal:
        """The batch norm of `source`, whose variance along `axis` is known to be under `root`."""
        nodes = self._following(source)
        ran = list(draws(self._evaluation, source, dims, axis, nodes))
        steps = {id(source): first_step(source, len(dims))}
        moments: set[int] = set()  # the moments of x, and what is computed from them alone
        algebraic = {id(source)}
        rooted: set[int] = set()
        cuts = Cuts()
        recast: ir.Node | None = None
        for node in nodes:
            key = id(node.outputs[0])
            operands = self._varying(node)
            if node is root.node or any(id(value) in rooted for value in operands):
                rooted.add(key)
            if node.op_type in _ALGEBRAIC and all(id(value) in algebraic for value in operands):
                algebraic.add(key)
            if is_recast(node, root.dtype):
                recast = node if get_int(node, "to", 0) in FLOATS else recast
            elif all(id(value) in moments for value in operands) or (
                key in algebraic and _cut(cuts, key, ran, axis)
            ):
                moments.add(key)
            elif (step := next_step(node, operands, steps, moments)) is not None:
                steps[key] = step
        run = [n for n in nodes if id(n.outputs[0]) in steps or id(n.outputs[0]) in moments]
        channels = dims[axis]
        assert channels is not None
        setting = Setting(source, axis, channels, len(dims), root.epsilon)
        orders = {key: step.order for key, step in steps.items() if key in rooted}
        numbers = batch_norms(self._evaluation, setting, run, cuts, orders)
        ends = last_of([steps[key] for key in numbers])
        if len(ends) != 1:
            return _none(root, source, recast, bool(ends))
        end = ends[0]
        gamma, beta = numbers[id(end.value)]
        return Formula(root, source, axis, end.value, end.order, end.is_cast, gamma, beta)


def _cut(cuts: Cuts, key: int, ran: list[Draw], axis: int) -> bool:
    """Whether a value is one of the moments; if so, it is noted."""
    if all(is_moment("mean", key, draw, axis) for draw in ran):
        cuts.mean[key] = ran[0][1][key].shape
    elif all(is_moment("variance", key, draw, axis) for draw in ran):
        cuts.variance[key] = ran[0][1][key].shape
    else:
        return False
    return True


def _none(root: Root, source: ir.Value, recast: ir.Node | None, is_many: bool) -> Refusal:
    what = f"{describe(root.node)}, the root of the variance of '{source.name}'"
    if recast is not None:
        return Refusal("data-type", f"{describe(recast)} changes the type on the way from {what}")
    many = "several results are batch norms" if is_many else "no result is a batch norm"
    formula = "scale * (x - mean) / root + shift"
    return Refusal("batch-statistics", f"{many} by {what}: {formula}")
