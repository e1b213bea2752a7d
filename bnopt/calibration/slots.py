"""A batch norm whose statistics can be replaced: an ordinary node with two constants to fill in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from bnopt.findings import Form

Array = npt.NDArray[np.float64]

MEAN, VARIANCE = 3, 4
"""Which operands of BatchNormalization hold the statistics."""


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """One batch norm.

    Attributes:
        site: The id of its site in the original.
        name: Its name there.
        form: How it was written there.
        node: A BatchNormalization in the main graph, in inference mode, with one output and a
            channel axis of 1; mean and variance are constants [C] that nobody else reads until
            they are measured, and then only other calls of the same layer.
        epsilon: Added to the variance.
        gamma: Scale parameter, [C]; None if it is no constant.
        beta: Shift parameter, likewise.
        mean: What the original stored, [C]; None if it stored none.
        variance: Likewise.
        rewritten: Whether the original normalised by the statistics of its batch, so that the
            node is not what stood there.
        stored: The tensors that the original read mean and variance from; none where it was no
            BatchNormalization, or had them not as constants.
    """

    site: str
    name: str
    form: Form
    node: ir.Node
    epsilon: float
    gamma: Array | None
    beta: Array | None
    mean: Array | None
    variance: Array | None
    rewritten: bool
    stored: tuple[ir.TensorProtocol, ...] = ()

    @property
    def input(self) -> ir.Value:
        """What it normalises."""
        value = self.node.inputs[0]
        assert value is not None
        return value


def on(model: ir.Model, slots: Sequence[Slot]) -> list[Slot]:
    """The same slots on a clone of their model.

    Args:
        model: The clone, made when the slots were there already.
        slots: Of the original.
    """
    twins = {node.outputs[0].name: node for node in model.graph if node.outputs}
    return [replace(slot, node=twins[slot.node.outputs[0].name]) for slot in slots]
