"""Batch norms that are written out with constants, where these can still be told apart.

    sqrt(v + epsilon)    y = gamma * (x - m) / sqrt(v + epsilon) + beta

with constants v, m, gamma and beta, as an `If` leaves it whose branch for inference was settled. v
and epsilon stand under the root. Which constant m is, its place says: were it another one, and v
too, gamma := a * sqrt(v + epsilon) and beta := b + m * a of y = a * x + b would be the same
(`proof.batch_norms`). Where exactly one of the constants that are read behind the root is such, it
is the mean. A constant that is read at two places is looked at in each: exporters merge equal ones,
and before training the mean equals beta and the variance gamma.

Where an exporter has computed the root, or the product with gamma, nothing is told apart any more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.calibration.evaluation import Evaluation, Key, is_recast
from bnopt.calibration.formula import Formula, Root
from bnopt.calibration.proof import Cuts, Setting, batch_norms
from bnopt.calibration.slots import Array
from bnopt.calibration.steps import Step, first_step, last_of, next_step
from bnopt.graph.constants import EVALUATED
from bnopt.graph.operators import is_standard, operand
from bnopt.graph.order import in_order

_RUN = EVALUATED | {"Identity"}
_MOST_STEPS = 8


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A batch norm that is written out with constants.

    Attributes:
        formula: All but its statistics.
        mean: [C].
        variance: [C].
    """

    formula: Formula
    mean: Array
    variance: Array


class StoredSearch:
    """Finds them in the main graph of a model.

    Args:
        context: Of the model.
        opset: The operator set that holds there.
    """

    def __init__(self, context: Context, opset: int) -> None:
        self._context = context
        self._nodes = in_order(context.model.graph)
        self._position = {id(node): n for n, node in enumerate(self._nodes)}
        self._evaluation = Evaluation(context, opset)

    def batch_norm(self, node: ir.Node) -> Stored | None:
        """The batch norm whose root of a constant variance `node` is, if its mean is known."""
        root = self._root(node)
        if root is None:
            return None
        constants, readers = self._behind(root)
        for source in self._sources(readers):
            found = list(self._of(root, source, constants))
            if found:
                return found[0] if len(found) == 1 else None
        return None

    def _numbers(self, value: ir.Value | None) -> Array | None:
        """A constant of a float type."""
        constant = self._context.constants.resolve(value)
        if constant is None or constant.dtype not in FOLDABLE_DTYPES:
            return None
        return constant.array().astype(np.float64)

    def _root(self, node: ir.Node) -> Root | None:
        total = operand(node, 0)
        add = None if total is None else total.producer()
        # Whether its operands are added, the numbers show.
        if add is None:
            return None
        for index in (0, 1):
            variance = operand(add, index)
            constant = self._context.constants.resolve(operand(add, 1 - index))
            numbers = self._numbers(operand(add, 1 - index))
            many = self._numbers(variance)
            # Of two single numbers either could be epsilon.
            if variance is None or many is None or many.size == 1:
                continue
            if constant is not None and numbers is not None and numbers.size == 1:
                return Root(node, variance, float(numbers.reshape(-1)[0]), constant.dtype)
        return None

    def _behind(self, root: Root) -> tuple[list[ir.Node], list[ir.Node]]:
        """The nodes that make constants of the variance, and those that apply them to data."""
        add, _ = _reads(root)
        seen = {id(add): add}
        readers: dict[int, ir.Node] = {}
        pending = [add.outputs[0]]
        while pending:
            for node, _ in pending.pop().uses():
                if id(node) not in self._position or not is_standard(node, self._context.model):
                    continue
                if not self._context.is_constant(node.outputs[0]):
                    readers[id(node)] = node
                elif (
                    node.op_type in _RUN
                    and id(node) not in seen
                    and not is_recast(node, root.dtype)
                ):
                    seen[id(node)] = node
                    pending.append(node.outputs[0])
        return self._sorted(seen), self._sorted(readers)

    def _sorted(self, nodes: dict[int, ir.Node]) -> list[ir.Node]:
        return sorted(nodes.values(), key=lambda node: self._position[id(node)])

    def _varying(self, node: ir.Node) -> list[ir.Value]:
        return [
            value
            for value in node.inputs
            if value is not None and value.name and not self._context.is_constant(value)
        ]

    def _sources(self, readers: list[ir.Node]) -> Iterator[ir.Value]:
        """What the first of some nodes is applied to, and what that comes from, nearest first."""
        node: ir.Node | None = readers[0] if readers else None
        for _ in range(_MOST_STEPS):
            varying = [] if node is None else self._varying(node)
            if len(varying) != 1:
                return
            yield varying[0]
            node = varying[0].producer()

    def _steps(self, source: ir.Value, computed: set[int]) -> tuple[dict[int, Step], list[ir.Node]]:
        """What is done to `source` with constants, and the nodes that do it."""
        steps = {id(source): first_step(source, len(self._context.dims.of(source) or ()))}
        nodes: dict[int, ir.Node] = {}
        pending = [source]
        while pending and len(nodes) < _MOST_STEPS:
            for node, _ in pending.pop().uses():
                if id(node) not in self._position or not is_standard(node, self._context.model):
                    continue
                read = [v for v in node.inputs if v is not None and id(v) in computed]
                step = next_step(node, [*self._varying(node), *read], steps, computed)
                if step is not None:
                    steps[id(step.value)] = step
                    nodes[id(node)] = node
                    pending.append(step.value)
        return steps, self._sorted(nodes)

    def _of(self, root: Root, source: ir.Value, constants: list[ir.Node]) -> Iterator[Stored]:
        """The batch norms of `source` by `root`: one for each constant that may be the mean."""
        dims = self._context.dims.of(source) or ()
        variance = self._numbers(root.variance)
        assert variance is not None
        computed = {id(node.outputs[0]) for node in constants}
        steps, nodes = self._steps(source, computed)
        run = [*constants, *nodes]
        orders = {key: step.order for key, step in steps.items()}
        for axis in (axis for axis in range(1, len(dims)) if dims[axis] == variance.size):
            setting = Setting(source, axis, variance.size, len(dims), root.epsilon)
            for key, mean in self._means(run, variance.size):
                add, index = _reads(root)
                cuts = Cuts({key: mean.shape}, {(id(add), index): variance.shape})
                numbers = batch_norms(self._evaluation, setting, run, cuts, orders)
                for end in last_of(steps[key] for key in numbers):
                    pair = numbers[id(end.value)]
                    found = Formula(root, source, axis, end.value, end.order, end.is_cast, *pair)
                    yield Stored(found, mean.reshape(-1), variance.reshape(-1))

    def _means(self, run: list[ir.Node], channels: int) -> Iterator[tuple[Key, Array]]:
        """Every read of a constant with one number for each channel."""
        for node in run:
            for index, value in enumerate(node.inputs):
                numbers = self._numbers(value)
                if numbers is not None and numbers.size == channels:
                    yield (id(node), index), numbers


def _reads(root: Root) -> tuple[ir.Node, int]:
    """The Add that reads the variance, and as which input."""
    total = root.node.inputs[0]
    add = None if total is None else total.producer()
    assert add is not None
    return add, add.inputs.index(root.variance)
