"""What the tools ask of a model file, with onnx and onnxruntime only: independent of bnopt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import _decomposed
import onnx
from onnx import TensorProto


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """Every node of the model, subgraphs and function bodies included."""
    pending: list[Iterable[onnx.NodeProto]] = [model.graph.node]
    pending += [function.node for function in model.functions]
    while pending:
        for node in pending.pop():
            yield node
            for attribute in node.attribute:
                pending += [graph.node for graph in (attribute.g, *attribute.graphs) if graph.node]


def count_batch_norms(path: Path) -> int:
    """BatchNormalization nodes in every scope of the file."""
    model = onnx.load(path, load_external_data=False)
    standard = ("", "ai.onnx")
    return sum(
        node.op_type == "BatchNormalization" and node.domain in standard for node in nodes(model)
    )


def size(path: Path) -> dict[str, int]:
    """What a model file holds, in all scopes.

    Returns:
        `batch_norms`, the BatchNormalization nodes; `decomposed`, those in the form of Mul and Add
        (see `_decomposed`); `nodes`, all but Constant; `weight_bytes`, the bytes of all
        initializers and Constant tensors, whichever way they are stored.
    """
    model = onnx.load(path)
    return {
        "batch_norms": count_batch_norms(path),
        "decomposed": _decomposed.count_decomposed(model),
        "nodes": sum(node.op_type != "Constant" for node in nodes(model)),
        "weight_bytes": sum(map(_stored_bytes, _tensors(model))),
    }


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from model.graph.initializer
    for node in nodes(model):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                yield attribute.t
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer


def _stored_bytes(tensor: TensorProto) -> int:
    if tensor.data_type == TensorProto.STRING:
        return sum(map(len, tensor.string_data))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return math.prod(tensor.dims) * dtype.itemsize


def same_graph(first: Path, second: Path) -> bool:
    """Whether two files state the same computation, field by field; derived types may differ."""
    one, other = onnx.load(first), onnx.load(second)
    parts = ("node", "input", "output", "sparse_initializer")
    return (
        all(list(getattr(one.graph, p)) == list(getattr(other.graph, p)) for p in parts)
        and _by_name(one.graph.initializer) == _by_name(other.graph.initializer)
        and list(one.functions) == list(other.functions)
        and _by_name(one.opset_import, "domain") == _by_name(other.opset_import, "domain")
    )


def _by_name(entries: Iterable[Any], key: str = "name") -> dict[str, Any]:
    return {getattr(entry, key): entry for entry in entries}


def faults(path: Path) -> list[str]:
    """Why the file is no valid model: what `onnx.checker` and onnxruntime say, one line each.

    onnxruntime loads it twice, with its optimizations off and at the default level.
    """
    found: list[str] = []
    try:
        onnx.checker.check_model(path)
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        found.append(f"checker: {_line(error)}")

    import onnxruntime as ort

    levels = ort.GraphOptimizationLevel
    for level in (levels.ORT_DISABLE_ALL, levels.ORT_ENABLE_ALL):
        options = ort.SessionOptions()
        options.graph_optimization_level = level
        options.log_severity_level = 4
        try:
            ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own exception types share no base class
            found.append(f"onnxruntime: {_line(error)}")
            break
    return found


def new_faults(before: list[str], after: list[str]) -> list[str]:
    """The faults of a result that the original did not have: those of a judge that had none."""
    judges = {fault.partition(":")[0] for fault in before}
    return [fault for fault in after if fault.partition(":")[0] not in judges]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
