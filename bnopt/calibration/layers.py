"""Which batch norms are calls of one layer, and so have one pair of statistics.

A layer that is called more than once, as in a siamese network, is several nodes. In training each
call moves the one pair of averages. Were each node given the moments of its own input, the model
would compute another function at each call.

What was trained is never equal by chance, so nodes with equal statistics are one layer, whether or
not an exporter has given each its own copy. Initial statistics are equal in all layers of a width,
and exporters merge equal constants. There the tensors have to be the same and so do gamma and
beta; where these are initial, too, the nodes in front decide, back to the nearest weights.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from operator import is_
from typing import TypeAlias

import numpy as np
import onnx_ir as ir

from bnopt.algebra.base import Context
from bnopt.calibration.slots import MEAN, VARIANCE, Array, Slot
from bnopt.graph.constants import Constant, Constants
from bnopt.graph.operators import operand
from bnopt.graph.scopes import label

Layer: TypeAlias = tuple[Slot, ...]

_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_MOST_STEPS = 12


def layers_of(model: ir.Model, slots: Sequence[Slot]) -> tuple[list[Layer], list[str]]:
    """Put together the slots that are calls of one layer.

    Args:
        model: Holds the slots; only read.
        slots: Whatever statistics their nodes hold by now, those of the original decide.

    Returns:
        The layers, each with its calls in the order of `slots`, and what a reader should know.
    """
    search = _Search(model)
    found: list[list[Slot]] = []
    for slot in slots:
        for calls in found:
            if search.is_one_layer(calls[0], slot):
                calls.append(slot)
                break
        else:
            found.append([slot])
    notes = [_pooled_note(calls) for calls in found if len(calls) > 1]
    notes += search.left(slots)
    if search.parted:
        notes.append(
            "batch norms that read the same untrained statistics, scale and shift, but stand "
            f"behind other weights or nodes, count as layers of their own: {_listed(search.parted)}"
        )
    return [tuple(calls) for calls in found], notes


def join(layer: Layer) -> None:
    """Let all calls of a layer read one pair of statistics, those of the last call."""
    last = layer[-1].node
    for slot in layer[:-1]:
        for index in (MEAN, VARIANCE):
            old, shared = slot.node.inputs[index], last.inputs[index]
            assert old is not None
            slot.node.replace_input_with(index, shared)
            graph = slot.node.graph
            assert graph is not None
            assert old.name is not None
            del graph.initializers[old.name]


class _Search:
    """Compares slots of one model.

    Attributes:
        parted: Slots that nothing but the nodes in front of them tells from another one.
    """

    def __init__(self, model: ir.Model) -> None:
        self.parted: list[Slot] = []
        self._known: dict[tuple[int, int], tuple[bytes, bool]] = {}
        self._model = model

    @cached_property
    def _constants(self) -> Constants:
        return Context.of(self._model).constants

    def _resolve(self, value: ir.Value | None) -> Constant | None:
        return self._constants.resolve(value)

    def is_one_layer(self, one: Slot, other: Slot) -> bool:
        if one.mean is None or one.variance is None or _dtype(one) != _dtype(other):
            return False
        if not (_equal(one.mean, other.mean) and _equal(one.variance, other.variance)):
            return False
        if _is_trained(one.mean) or _is_trained(one.variance):
            return True
        pairs = list(zip(one.stored, other.stored, strict=False))
        if any(mine is not theirs for mine, theirs in pairs):
            return False
        if not (_equal(one.gamma, other.gamma) and _equal(one.beta, other.beta)):
            return False
        if _is_trained(one.gamma) or _is_trained(one.beta):
            return True
        front = self._front(one)
        if front is not None and front == self._front(other):
            return True
        if pairs:
            self.parted += [slot for slot in (one, other) if slot not in self.parted]
        return False

    def left(self, slots: Sequence[Slot]) -> list[str]:
        """Of each node that is no slot, but reads the trained statistics of one, a note."""
        trained = [
            one
            for one in slots
            if len(one.stored) == 2 and (_is_trained(one.mean) or _is_trained(one.variance))
        ]
        own = {slot.node for slot in slots}
        notes: list[str] = []
        for node in self._model.graph.all_nodes():
            if node.op_type != "BatchNormalization" or node in own:
                continue
            constants = [self._resolve(operand(node, index)) for index in (MEAN, VARIANCE)]
            tensors = [constant.tensor for constant in constants if constant is not None]
            for slot in trained:
                if len(tensors) == 2 and all(map(is_, tensors, slot.stored)):
                    notes.append(
                        f"'{label(node)}', another call of '{slot.name}', keeps the old statistics"
                    )
                    break
        return notes

    def _front(self, slot: Slot) -> bytes | None:
        """A digest of the nodes in front of a slot, back to weights; None if there are none."""
        digest, weighted = self._behind(slot.input, _MOST_STEPS)
        return digest if weighted else None

    def _behind(self, value: ir.Value | None, steps: int) -> tuple[bytes, bool]:
        """A digest of what makes a value, back to weights, and whether there are any."""
        key = (id(value), steps)
        if key not in self._known:
            self._known[key] = self._digest(value, steps)
        return self._known[key]

    def _digest(self, value: ir.Value | None, steps: int) -> tuple[bytes, bool]:
        constant = self._resolve(value)
        if constant is not None:
            array = constant.array()
            digest = hashlib.sha256(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).tobytes())
            return digest.digest(), False
        node = None if value is None else value.producer()
        # not a condition: without a limit it only takes longer
        if steps == 0:
            return b"", False
        if node is None or value is None:
            return b"", False
        fixed = [v for v in node.inputs if self._resolve(v) is not None]
        weighted = node.op_type in _WEIGHTED and bool(fixed)
        parts = [self._behind(v, steps - 1) for v in (fixed if weighted else node.inputs)]
        attributes = sorted((name, str(attr)) for name, attr in node.attributes.items())
        about = (node.op_type, value.index(), attributes, [part for part, _ in parts])
        digest = hashlib.sha256(repr(about).encode())
        return digest.digest(), weighted or any(found for _, found in parts)


def _is_trained(numbers: Array | None) -> bool:
    """Whether numbers are of no kind that many layers have in common."""
    if numbers is None:
        return False
    if numbers.size == 1:
        return numbers.item() not in (0.0, 1.0)
    return bool((numbers != numbers.reshape(-1)[0]).any())


def _equal(one: Array | None, other: Array | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other, equal_nan=True)


def _dtype(slot: Slot) -> ir.DataType:
    constant = operand(slot.node, MEAN)
    assert constant is not None
    assert constant.dtype is not None
    return constant.dtype


def _pooled_note(calls: Sequence[Slot]) -> str:
    return f"one layer, called {len(calls)} times, has its statistics from all: {_listed(calls)}"


def _listed(slots: Sequence[Slot]) -> str:
    names = [f"'{slot.name}'" for slot in slots[:4]]
    return ", ".join(names) + (f" and {len(slots) - 4} more" if len(slots) > 4 else "")
