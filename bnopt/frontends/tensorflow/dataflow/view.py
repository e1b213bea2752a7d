"""A loaded model as the checks see it: batch norms, where their statistics come from, updates."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bnopt.frontends.tensorflow.dataflow.branches import idle, live
from bnopt.frontends.tensorflow.dataflow.constants import constant, truth
from bnopt.frontends.tensorflow.dataflow.graph import PLACEHOLDERS, Graph, Tensor, endpoints
from bnopt.frontends.tensorflow.dataflow.inlining import inline
from bnopt.frontends.tensorflow.dataflow.layers import Layer, Pair
from bnopt.frontends.tensorflow.dataflow.norms import Norm, norms
from bnopt.frontends.tensorflow.dataflow.sources import (
    SELECTS,
    SWITCHES,
    Gate,
    Source,
    Tracer,
    variables_of,
)
from bnopt.frontends.tensorflow.dataflow.updates import Update, is_train_op, updates

_STATISTICS = ("moving_mean", "moving_variance")
_SHAPES = frozenset(("Rank", "Shape", "ShapeN", "Size"))
_NAMED = re.compile(
    r"(?:^|/)(?:moving_(?:mean|var|std)|biased|local_step|renorm|ExponentialMovingAverage)[^/]*$"
)


class Model(Protocol):
    """What was loaded; see `bnopt.frontends.tensorflow.loaded.Loaded`."""

    graph_def: Any
    values: dict[str, NDArray[Any]]
    initial_values: dict[str, NDArray[Any]] | None
    inputs: dict[str, str]
    outputs: dict[str, str]
    rates: dict[str, float]


class View:
    """A model, flattened and traced.

    Args:
        model: What was loaded.
        bound: Input or tensor name -> the value it is bound to.

    Attributes:
        graph: Calls and conditionals written out.
        cone: The nodes the outputs are computed from.
    """

    def __init__(self, model: Model, bound: Mapping[str, Any] | None = None) -> None:
        self.model = model
        self.bound = _flags(model.values) | bindings(model.inputs, bound or {})
        outputs = list(model.outputs.values())
        flat = inline(model.graph_def, self._taken, lower=True, keep=outputs)
        self.graph = Graph(flat.node)
        self.outputs = [tensor.node for tensor in endpoints(model.outputs)]
        self.cone = self.graph.ancestors(self.outputs, control=False)
        # A merge reads both branches, also the one that a constant or a bound flag rules out.
        self.cone &= live(self.graph, self.outputs, self.bound)
        self.tracer = Tracer(self.graph, variables_of(self.graph, model.values), self.bound)

    def _taken(self, graph: Graph, tensor: Tensor) -> bool | None:
        return truth(graph, tensor, self.bound)

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Every batch norm the outputs depend on."""
        return tuple(filter(None, (self._layer(norm) for norm in norms(self.graph, self.cone))))

    @cached_property
    def updates(self) -> tuple[Update, ...]:
        """Every op of the graph that moves a variable, optimizers aside."""
        return tuple(updates(self.tracer))

    @cached_property
    def updated(self) -> dict[str, list[Update]]:
        """Variable -> its updates."""
        found: dict[str, list[Update]] = {}
        for update in self.updates:
            found.setdefault(update.variable, []).append(update)
        return found

    @cached_property
    def idle(self) -> set[str]:
        """The nodes that never run, whatever is fed."""
        return idle(self.graph, self.bound)

    @cached_property
    def undecided(self) -> Tracer:
        """The model with every switch left open, and nothing bound.

        With a switch decided, a rate may be 0 on purpose: slim has it so outside training.
        """
        outputs = list(self.model.outputs.values())
        flat = inline(self.model.graph_def, lambda graph, at: None, lower=True, keep=outputs)
        graph = Graph(flat.node)
        return Tracer(graph, variables_of(graph, self.model.values), {})

    @cached_property
    def rates(self) -> dict[str, float]:
        """Update op -> its rate, where that is one number whatever any switch is set to."""
        found: dict[str, float] = {}
        for update in updates(self.undecided):
            value = None if update.rate is None else constant(self.undecided.graph, update.rate)
            if value is not None and value.size == 1:
                found[update.node] = float(value.reshape(-1)[0])
        return found

    @cached_property
    def train_ops(self) -> tuple[str, ...]:
        """The optimizer's nodes."""
        return tuple(name for name in self.graph.nodes if is_train_op(self.graph.op(name)))

    @cached_property
    def pairs(self) -> tuple[Pair, ...]:
        """The moving statistics of each batch norm that reads any, each pair once."""
        found: dict[tuple[str | None, str | None], Pair] = {}
        for layer in self.layers:
            mean, variance = self.stored(layer.mean), self.stored(layer.variance)
            if (mean, variance) != (None, None) and (mean, variance) not in found:
                found[mean, variance] = Pair(
                    layer.name,
                    mean,
                    variance,
                    self.initial(mean, "moving_mean"),
                    self.initial(variance, "moving_variance"),
                )
        return tuple(found.values())

    @cached_property
    def roles(self) -> dict[str, str]:
        """Variable -> `moving_mean` or `moving_variance`, by what a batch norm does with it."""
        found: dict[str, str] = {}
        for layer in self.layers:
            for role, sources in zip(_STATISTICS, (layer.mean, layer.variance), strict=True):
                stored = [s.node for s in sources if s.origin == "variable"]
                for name in stored if len(set(stored)) == 1 else ():
                    found.setdefault(name, role)
        return found

    @cached_property
    def statistics(self) -> set[str]:
        """Every variable that is a moving average, by its use, its updates or its name."""
        averaged = {update.variable for update in self.updates if update.rate is not None}
        return self.normalizing | averaged

    @cached_property
    def normalizing(self) -> set[str]:
        """Every variable that is a moving statistic of a batch norm, by its use or its name."""
        found = {v for v in self.tracer.variables if _NAMED.search(v)}
        for source in (s for layer in self.layers for s in layer.sources):
            if source.origin == "variable":
                found.add(source.node)
            elif source.origin == "update":
                # The layer reads what an update returns.
                found |= {self.tracer.variable(Tensor(source.node, 0)) or ""}
        return found

    def stored(self, sources: tuple[Source, ...]) -> str | None:
        """The one variable that a statistic is read from in inference."""
        found = {s.node for s in sources if s.origin == "variable"}
        if len(found) > 1:
            # The training branch may read one too; in inference the batch has no part.
            ways = {gate for s in sources if s.origin == "batch" for gate in s.gates}
            found = {s.node for s in sources if s.origin == "variable" and not ways & {*s.gates}}
        return found.pop() if len(found) == 1 else None

    def initial(self, name: str | None, role: str) -> bool | None:
        """Whether a variable still holds what it started from; None if that is not known."""
        value = None if name is None else self.model.values.get(name)
        if name is None or value is None:
            return None
        starts = self.model.initial_values or {}
        if name in starts:
            start = starts[name]
            if not np.array_equal(value, start):
                return False
            # An initializer with a number for each channel brings what was trained elsewhere.
            return True if (start == start.reshape(-1)[:1]).all() else None
        zero = not value.any()
        return zero or bool((value == 1).all()) if role == "moving_variance" else zero

    def is_fixed(self, gate: Gate) -> bool:
        """Whether nobody can set a gate: the data decide, or it is that of a loop."""
        if self.graph.op(gate.predicate.node) == "LoopCond":
            return True
        found = self.graph.ancestors([gate.predicate.node], control=False)
        return any(map(self._is_open, found)) and not self.flags(gate.predicate)

    def flags(self, predicate: Tensor) -> list[str]:
        """The placeholders that decide a predicate and are one number each: more are data."""
        return [name for name in self.placeholders(predicate) if self._is_number(name)]

    def placeholders(self, predicate: Tensor) -> list[str]:
        """The placeholders that decide a predicate."""
        found = self.graph.ancestors([predicate.node], control=False, stop=self._shapes)
        # Where a number is drawn, as in dropout, no input chooses.
        if any("Random" in self.graph.op(name) for name in found):
            return []
        return [name for name in self.graph.nodes if name in found and self._is_open(name)]

    @cached_property
    def _shapes(self) -> set[str]:
        """The nodes that take no number of a tensor, only its shape."""
        return {name for name in self.graph.nodes if self.graph.op(name) in _SHAPES}

    def _is_open(self, name: str) -> bool:
        return self.graph.op(name) in PLACEHOLDERS and Tensor(name, 0) not in self.bound

    def _is_number(self, name: str) -> bool:
        # A flag is often given without a shape.
        return all(dim.size == 1 for dim in self.graph.nodes[name].attr["shape"].shape.dim)

    def _gates(self, node: str) -> tuple[Gate, ...]:
        """The values without which a node has no part in the outputs."""
        return tuple(gate for gate, nodes in self._alive.items() if node not in nodes)

    @cached_property
    def _alive(self) -> dict[Gate, set[str]]:
        """Gate -> the nodes that have a part in the outputs while it is shut."""
        found: dict[Gate, set[str]] = {}
        for name, node in self.graph.nodes.items():
            if name not in self.cone or node.op not in SWITCHES | SELECTS:
                continue
            at = self.graph.operands(name)[1 if node.op in SWITCHES else 0]
            predicate = self.tracer.predicate(at)
            if Gate(predicate, True) in found or not self.flags(predicate):
                continue
            for value in (True, False):
                bound = {**self.bound, predicate: not value}
                found[Gate(predicate, value)] = live(self.graph, self.outputs, bound)
        return found

    def _layer(self, norm: Norm) -> Layer | None:
        gates = self._gates(norm.node)
        if norm.training:
            mean = variance = (Source("batch", norm.node, gates),)
        else:
            mean = () if norm.mean is None else self._sources(norm.mean)
            variance = self._sources(norm.variance)
        # A root of something else: the norm of a vector, a layer norm, an optimizer.
        if not variance or (not norm.fused and not mean):
            return None
        if norm.deviation and not any(
            s.origin == "variable" and (s.node in self.updated or _NAMED.search(s.node))
            for s in mean + variance
        ):
            return None
        return Layer(self._name(norm, mean + variance), norm, mean, variance, gates)

    def _sources(self, tensor: Tensor) -> tuple[Source, ...]:
        """Where a statistic comes from, without the branches that never run."""
        found = self.tracer.sources(tensor)
        return tuple(s for s in found if s.origin != "batch" or s.node in self.cone)

    def _name(self, norm: Norm, sources: tuple[Source, ...]) -> str:
        """The scope of a batch norm's variables, else the one its node is in."""
        found = [source.node for source in sources if source.origin == "variable"]
        if norm.fused:
            operands = self.graph.operands(norm.node)[1:]
            found += filter(None, (self.tracer.variable(operand) for operand in operands))
        scopes = filter(None, (name.rpartition("/")[0] for name in found))
        return next(scopes, norm.node.rpartition("/")[0] or norm.node)


def _flags(values: Mapping[str, NDArray[Any]]) -> dict[Tensor, Any]:
    """Switches that are variables, as tflearn has them: they are as they were saved."""
    flags = {name: v for name, v in values.items() if v.dtype == np.bool_ and v.ndim == 0}
    return {Tensor(name, 0): value for name, value in flags.items()}


def bindings(inputs: Mapping[str, str], bound: Mapping[str, Any]) -> dict[Tensor, Any]:
    """Tensors with a given value; a name may be an input's, a node's or a tensor's."""
    return {Tensor.parse(inputs.get(name, name)): value for name, value in bound.items()}
