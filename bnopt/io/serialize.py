"""A model to protobuf bytes, tensors inline or in one data file, and the model as it was before."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping
from pathlib import Path

import onnx
import onnx_ir as ir
from google.protobuf.message import EncodeError

from bnopt.errors import InternalError, SaveError
from bnopt.io.interface import restore
from bnopt.io.pause import gc_paused
from bnopt.io.protos import is_external, tensors
from bnopt.io.tensors import Slot, slots

# Protobuf writes no message of 2**31 bytes or more; the rest is room for nodes and names.
INLINE_LIMIT = 2**31 - 2**28
# Small tensors stay inline: onnxruntime reads shapes and axes while it infers types.
EXTERNAL_THRESHOLD = 1024


def to_proto(model: ir.Model) -> onnx.ModelProto:
    """Serialise a model with every tensor inline; the model is the same before and after.

    Raises:
        SaveError: It does not fit into one protobuf message (2 GB).
    """
    if tensor_bytes(model) > INLINE_LIMIT:
        raise SaveError("the model is too large for one ONNX proto (2 GB); save it to a file")
    with gc_paused():
        return _proto(model, {}, None)


def to_bytes(model: ir.Model, data_path: Path | None) -> bytes:
    """Serialise a model; the model is the same before and after, and so are the bytes each time.

    Tensors are written one at a time through their `tofile`, so what lies on disk or is computed
    when asked for never stands in memory as a whole.

    Args:
        model: The model.
        data_path: Where tensors above 1 KiB go, in the folder where the model will stand; an
            existing file there is replaced. None: everything inline.

    Raises:
        SaveError: The message would exceed protobuf's 2 GB.
        OSError: The data file cannot be written.
    """
    with gc_paused():
        moved: dict[int, ir.TensorProtocol] = {}
        if data_path is not None:
            # A tensor that two initializers share is written once.
            unique = {id(s.tensor): s.tensor for s in slots(model) if goes_outside(s)}
            external = ir.external_data.convert_tensors_to_external(
                list(unique.values()), data_path.parent, data_path.name
            )
            moved = dict(zip(unique, external, strict=True))
        proto = _proto(model, moved, data_path)
        try:
            return proto.SerializeToString(deterministic=True)
        except (EncodeError, ValueError) as error:
            raise SaveError(
                "the model file would exceed the 2 GB that protobuf can write"
            ) from error


def goes_outside(slot: Slot) -> bool:
    """Whether a tensor belongs into the data file, if there is one.

    Weights in attributes stay inline unless they already stand outside.
    """
    tensor = slot.tensor
    if tensor.dtype == ir.DataType.STRING or tensor.nbytes <= EXTERNAL_THRESHOLD:
        return False
    return slot.initializer or isinstance(tensor, ir.ExternalTensor)


def tensor_bytes(model: ir.Model) -> int:
    """Bytes of all tensors of the model but strings, each object counted once."""
    unique = {id(slot.tensor): slot.tensor for slot in slots(model)}
    return sum(t.nbytes for t in unique.values() if t.dtype != ir.DataType.STRING)


def _proto(
    model: ir.Model, moved: Mapping[int, ir.TensorProtocol], data_path: Path | None
) -> onnx.ModelProto:
    with _replaced(model, moved):
        proto = ir.serde.serialize_model(model)
    restore(proto, model)
    location = None if data_path is None else data_path.name
    for place, tensor in tensors(proto):
        if is_external(tensor) and location not in {e.value for e in tensor.external_data}:
            raise InternalError(f"{place} would refer to a data file that is not written")
    return proto


@contextlib.contextmanager
def _replaced(
    model: ir.Model, moved: Mapping[int, ir.TensorProtocol]
) -> Generator[None, None, None]:
    """Stand-ins for moved tensors, copies in memory of other external ones; then all as before."""
    before: list[tuple[Slot, str | None]] = []
    try:
        for slot in list(slots(model)):
            tensor = slot.tensor
            # Serialising renames each initializer's tensor after its value.
            before.append((slot, tensor.name))
            if id(tensor) in moved:
                slot.put(moved[id(tensor)])
            elif isinstance(tensor, ir.ExternalTensor):
                slot.put(_in_memory(tensor))
        yield
    finally:
        for slot, name in before:
            slot.put(slot.tensor)
            if slot.tensor.name != name:
                slot.tensor.name = name


def _in_memory(tensor: ir.ExternalTensor) -> ir.TensorProtocol:
    return ir.serde.deserialize_tensor(
        onnx.TensorProto(
            name=tensor.name or "",
            doc_string=tensor.doc_string or "",
            data_type=tensor.dtype.value,
            dims=list(tensor.shape.numpy()),
            raw_data=tensor.tobytes() if tensor.size else b"",
        )
    )
