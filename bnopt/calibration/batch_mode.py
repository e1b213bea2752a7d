"""A copy of a model in which batch norms normalise by their own batch and give its moments away.

On the CPU one node does both: BatchNormalization in training mode, whose momentum of 0 makes its
"running" outputs the mean m and the population variance v of the batch alone.

    x -> BatchNormalization = y, m, v
    x -> Size, divided by C = n
    v -> Mul n = sum of squared deviations from m

onnxruntime takes m over the whole batch before it squares a deviation, so that a small variance on
a large mean is kept. m is a sum in single precision, off by a few of its own units in the last
place, some 1e-7 of itself: about what inference loses where it adds the shift. For other providers,
whose kernels were not tried, the nodes of a tap (`taps`) do it, which take longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.calibration.nodes import OLDEST_OPSET, NodeWriter
from bnopt.calibration.slots import MEAN, Slot, on
from bnopt.calibration.taps import Place, prune, reduced
from bnopt.errors import RefusalError
from bnopt.graph.names import Names

_TRAINING_MODE = 14
"""The operator set that brought the attribute; before it, five outputs say the same."""


@dataclass(frozen=True, slots=True)
class Batched:
    """A copy of a model that normalises by batches.

    Attributes:
        model: The copy; its outputs are what the places name.
        places: One per slot, in their order.
    """

    model: ir.Model
    places: tuple[Place, ...]


def batch_mode(
    model: ir.Model, slots: Sequence[Slot], *, provider: str = "cpu", keep_outputs: bool = False
) -> Batched:
    """Copy a model and let slots normalise by mean and population variance of their own batch.

    Args:
        model: Only read. The rank of what a slot normalises has to be known.
        slots: Which batch norms; the others stay as they are.
        provider: `cpu` or `cuda`: where the copy is to run.
        keep_outputs: Whether the outputs of the model stay, in front of the moments.

    Raises:
        RefusalError: The model's operator set is older than 7.
    """
    opset = model.graph.opset_imports.get("", 1)
    if opset < OLDEST_OPSET:
        raise RefusalError(f"operator set {opset} is older than {OLDEST_OPSET}")
    context = Context.of(model)
    copy = model.clone()
    writer = NodeWriter(copy.graph, Names(copy), opset)
    fuse = _fused if provider == "cpu" else _written_out
    places: list[Place] = []
    made: list[list[ir.Value]] = []
    for slot, twin in zip(slots, on(copy, slots), strict=True):
        dims = context.dims.of(slot.input)
        assert dims is not None
        work = _Work(writer, twin.node, slot.site, len(dims), _dtype(slot, context), opset)
        place, values = fuse(work)
        places.append(place)
        made.append(values)
    if not keep_outputs:
        copy.graph.outputs.clear()
    # As in `taps`: the last first, or onnxruntime would hold every tensor until the end.
    copy.graph.outputs.extend(value for values in reversed(made) for value in values)
    prune(copy.graph)
    return Batched(copy, tuple(places))


@dataclass(frozen=True, slots=True, eq=False)
class _Work:
    """One batch norm of the copy.

    Attributes:
        writer: Of the copy.
        node: To be replaced.
        site: What it is reported by.
        rank: Of what it normalises.
        dtype: Of what it normalises.
        opset: Of the copy.
    """

    writer: NodeWriter
    node: ir.Node
    site: str
    rank: int
    dtype: ir.DataType
    opset: int

    @property
    def precision(self) -> ir.DataType:
        """What is computed in: double where that costs nothing, as for taps."""
        double = self.rank == 2 or self.dtype == ir.DataType.DOUBLE
        return ir.DataType.DOUBLE if double else ir.DataType.FLOAT

    def operand(self, index: int) -> ir.Value:
        """An operand of the node, in the type that is computed in."""
        value = self.node.inputs[index]
        assert value is not None
        known = self.dtype if index == 0 else None
        return value if known == self.precision else self.writer.cast(value, self.precision)

    def channels(self) -> int:
        """C."""
        constant = self.node.inputs[MEAN]
        assert constant is not None
        assert constant.const_value is not None
        return int(constant.const_value.shape.numpy()[0])

    def epsilon(self) -> list[ir.Attr]:
        """The attribute, if the node has it."""
        attribute = self.node.attributes.get("epsilon")
        return [] if attribute is None else [attribute]

    def replace(self, normalised: ir.Value) -> None:
        """Put `normalised` in the place of what the node yields."""
        if self.precision != self.dtype:
            normalised = self.writer.cast(normalised, self.dtype)
        old = self.node.outputs[0]
        normalised.type, normalised.shape = old.type, old.shape
        name, old.name = old.name, normalised.name
        old.replace_all_uses_with(normalised, replace_graph_outputs=True)
        graph = self.node.graph
        assert graph is not None
        graph.remove(self.node, safe=True)
        normalised.name = name

    def count(self) -> tuple[ir.Value, ir.Value]:
        """How many numbers there are, and how many of each channel, a scalar."""
        data = self.node.inputs[0]
        assert data is not None
        size = self.writer.node("Size", data)
        size.type = ir.TensorType(ir.DataType.INT64)
        channels = self.writer.constant(self.channels(), self.precision.numpy())
        return size, self.writer.node("Div", self.writer.cast(size, self.precision), channels)


def _fused(work: _Work) -> tuple[Place, list[ir.Value]]:
    writer, precision = work.writer, work.precision
    writer.anchor = work.node
    data = work.operand(0)
    zeros = writer.constant(np.zeros(work.channels()), precision.numpy())
    size, count = work.count()
    counts = writer.node("Add", zeros, count)
    # Any numbers do as old statistics but NaN, which the momentum would not take out. The new ones
    # are written over them, so nothing else may lie there, and nothing that outlives the run.
    old = [writer.node(op_type, counts) for op_type in ("Neg", "Abs")]
    attributes = [ir.AttrFloat32("momentum", 0.0), *work.epsilon()]
    if work.opset >= _TRAINING_MODE:
        attributes.append(ir.AttrInt64("training_mode", 1))
    normalised, mean, variance, *_ = writer.write(
        "BatchNormalization",
        [data, work.operand(1), work.operand(2), *old],
        attributes,
        outputs=3 if work.opset >= _TRAINING_MODE else 5,
    )
    squares = writer.node("Mul", variance, counts)
    for value in (mean, zeros, squares):
        value.type = ir.TensorType(precision)
    work.replace(normalised)
    return _place(work, mean, zeros, squares, size)


def _written_out(work: _Work) -> tuple[Place, list[ir.Value]]:
    writer = work.writer
    writer.anchor = work.node
    data = work.operand(0)
    shift, total, squares = reduced(writer, data, work.rank, 1, work.precision)
    size, count = work.count()
    off = writer.node("Div", total, count)
    flat = writer.node("Reshape", shift, writer.constant([-1], np.int64))
    mean = writer.node("Add", flat, off)
    m2 = writer.node("Sub", squares, writer.node("Mul", total, off))
    # Rounding may leave less than nothing of a constant channel.
    variance = writer.node("Relu", writer.node("Div", m2, count))
    inputs = [data, work.operand(1), work.operand(2), mean, variance]
    normalised = writer.write("BatchNormalization", inputs, work.epsilon())[0]
    work.replace(normalised)
    return _place(work, shift, total, squares, size)


def _place(work: _Work, *values: ir.Value) -> tuple[Place, list[ir.Value]]:
    return Place((work.site,), *(value.name or "" for value in values)), list(values)


def _dtype(slot: Slot, context: Context) -> ir.DataType:
    known = context.types.of(slot.input).dtype
    constant = slot.node.inputs[MEAN]
    assert constant is not None
    assert constant.const_value is not None
    return constant.const_value.dtype if known is None else known
