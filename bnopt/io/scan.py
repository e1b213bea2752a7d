"""What a ModelProto must not contain, because the graph representation would lose or misread it.

onnx_ir drops `sparse_initializer` and `training_info` without a word, lets the last of two equal
initializers, functions or attributes win, skips unnamed initializers and reads an attribute without
a type as empty. bnopt looks before it deserialises, and refuses by name.
"""

from __future__ import annotations

from collections.abc import Iterable

import onnx

from bnopt.errors import LoadError, UnsupportedModelError
from bnopt.io.protos import Scope, is_external, label, payload_bytes, scopes, tensors

_SPARSE = (onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS)


def scan(model: onnx.ModelProto, name: str) -> None:
    """Refuse what would be lost, misread, or blow up later.

    Args:
        model: The parsed proto; not changed.
        name: What to call it in messages, usually its path.

    Raises:
        LoadError: It is no model: no IR version, no graph, no nodes, no opset import.
        UnsupportedModelError: It holds something that bnopt would not carry over faithfully.
    """
    _scan_model(model, name)
    bodies = [(scope, _scan_scope(scope, name)) for scope in scopes(model)]
    everywhere = {value for _, defined in bodies for value in defined}
    for scope, defined in bodies:
        visible = everywhere if scope.outer else defined
        for node in scope.nodes:
            _scan_node(node, visible, name)
    for place, tensor in tensors(model):
        _scan_tensor(tensor, place, name)


def _scan_model(model: onnx.ModelProto, name: str) -> None:
    if not model.HasField("graph") or not model.HasField("ir_version"):
        raise LoadError(f"{name} is not an ONNX model, or it is truncated: it holds no graph")
    if len(model.graph.node) == 0:
        raise LoadError(f"{name} has an empty graph: there is no node in it")
    _refuse_bytes(name, model.producer_name, model.producer_version, model.domain, model.doc_string)
    if model.ir_version >= 3 and len(model.opset_import) == 0:
        raise LoadError(f"{name} imports no operator set; it is probably truncated")
    if len(model.training_info) > 0:
        raise UnsupportedModelError(
            f"{name} carries training_info, which would be lost; export the model for inference"
        )
    opsets = ["" if o.domain == "ai.onnx" else o.domain for o in model.opset_import]
    if twice := _duplicate(opsets):
        raise UnsupportedModelError(
            f"{name} imports the operator set of domain '{twice}' more than once"
        )
    functions = [f"{f.domain}::{f.name}::{f.overload}".rstrip(":") for f in model.functions]
    if twice := _duplicate(functions):
        raise UnsupportedModelError(f"{name} defines the function '{twice}' more than once")
    if model.ir_version > onnx.IR_VERSION:
        _refuse_unknown_fields(model, name)


def _refuse_unknown_fields(model: onnx.ModelProto, name: str) -> None:
    # Only a newer IR can have fields that the installed onnx does not know, so only then is a
    # second copy worth its price.
    known = onnx.ModelProto()
    known.CopyFrom(model)
    known.DiscardUnknownFields()
    if known.ByteSize() != model.ByteSize():
        raise UnsupportedModelError(
            f"{name} is of IR version {model.ir_version} and holds fields that onnx "
            f"{onnx.__version__} does not know; upgrade the onnx package"
        )


def _scan_scope(scope: Scope, name: str) -> set[str]:
    if scope.sparse:
        raise UnsupportedModelError(
            f"{name}: the {scope.where} has a sparse_initializer, which would be lost; "
            "convert it to a dense initializer"
        )
    initializers = [tensor.name for tensor in scope.initializers]
    if "" in initializers:
        raise UnsupportedModelError(
            f"{name}: initializer {initializers.index('')} of the {scope.where} has no name"
        )
    if twice := _duplicate(initializers):
        raise UnsupportedModelError(
            f"{name}: the {scope.where} has more than one initializer '{twice}'"
        )
    if twice := _duplicate(scope.inputs):
        raise UnsupportedModelError(f"{name}: the {scope.where} has more than one input '{twice}'")
    _refuse_bytes(name, *scope.inputs, *scope.outputs, *initializers)
    defined = {*scope.inputs, *initializers}
    for node in scope.nodes:
        for output in node.output:
            if not output:
                continue
            if output in defined:
                raise UnsupportedModelError(
                    f"{name}: the value '{output}' of the {scope.where} is defined more than once, "
                    f"the last time by node {label(node)}"
                )
            defined.add(output)
    for output in scope.outputs:
        if output not in defined:
            # A subgraph's output that names an outer value reads it behind the def-use chains.
            what = "is not computed inside it" if scope.outer else "is computed by no node"
            raise UnsupportedModelError(f"{name}: output '{output}' of the {scope.where} {what}")
    return defined


def _scan_node(node: onnx.NodeProto, visible: set[str], name: str) -> None:
    _refuse_bytes(name, node.name, node.op_type, node.domain, node.doc_string)
    _refuse_bytes(name, *node.input, *node.output, *(a.name for a in node.attribute))
    for value in node.input:
        if value and value not in visible:
            raise UnsupportedModelError(
                f"{name}: node {label(node)} reads '{value}', which nothing defines"
            )
    if twice := _duplicate(attribute.name for attribute in node.attribute):
        raise UnsupportedModelError(
            f"{name}: node {label(node)} has the attribute '{twice}' more than once"
        )
    for attribute in node.attribute:
        if attribute.type in _SPARSE:
            raise UnsupportedModelError(
                f"{name}: attribute '{attribute.name}' of node {label(node)} is a sparse tensor; "
                "convert it to a dense one"
            )
        if attribute.type == onnx.AttributeProto.UNDEFINED and not attribute.ref_attr_name:
            raise UnsupportedModelError(
                f"{name}: attribute '{attribute.name}' of node {label(node)} has no type; "
                "export the model again with a newer exporter"
            )


def _scan_tensor(tensor: onnx.TensorProto, place: str, name: str) -> None:
    if tensor.data_type == onnx.TensorProto.STRING:
        return
    expected = payload_bytes(tensor)
    if expected is None:
        raise UnsupportedModelError(
            f"{name}: {place} has data type {tensor.data_type} and shape {list(tensor.dims)}, "
            "which onnx_ir cannot represent"
        )
    if is_external(tensor):
        return
    if tensor.HasField("raw_data"):
        found = len(tensor.raw_data)
        if found != expected:
            raise LoadError(
                f"{name}: {place} holds {found} bytes, but its shape {list(tensor.dims)} "
                f"needs {expected}"
            )
    elif expected and not _typed_elements(tensor):
        raise LoadError(f"{name}: {place} has shape {list(tensor.dims)} but no data")


def _refuse_bytes(name: str, *texts: object) -> None:
    # protobuf hands out bytes where a string field is not UTF-8.
    for text in texts:
        if isinstance(text, bytes):
            raise LoadError(f"{name} has a name that is not UTF-8 ({text[:40]!r}); it is corrupt")


def _typed_elements(tensor: onnx.TensorProto) -> int:
    return max(
        len(tensor.float_data),
        len(tensor.int32_data),
        len(tensor.int64_data),
        len(tensor.double_data),
        len(tensor.uint64_data),
    )


def _duplicate(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name or "ai.onnx"
        seen.add(name)
    return None
