"""Taps: places in a graph at which moments per channel are taken, and the nodes that take them.

    x -> [Cast] -> ReduceMean = m -> Sub(x, m) = d -> ReduceSum = s
                                                 d -> Mul(d, d) -> ReduceSum = q
    x -> Size

m, s and q have C numbers each, and are all that leaves the runtime. s corrects for the rounding of
m (`Moments.about`), so that single precision is enough for the nodes: it is only ever asked to
hold deviations from the mean. Tensors of rank 2 are small beside the product that made them, so
they are reduced in double precision; so are those that are double already.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.calibration.nodes import OLDEST_OPSET, NodeWriter
from bnopt.graph.names import Names
from bnopt.graph.uses import operands_of


@dataclass(frozen=True, slots=True)
class Tap:
    """One place.

    Attributes:
        site: What the moments are reported by.
        value: The tensor to look at, in the main graph or not.
        axis: Its channel axis, counted from the front.
    """

    site: str
    value: ir.Value
    axis: int


@dataclass(frozen=True, slots=True)
class Place:
    """A tensor with reduction nodes on it, and the names of their outputs.

    Attributes:
        sites: What is reported by its moments.
        shift: What was subtracted: the mean, rounded; C numbers.
        total: Sum of the deviations, C numbers.
        squares: Sum of their squares, C numbers.
        size: How many numbers the tensor has in all.
    """

    sites: tuple[str, ...]
    shift: str
    total: str
    squares: str
    size: str


@dataclass(frozen=True, slots=True)
class Tapped:
    """A copy of a model that computes what the places ask for and nothing else.

    Attributes:
        model: The copy.
        places: One per distinct tensor and axis.
        notes: What was left out.
    """

    model: ir.Model
    places: tuple[Place, ...]
    notes: tuple[str, ...]


def tapped(context: Context, taps: Sequence[Tap]) -> Tapped:
    """Copy a model and let it compute the moments at taps in place of its outputs.

    Args:
        context: Of the model, which is only read.
        taps: Where to look; several on one tensor and axis are computed once.
    """
    model = context.model
    copy = model.clone()
    twins = dict(zip(map(id, _values(model.graph)), _values(copy.graph), strict=True))
    sites: dict[tuple[int, int], list[str]] = {}
    tensors: dict[int, _Tensor] = {}
    inner = unknown = 0
    for tap in taps:
        key, dims = id(tap.value), context.dims.of(tap.value)
        if key not in twins:
            inner += 1
        elif dims is None or len(dims) < 2 or not 0 <= tap.axis < len(dims):
            unknown += 1
        else:
            dtype = context.types.of(tap.value).dtype
            tensors[key] = _Tensor(twins[key], len(dims), dtype)
            sites.setdefault((key, tap.axis), []).append(tap.site)
    opset = model.graph.opset_imports.get("", 1)
    notes = _notes(inner, unknown)
    if sites and opset < OLDEST_OPSET:
        notes.append(f"nothing was measured: operator set {opset} is older than {OLDEST_OPSET}")
        sites = {}
    graph = copy.graph
    writer = _Writer(graph, Names(copy), opset)
    # onnxruntime runs what leads to the last sink first. The last tensor first, or it would hold
    # every tensor until the end: that takes the memory of them all, and each is out of the cache.
    position = {key: number for number, key in enumerate(twins)}
    places = [
        writer.tap(tensors[key], axis, tuple(names))
        for (key, axis), names in sorted(sites.items(), key=lambda item: -position[item[0][0]])
    ]
    graph.outputs.clear()
    graph.outputs.extend(writer.outputs)
    prune(graph)
    return Tapped(copy, tuple(places), tuple(notes))


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A value of the copy, with what is known of it."""

    value: ir.Value
    rank: int
    dtype: ir.DataType | None


def _notes(inner: int, unknown: int) -> list[str]:
    notes: list[str] = []
    if inner:
        place = "a subgraph or function" if inner == 1 else "subgraphs or functions"
        notes.append(f"{_batch_norms(inner)} in {place} cannot be measured from outside")
    if unknown:
        notes.append(f"{_batch_norms(unknown)} not measured: the rank of the input is not known")
    return notes


def _batch_norms(count: int) -> str:
    return f"{count} batch norm{'' if count == 1 else 's'}"


class _Writer(NodeWriter):
    """Appends what a tap needs, and remembers what comes out."""

    def __init__(self, graph: ir.Graph, names: Names, opset: int) -> None:
        super().__init__(graph, names, opset)
        self.outputs: list[ir.Value] = []

    def tap(self, tensor: _Tensor, axis: int, sites: tuple[str, ...]) -> Place:
        double = tensor.rank == 2 or tensor.dtype == ir.DataType.DOUBLE
        dtype = ir.DataType.DOUBLE if double else ir.DataType.FLOAT
        data = tensor.value
        if tensor.dtype != dtype:
            data = self.cast(data, dtype)
        size = self.node("Size", tensor.value)
        size.type = ir.TensorType(ir.DataType.INT64)
        made = (*reduced(self, data, tensor.rank, axis, dtype), size)
        self.outputs.extend(made)
        return Place(sites, *(output.name or "" for output in made))


def reduced(
    writer: NodeWriter, data: ir.Value, rank: int, axis: int, dtype: ir.DataType
) -> tuple[ir.Value, ir.Value, ir.Value]:
    """Write the nodes that take shift, total and squares (see `Place`) of a tensor.

    Args:
        writer: Of its graph.
        data: The tensor.
        rank: Its rank.
        axis: Its channel axis.
        dtype: Its data type, in which everything is computed.
    """
    axes = [other for other in range(rank) if other != axis]
    shift = writer.reduce("ReduceMean", data, axes, keep=True)
    deviation = writer.node("Sub", data, shift)
    total = writer.reduce("ReduceSum", deviation, axes)
    squares = writer.reduce("ReduceSum", writer.node("Mul", deviation, deviation), axes)
    for output in (shift, total, squares):
        output.type = ir.TensorType(dtype)
    return shift, total, squares


def _values(graph: ir.Graph) -> Iterator[ir.Value]:
    """The values of one graph that its own nodes can read, in a fixed order."""
    yield from graph.inputs
    yield from (value for value in graph.initializers.values() if not value.is_graph_input())
    for node in graph:
        yield from node.outputs


def prune(graph: ir.Graph) -> None:
    """Remove the nodes and initializers that no output needs; inputs stay."""
    live: set[int] = set()
    seen: set[int] = set()
    pending: list[ir.Value | None] = list(graph.outputs)
    while pending:
        value = pending.pop()
        if value is None or id(value) in seen:
            continue
        seen.add(id(value))
        node = value.producer()
        if node is not None and id(node) not in live:
            live.add(id(node))
            pending.extend(operands_of(node))
    graph.remove([node for node in graph if id(node) not in live])
    for name, value in list(graph.initializers.items()):
        if id(value) not in seen and not value.is_graph_input():
            del graph.initializers[name]
