"""Dimensions of values, also where shape inference of the whole graph gives up.

A custom operator anywhere upstream makes shape inference know nothing; but the channels of a
convolution stand in its weight, and elementwise operators keep the shape of their data.
"""

from __future__ import annotations

from typing import TypeAlias

import onnx_ir as ir

from bnopt.graph.constants import Constants
from bnopt.graph.operators import get_int, is_standard, operand
from bnopt.graph.types import Types

Shape: TypeAlias = tuple[int | None, ...]

# Operators whose output has the shape of their first input, whatever their other inputs are.
_SAME_AS_DATA = frozenset(
    "BatchNormalization BatchNormWithGlobalNormalization Cast Dropout Identity LeakyRelu Neg Relu "
    "Sigmoid Tanh".split()
)
_REDUCTIONS = frozenset(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"))
_MOVES = _REDUCTIONS | {"Slice", "Squeeze", "Transpose", "Unsqueeze"}
_MAX_DEPTH = 64


class Dims:
    """The shapes of one model's values; valid until the model is edited."""

    def __init__(self, constants: Constants, types: Types, model: ir.Model) -> None:
        self._constants = constants
        self._types = types
        self._model = model
        self._known: dict[int, Shape | None] = {}

    def of(self, value: ir.Value | None) -> Shape | None:
        """The shape of `value`, None for an unknown dimension; None if not even the rank is known.

        A dimension that is named by a symbol counts as unknown.
        """
        return None if value is None else self._of(value, 0)

    def _of(self, value: ir.Value, depth: int) -> Shape | None:
        key = id(value)
        if key not in self._known:
            if depth > _MAX_DEPTH:
                return None
            found = self._merge(self._types.of(value).dims, self._local(value, depth))
            self._known[key] = self._from_readers(value, depth) if found is None else found
        return self._known[key]

    @staticmethod
    def _merge(first: Shape | None, second: Shape | None) -> Shape | None:
        if first is None or second is None or len(first) != len(second):
            return first if first is not None else second
        return tuple(a if a is not None else b for a, b in zip(first, second, strict=True))

    def _local(self, value: ir.Value, depth: int) -> Shape | None:
        node = value.producer()
        if (
            node is None  # not a condition: what nobody produces has no index
            or value.index() != 0
            or not is_standard(node, self._model)
        ):
            return None
        data = operand(node, 0)
        if data is not None and node.op_type in _SAME_AS_DATA:
            return self._of(data, depth + 1)
        if data is not None and node.op_type in _MOVES:
            return self._moved(node, self._of(data, depth + 1))
        weight = self._constants.resolve(operand(node, 1))
        if weight is None:
            return None
        shape = weight.shape
        if node.op_type == "Conv" and len(shape) > 2:
            return (None, shape[0], *[None] * (len(shape) - 2))
        if node.op_type == "ConvTranspose" and len(shape) > 2:
            features = shape[1] * get_int(node, "group", 1)
            return (None, features, *[None] * (len(shape) - 2))
        if node.op_type == "Gemm" and len(shape) == 2:
            return (None, shape[0] if get_int(node, "transB", 0) else shape[1])
        if node.op_type == "MatMul" and len(shape) >= 2 and data is not None:
            inner = self._of(data, depth + 1)
            if inner is not None and len(inner) >= max(len(shape), 2):
                lead = inner[:-1] if len(shape) == 2 else (*[None] * (len(inner) - 2), inner[-2])
                return (*lead, shape[-1])
        if node.op_type in ("Add", "Sub", "Mul", "Div") and data is not None:
            inner = self._of(data, depth + 1)
            if inner is not None and get_int(node, "broadcast", 0):
                return inner
            if inner is not None and len(shape) <= len(inner):
                aligned = (1,) * (len(inner) - len(shape)) + shape
                return tuple(c if c > 1 else n for n, c in zip(inner, aligned, strict=True))
        return None

    def _from_readers(self, value: ir.Value, depth: int) -> Shape | None:
        """What a convolution, at once or behind elementwise operators, demands of its data."""
        if depth > _MAX_DEPTH:
            return None
        for node, index in value.uses():
            if index != 0 or not is_standard(node, self._model):
                continue
            if node.op_type in _SAME_AS_DATA:
                output = node.outputs[0]
                return self._types.of(output).dims or self._from_readers(output, depth + 1)
            weight = self._constants.resolve(operand(node, 1)) if node.op_type == "Conv" else None
            if weight is not None and len(weight.shape) > 2:
                inputs = weight.shape[1] * get_int(node, "group", 1)
                return (None, inputs, *[None] * (len(weight.shape) - 2))
        return None

    def _moved(self, node: ir.Node, inner: Shape | None) -> Shape | None:
        """The shape behind an operator that permutes, drops, adds, cuts or reduces axes."""
        if not inner:
            return None
        if node.op_type == "Transpose":
            perm = node.attributes.get("perm")
            order = range(len(inner))[::-1] if perm is None else perm.as_ints()
            return tuple(inner[axis] for axis in order) if len(order) == len(inner) else None
        axes = self._axes(node, 3 if node.op_type == "Slice" else 1)
        if axes is None:
            return None
        if node.op_type == "Slice":
            cut = {axis % len(inner) for axis in axes}
            return tuple(None if axis in cut else n for axis, n in enumerate(inner))
        if node.op_type in _REDUCTIONS and get_int(node, "keepdims", 1):
            reduced = {axis % len(inner) for axis in axes}
            return tuple(1 if axis in reduced else n for axis, n in enumerate(inner))
        if node.op_type == "Squeeze" or node.op_type in _REDUCTIONS:
            gone = {axis % len(inner) for axis in axes}
            return tuple(n for axis, n in enumerate(inner) if axis not in gone)
        rank = len(inner) + len(axes)
        added = {axis % rank for axis in axes}
        rest = iter(inner)
        return tuple(1 if axis in added else next(rest) for axis in range(rank))

    def _axes(self, node: ir.Node, index: int) -> tuple[int, ...] | None:
        attribute = node.attributes.get("axes")
        if attribute is not None:
            return None if attribute.is_ref() else tuple(attribute.as_ints())
        constant = self._constants.resolve(operand(node, index))
        return None if constant is None else tuple(int(n) for n in constant.array().reshape(-1))
