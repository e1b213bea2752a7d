"""A TensorFlow graph as it was loaded: nothing frozen, pruned or optimized."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnopt.frontends.tensorflow.endpoints import Wanted


@dataclass(frozen=True, slots=True)
class Known:
    """What the layers of a Keras model know, and the graph of its inference does not.

    Attributes:
        initial_values: Place of a variable in the list that is saved with it -> the value that
            its layer's initializer gives, where that is not random.
        rates: Place of a moving mean or variance -> how much of each new batch it takes,
            1 - momentum.
        inputs: Names in the model's order, which a signature has not; empty if not known.
        outputs: Likewise.
    """

    initial_values: dict[int, NDArray[Any]]
    rates: dict[int, float]
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(slots=True)
class Loaded:
    """A graph with its variables still visible.

    A variable's name is that of its node: `Variable`, `VariableV2` or `VarHandleOp`. In a graph
    that was frozen by somebody else, what was a variable is a `Const` that an `Identity` reads.

    Attributes:
        graph_def: The whole graph, function calls inlined; If and While still have functions.
        values: Variable name -> its value, for every variable that has one.
        initial_values: Variable name -> the value it started from, where that is not drawn at
            random; None if the source does not tell.
        inputs: Name in the ONNX model -> tensor (`node:0`), in order.
        outputs: Name in the ONNX model -> tensor, in order.
        notes: What was decided on the way.
        rates: Moving average -> how much of each new batch it takes, where the source says so and
            the graph does not.
        places: Variable name -> its place in `Known`.
    """

    graph_def: Any
    values: dict[str, NDArray[Any]]
    initial_values: dict[str, NDArray[Any]] | None
    inputs: dict[str, str]
    outputs: dict[str, str]
    notes: list[str] = field(default_factory=list[str])
    rates: dict[str, float] = field(default_factory=dict[str, float])
    places: dict[str, int] = field(default_factory=dict[str, int])

    def learn(self, known: Known | None, wanted: Wanted) -> None:
        """Take over what the layers of a Keras model know, if it is one.

        Inputs and outputs that the user has named stay in the user's order.
        """
        if known is None:
            return
        starts, rates = known.initial_values, known.rates
        self.initial_values = {n: starts[at] for n, at in self.places.items() if at in starts}
        self.rates = {n: rates[at] for n, at in self.places.items() if at in rates}
        if wanted.inputs is None:
            self.inputs = _ordered(self.inputs, known.inputs)
        if wanted.outputs is None:
            self.outputs = _ordered(self.outputs, known.outputs)


def _ordered(ends: dict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    first = {name: ends[name] for name in names if name in ends}
    return {**first, **ends}
