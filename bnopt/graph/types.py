"""Ranks and data types that follow from the model's inputs and weights.

What an exporter wrote in `value_info` is not believed: a wrong rank would put an affine on the
wrong axis. Only the declared graph inputs, which are the model's contract with its caller, and the
initializers count; the rest is derived anew by ONNX shape inference, once, when first asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import onnx_ir as ir

from bnopt.graph.scopes import attribute_graphs


@dataclass(frozen=True, slots=True)
class TypeFact:
    """What is known of a value.

    Attributes:
        dtype: Its data type, or None.
        dims: Its shape, None for a dimension that is not known; None if not even the rank is.
    """

    dtype: ir.DataType | None
    dims: tuple[int | None, ...] | None

    @property
    def rank(self) -> int | None:
        """The number of dimensions, or None if it is not known."""
        return None if self.dims is None else len(self.dims)

    @staticmethod
    def declared(value: ir.Value) -> TypeFact:
        """What is written at the value itself."""
        if value.shape is None:
            return TypeFact(value.dtype, None)
        return TypeFact(value.dtype, tuple(d if isinstance(d, int) else None for d in value.shape))


_UNKNOWN = TypeFact(None, None)


class Types:
    """Derived types of a model's values; computed lazily, valid until the model is edited."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model
        self._facts: dict[int, TypeFact] | None = None

    def of(self, value: ir.Value) -> TypeFact:
        """The fact about `value`, a value of the model (not of a clone of it)."""
        if value.const_value is not None and value.is_initializer():
            return TypeFact(value.const_value.dtype, tuple(value.const_value.shape.numpy()))
        if value.producer() is None and value.is_graph_input():
            return TypeFact.declared(value)
        if self._facts is None:
            self._facts = _infer(self._model)
        return self._facts.get(id(value), _UNKNOWN)


def _infer(model: ir.Model) -> dict[int, TypeFact]:
    from onnx_ir.passes.common import ShapeInferencePass

    try:
        scratch = model.clone()
    except RuntimeError:
        # onnx_ir clones sorted graphs only; of others nothing is known.
        return {}
    pairs = list(zip(_produced(model.graph), _produced(scratch.graph), strict=True))
    for _, value in pairs:
        value.shape = None
        value.type = None
    # onnx_ir cannot read the map types that inference finds behind a classifier.
    for node in [node for node in scratch.graph if node.op_type == "ZipMap"]:
        for output in node.outputs:
            if output.is_graph_output():
                scratch.graph.outputs.remove(output)
        scratch.graph.remove(node)
    # The pass logs a warning with a traceback when inference gives up; that only means "unknown".
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(scratch)
    finally:
        logger.setLevel(level)
    return {id(value): TypeFact.declared(twin) for value, twin in pairs}


def _produced(graph: ir.Graph) -> Iterator[ir.Value]:
    for node in graph:
        yield from node.outputs
        for attribute in node.attributes.values():
            for body in attribute_graphs(attribute):
                yield from _produced(body)


_HALF = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def half_outputs(model: ir.Model) -> set[str]:
    """Names of the outputs that a value in half precision has a part in."""
    touched: set[ir.Value | None] = {
        value
        for value in (*model.graph.inputs, *model.graph.initializers.values())
        if value.dtype in _HALF
    }
    for node in model.graph:
        if _makes_half(node) or not touched.isdisjoint(node.inputs):
            touched.update(node.outputs)
    return {output.name or "" for output in model.graph.outputs if output in touched}


def _makes_half(node: ir.Node) -> bool:
    """Whether a node's results, or values in its bodies, are in half precision."""
    to = node.attributes.get("to") if node.op_type == "Cast" else None
    if to is not None and to.as_int() in _HALF:
        return True
    if any(value.dtype in _HALF for value in node.outputs):
        return True
    bodies = [graph for one in node.attributes.values() for graph in attribute_graphs(one)]
    return any(_makes_half(inner) for graph in bodies for inner in graph)
