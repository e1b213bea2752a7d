"""A TensorFlow graph as it was loaded: nothing frozen, pruned or optimized."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Known:
    """What the layers of a Keras model know, and the graph of its inference does not.

    Attributes:
        initial_values: Variable name -> the value that its layer's initializer gives, where that
            is not random.
        rates: Moving mean or variance -> how much of each new batch it takes, 1 - momentum.
    """

    initial_values: dict[str, NDArray[Any]]
    rates: dict[str, float]


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
    """

    graph_def: Any
    values: dict[str, NDArray[Any]]
    initial_values: dict[str, NDArray[Any]] | None
    inputs: dict[str, str]
    outputs: dict[str, str]
    notes: list[str] = field(default_factory=list[str])
    rates: dict[str, float] = field(default_factory=dict[str, float])

    def learn(self, known: Known | None) -> None:
        """Take over what the layers of a Keras model know, if it is one."""
        if known is not None:
            self.initial_values = known.initial_values
            self.rates = known.rates
