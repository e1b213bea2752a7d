"""A graph under construction: every value's shape is known, so every step is valid by design."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

T = TypeVar("T")
DTYPES = {
    TensorProto.DOUBLE: np.dtype(np.float64),
    TensorProto.FLOAT: np.dtype(np.float32),
    TensorProto.FLOAT16: np.dtype(np.float16),
}
# Constants whose values may just as well be those of another one of that role.
SHARED = frozenset("w bias c gamma beta mean var factor offset divisor slope".split())
# Larger values are not grown any further.
MOST_ELEMENTS = 200


class Choices:
    """Hypothesis's decisions; the first option is the one that it shrinks to."""

    def __init__(self, draw: Callable[[st.SearchStrategy[Any]], Any]) -> None:
        self._draw = draw

    def between(self, low: int, high: int) -> int:
        """An integer, both ends included."""
        return self._draw(st.integers(low, high))

    def pick(self, options: Sequence[T]) -> T:
        """One of several; put what is wanted often in more often."""
        return options[self.between(0, len(options) - 1)]

    def chance(self, percent: int) -> bool:
        """True that often."""
        return self.between(0, 99) >= 100 - percent

    def rng(self) -> np.random.Generator:
        """A source of numbers whose seed is small in a small example."""
        return np.random.default_rng(self.between(0, 4095))


@dataclass(frozen=True, slots=True)
class Value:
    """A computed value: name, shape, ONNX data type."""

    name: str
    shape: tuple[int, ...]
    dtype: int

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def growable(self) -> bool:
        return self.size <= MOST_ELEMENTS


@dataclass
class Builder:
    """One scope: the main graph, a branch of an If, or the body of a function.

    Attributes:
        choose: Where decisions come from.
        opset: Of every domain that is not the test's own.
        ir_version: Before 4 every initializer is an input as well.
        dtype: The main data type.
        forms: How constants are written here: `initializer`, `node`, `input` (an initializer that
            the caller may override), `outer` (in the scope around).
        outer: The scope around an If's branch.
        names: Counts names; shared with the scope around, but not by a function.
    """

    choose: Choices
    opset: int
    ir_version: int
    dtype: int
    forms: tuple[str, ...] = ("initializer", "initializer", "node", "input")
    outer: Builder | None = None
    names: list[int] = field(default_factory=lambda: [0])
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    inputs: list[onnx.ValueInfoProto] = field(default_factory=list)
    functions: list[onnx.FunctionProto] = field(default_factory=list)
    stored: dict[tuple[str, tuple[int, ...], int], str] = field(default_factory=dict)

    def name(self, base: str) -> str:
        """A name that this scope has not used."""
        self.names[0] += 1
        return f"{base}{self.names[0]}"

    def op(
        self,
        op_type: str,
        inputs: Sequence[Value | str],
        shape: Sequence[int],
        dtype: int | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> Value:
        """A node of one output; its type is the first input's unless given."""
        return self.ops(op_type, inputs, [shape], dtype, domain, **attributes)[0]

    def ops(
        self,
        op_type: str,
        inputs: Sequence[Value | str],
        shapes: Sequence[Sequence[int]],
        dtype: int | None = None,
        domain: str = "",
        **attributes: Any,
    ) -> list[Value]:
        """A node of several outputs."""
        if dtype is None:
            first = inputs[0]
            assert isinstance(first, Value)
            dtype = first.dtype
        names = [getattr(value, "name", value) for value in inputs]
        while names and not names[-1]:
            names.pop()
        outputs = [Value(self.name(op_type.lower()), tuple(s), dtype) for s in shapes]
        attributes = {name: value for name, value in attributes.items() if value is not None}
        out = [value.name for value in outputs]
        node = helper.make_node(op_type, names, out, out[0], domain=domain, **attributes)
        self.nodes.append(node)
        return outputs

    def constant(self, array: np.ndarray, role: str, *, overridable: bool = True) -> str:
        """A constant in one of the forms of this scope; two of one role may be the same."""
        key = (role, array.shape, helper.np_dtype_to_tensor_dtype(array.dtype))
        if role in SHARED and key in self.stored and self.choose.chance(10):
            return self.stored[key]
        form = self.choose.pick(self.forms)
        if form == "node" and self.opset < 9 and array.dtype.kind != "f":
            # Constant-1 knows floating-point types only.
            form = "initializer"
        if form == "outer":
            assert self.outer is not None
            return self.outer.constant(array, role)
        name = self.stored[key] = self.name(role)
        if form == "node":
            tensor = numpy_helper.from_array(array, name)
            self.nodes.append(helper.make_node("Constant", [], [name], value=tensor))
            return name
        self.initializers.append(numpy_helper.from_array(array, name))
        if self.ir_version < 4 or (form == "input" and overridable):
            self.inputs.append(helper.make_tensor_value_info(name, key[2], array.shape))
        return name

    def floats(self, array: np.ndarray, role: str, dtype: int | None = None) -> str:
        """A constant of a floating-point type, by default the main one."""
        return self.constant(array.astype(DTYPES[dtype or self.dtype]), role)

    def integers(self, *values: int) -> str:
        """A vector of int64, which shapes and axes are made of."""
        return self.constant(np.array(values, np.int64), "ints", overridable=False)

    def normal(self, shape: Sequence[int], scale: float = 1.0) -> np.ndarray:
        """Normal numbers; exactly representable in float16, as is everything that is drawn."""
        drawn = self.choose.rng().normal(size=tuple(shape)) * scale
        return np.asarray(drawn).astype(np.float16).astype(np.float64)
