"""Element types that numpy does not have, and values that are not tensors."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bnopt.errors import ExecutionError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# TensorProto.DataType of the one- and two-byte floats that onnxruntime takes only as raw bits.
_RAW_TYPES: dict[str, int] = {
    "bfloat16": 16,
    "float8_e4m3fn": 17,
    "float8_e4m3fnuz": 18,
    "float8_e5m2": 19,
    "float8_e5m2fnuz": 20,
}


def to_ort_value(ort: Any, array: NDArray[Any]) -> Any:
    """An `OrtValue` of any dtype that numpy or ml_dtypes can hold."""
    code = _RAW_TYPES.get(_name(array))
    if code is None:
        return ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
    bits = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
    return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, code)


def _name(array: NDArray[Any]) -> str:
    return str(array.dtype)


def is_raw(array: NDArray[Any]) -> bool:
    """Whether onnxruntime takes this dtype only through an `OrtValue`."""
    return _name(array) in _RAW_TYPES


def from_ort_value(name: str, value: Any) -> dict[str, NDArray[Any]]:
    """The tensors in an output of onnxruntime.

    A sequence becomes `name[0]`, `name[1]`, ..., a map the array of its values; an absent optional
    becomes nothing.

    Args:
        name: The output's name.
        value: An `OrtValue`, or what `InferenceSession.run` returned for it.

    Raises:
        ExecutionError: An element type that cannot be read.
    """
    if value is None:
        return {}
    if isinstance(value, np.ndarray):
        return {name: value}
    if isinstance(value, list):
        items = cast("list[Any]", value)
        return {
            key: array
            for index, item in enumerate(items)
            for key, array in from_ort_value(f"{name}[{index}]", item).items()
        }
    if isinstance(value, dict):
        return {name: np.asarray(list(cast("dict[Any, Any]", value).values()))}
    if np.isscalar(value):
        return {name: np.asarray(value)}
    if not hasattr(value, "is_tensor"):
        raise ExecutionError(f"output '{name}' is a {type(value).__name__}, not a tensor")
    if not value.has_value():
        return {}
    if not value.is_tensor():
        raise ExecutionError(f"output '{name}' is a {value.data_type()}, not a tensor")
    dtype = _raw_dtype(value.element_type())
    return {name: value.numpy() if dtype is None else _read_raw(value, dtype)}


def _raw_dtype(code: int) -> np.dtype[Any] | None:
    for name, raw_code in _RAW_TYPES.items():
        if raw_code == code:
            import ml_dtypes

            return np.dtype(getattr(ml_dtypes, name))
    return None


def _read_raw(value: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Copy the bits out of memory: `OrtValue.numpy()` does not know these types."""
    shape = tuple(value.shape())
    size = int(np.prod(shape)) * dtype.itemsize
    bits = ctypes.string_at(value.data_ptr(), size)
    return np.frombuffer(bits, dtype=dtype).reshape(shape)
