"""Binding graph inputs: from then on the model has a constant where the caller had a choice."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from bnopt.errors import UsageError
from bnopt.graph.ir_version import raise_ir_version
from bnopt.graph.literals import to_array


def bind(model: ir.Model, values: Mapping[str, object]) -> None:
    """Turn inputs of `model` into initializers, in place, and change nothing else.

    Args:
        model: The model.
        values: Input name -> value; see `assign`.

    Raises:
        UsageError: See `assign`; the model is then as it was.
    """
    seal(model, assign(model, values))


def assign(model: ir.Model, values: Mapping[str, object]) -> tuple[ir.Value, ...]:
    """Give inputs of `model` a default value, in place; they stay inputs until `seal`.

    Meanwhile whatever is computed from them counts as overridable, which tells it from what was
    constant before.

    Args:
        model: The model.
        values: Input name -> number, boolean, array, nested lists, or text (`literals.to_array`).

    Raises:
        UsageError: No such input, no tensor of numbers, or a value that does not fit its type or
            shape; the model is then as it was.
    """
    inputs = {value.name or "": value for value in model.graph.inputs}
    tensors = [
        (_find(inputs, name), _tensor(inputs, name, given)) for name, given in values.items()
    ]
    for value, tensor in tensors:
        value.const_value = tensor
        value.shape = ir.Shape(tensor.shape.numpy())
        model.graph.register_initializer(value)
    return tuple(value for value, _ in tensors)


def seal(model: ir.Model, bound: Iterable[ir.Value]) -> tuple[str, ...]:
    """Remove bound values from the inputs of `model`; drop those that nothing reads.

    Returns:
        What else had to be done, for the report.
    """
    graph = model.graph
    for value in bound:
        graph.inputs.remove(value)
        if not value.uses() and not value.is_graph_output():
            del graph.initializers[value.name or ""]
    return raise_ir_version(model)


def _find(inputs: Mapping[str, ir.Value], name: str) -> ir.Value:
    if name not in inputs:
        known = ", ".join(f"'{known}'" for known in inputs) or "none"
        raise UsageError(
            f"cannot set the input '{name}': the model has no such input, only {known}"
        )
    return inputs[name]


def _tensor(inputs: Mapping[str, ir.Value], name: str, given: object) -> ir.TensorProtocol:
    value = inputs[name]
    if not isinstance(value.type, ir.TensorType):
        raise UsageError(f"cannot set the input '{name}': it is no tensor of a declared type")
    dtype = value.type.dtype
    if dtype in _UNSUPPORTED:
        kind = dtype.name.lower()
        raise UsageError(f"cannot set the input '{name}': its type is {kind}, not a number")
    # Exporters have written 0 and -1 for an open dimension.
    dims = None
    if value.shape is not None:
        dims = [dim if isinstance(dim, int) and dim > 0 else None for dim in value.shape]
    try:
        array = to_array(given, dtype, dims)
    except ValueError as error:
        raise UsageError(f"cannot set the input '{name}' to {_quote(given)}: {error}") from error
    return ir.Tensor(array, dtype=dtype, name=name)


def _quote(given: object) -> str:
    text = " ".join((given if isinstance(given, str) else repr(given)).split())
    return f"'{text if len(text) <= 40 else text[:37] + '...'}'"


_UNSUPPORTED = frozenset(
    {
        ir.DataType.STRING,
        ir.DataType.UNDEFINED,
        ir.DataType.COMPLEX64,
        ir.DataType.COMPLEX128,
    }
)
