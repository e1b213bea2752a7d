"""Reach every tensor of an onnx_ir model, to replace it in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import onnx_ir as ir

from bnopt.graph.scopes import scopes


@dataclass(frozen=True)
class Slot:
    """A place that holds one tensor.

    Attributes:
        tensor: What stands there now.
        initializer: True for an initializer, False for an attribute.
        put: Replace it.
    """

    tensor: ir.TensorProtocol
    initializer: bool
    put: Callable[[ir.TensorProtocol], None]


def slots(model: ir.Model) -> Iterator[Slot]:
    """Every initializer and tensor attribute: main graph, subgraphs and function bodies.

    Values of a list-of-tensors attribute and defaults of function attributes are left out: no
    operator of the ONNX standard takes the first, and the second hold no weights.
    """
    for scope in scopes(model):
        for value in scope.graph.initializers.values():
            if value.const_value is not None:
                yield Slot(value.const_value, True, _initializer_setter(value))
        for node in scope.graph:
            for attribute in list(node.attributes.values()):
                if attribute.type == ir.AttributeType.TENSOR and not attribute.is_ref():
                    tensor = attribute.as_tensor()
                    yield Slot(tensor, False, _attribute_setter(node, attribute))


def _initializer_setter(value: ir.Value) -> Callable[[ir.TensorProtocol], None]:
    def put(tensor: ir.TensorProtocol) -> None:
        value.const_value = tensor

    return put


def _attribute_setter(node: ir.Node, old: ir.Attr) -> Callable[[ir.TensorProtocol], None]:
    def put(tensor: ir.TensorProtocol) -> None:
        replacement = old
        if tensor is not old.value:
            replacement = ir.AttrTensor(old.name, tensor, doc_string=old.doc_string)
        node.attributes[old.name] = replacement

    return put
