"""What a model file says about its inputs and outputs, read without any runtime."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bnopt.errors import LoadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

Dim: TypeAlias = int | str | None


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """One input or output.

    Attributes:
        name: Its name.
        dtype: Element type as ONNX spells it, in lower case (`float`, `float16`, `int64`, ...);
            `sequence`, `map`, ... for what is not a tensor; empty where it is not declared.
        shape: Per dimension a size, a symbol, or None; None where the rank is not declared.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None


@dataclass(frozen=True, slots=True)
class Interface:
    """Inputs, outputs and a few facts about a model.

    Attributes:
        inputs: What a caller has to feed: graph inputs that no initializer stands for.
        outputs: Graph outputs, in order.
        overridable: Inputs that have an initializer as their default.
        op_types: Every operator name in the model, subgraphs and functions included.
        weight_bytes: Size of all initializers of the main graph.
    """

    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    overridable: tuple[str, ...]
    op_types: frozenset[str]
    weight_bytes: int


def read_interface(path: str | Path) -> Interface:
    """Read a model's interface; external data is not touched.

    Raises:
        LoadError: The file is missing or is not an ONNX model.
    """
    import onnx
    from google.protobuf.message import DecodeError

    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise LoadError(f"{path}: not a file")
        model = onnx.load(path, load_external_data=False)
    except OSError as error:
        raise LoadError(f"{path}: cannot be read ({error.strerror})") from None
    except DecodeError:
        raise LoadError(f"{path}: not an ONNX model, or a truncated one") from None
    graph = model.graph
    if not graph.output:
        raise LoadError(f"{path}: the model has no graph with outputs")
    initialized = {tensor.name for tensor in graph.initializer}
    initialized |= {tensor.values.name for tensor in graph.sparse_initializer}
    return Interface(
        inputs=tuple(_info(value) for value in graph.input if value.name not in initialized),
        outputs=tuple(_info(value) for value in graph.output),
        overridable=tuple(value.name for value in graph.input if value.name in initialized),
        op_types=frozenset(node.op_type for node in _all_nodes(model)),
        weight_bytes=sum(_tensor_bytes(tensor) for tensor in graph.initializer),
    )


def numpy_dtype(dtype: str) -> Any:
    """The numpy or ml_dtypes dtype of an ONNX element type; None for strings and non-tensors."""
    import onnx

    code = onnx.TensorProto.DataType.Value(dtype.upper()) if dtype in _names() else 0
    if code in (0, onnx.TensorProto.STRING):
        return None
    return onnx.helper.tensor_dtype_to_np_dtype(code)


def _names() -> set[str]:
    import onnx

    return {name.lower() for name in onnx.TensorProto.DataType.keys()}  # noqa: SIM118 - not a dict


def _info(value: onnx.ValueInfoProto) -> TensorInfo:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return TensorInfo(value.name, (kind or "").removesuffix("_type"), None)
    tensor = value.type.tensor_type
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    if not tensor.HasField("shape"):
        return TensorInfo(value.name, dtype, None)
    return TensorInfo(value.name, dtype, tuple(_dim(dim) for dim in tensor.shape.dim))


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        # Exporters have written 0 and -1 for "unknown".
        return dim.dim_value if dim.dim_value > 0 else None
    return dim.dim_param or None


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    size = 1
    for dim in tensor.dims:
        size *= dim
    dtype = numpy_dtype(_type_name(tensor))
    return size * (dtype.itemsize if dtype is not None else 1)


def _type_name(tensor: onnx.TensorProto) -> str:
    import onnx

    return onnx.TensorProto.DataType.Name(tensor.data_type).lower()


def _all_nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    stack: list[Any] = [model.graph.node, *(function.node for function in model.functions)]
    while stack:
        for node in stack.pop():
            yield node
            for attribute in node.attribute:
                stack += [graph.node for graph in (attribute.g, *attribute.graphs)]
