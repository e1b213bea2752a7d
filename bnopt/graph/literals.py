"""Values for graph inputs, as a user writes them, to arrays of a declared type and shape.

Nothing is converted silently: an integer input takes no 1.5 and no `true`, a boolean one takes only
true, false, 0 and 1. What does not fit is a `ValueError` that says why, without naming the input.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any, cast

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx_ir as ir

_WORDS = {"true": True, "false": False}
_WORD = re.compile(r"\b(?:true|false)\b", re.IGNORECASE)


def to_array(
    value: object, dtype: ir.DataType, dims: Sequence[int | None] | None
) -> npt.NDArray[Any]:
    """An array of `dtype` and a shape that fits `dims`.

    Args:
        value: A number, a boolean, an array, nested lists of them, or any of these as text: JSON,
            or elements separated by commas.
        dtype: The element type.
        dims: The declared shape, None for an open dimension; None if the rank is not declared. One
            element fits any declared shape of one element.

    Raises:
        ValueError: It does not fit; the message says why.
    """
    if isinstance(value, str):
        value = _parse(value)
    given = _objects(value)
    elements = [_element(item, dtype) for item in given.flat]
    array = np.array(elements, dtype=np.float64 if _is_float(dtype) else object)
    with np.errstate(over="ignore"):
        result = array.astype(dtype.numpy()).reshape(given.shape)
    if _is_float(dtype) and not np.isfinite(result.astype(np.float64)).all():
        raise ValueError(f"it does not fit {dtype.name.lower()}")
    return _fitted(result, dims)


def _parse(text: str) -> object:
    try:
        return cast("object", json.loads(_WORD.sub(lambda word: word[0].lower(), text)))
    except (ValueError, RecursionError):
        words = [word.strip() for word in text.split(",")]
        values = [_word(word) for word in words]
        return values if len(values) > 1 else values[0]


def _word(word: str) -> bool | int | float:
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    raise ValueError("expected true, false, a number, or a list of these")


def _objects(value: object) -> npt.NDArray[Any]:
    if isinstance(value, np.ndarray | np.generic):
        return np.asarray(cast("npt.NDArray[Any]", value)).astype(object)
    try:
        given = np.array(value, dtype=object)
    except ValueError as error:
        raise ValueError("its lists are not of one length") from error
    if any(isinstance(item, list | tuple) for item in given.flat):
        raise ValueError("its lists are not of one length")
    return given


def _element(item: object, dtype: ir.DataType) -> bool | int | float:
    kind = dtype.name.lower()
    if isinstance(item, np.generic):
        item = cast("object", item.item())
    if dtype == ir.DataType.BOOL:
        if isinstance(item, bool) or (isinstance(item, int) and item in (0, 1)):
            return bool(item)
        raise ValueError("expected true or false")
    if isinstance(item, bool) or not isinstance(item, int | float):
        raise ValueError(f"expected {'numbers' if _is_float(dtype) else 'integers'} of type {kind}")
    if _is_float(dtype):
        try:
            return float(item)
        except OverflowError as error:
            raise ValueError(f"it does not fit {kind}") from error
    if not isinstance(item, int):
        raise ValueError(f"{item} is no integer, and the type is {kind}")
    limits = ml_dtypes.iinfo(dtype.numpy())
    if not limits.min <= item <= limits.max:
        raise ValueError(f"{item} does not fit {kind}")
    return item


def _fitted(array: npt.NDArray[Any], dims: Sequence[int | None] | None) -> npt.NDArray[Any]:
    if dims is None:
        return array
    fixed = [dim for dim in dims if dim is not None]
    if array.ndim == 0 and len(fixed) == len(dims) and math.prod(fixed) == 1:
        return array.reshape(fixed)
    if len(dims) != array.ndim or any(
        dim not in (None, size) for dim, size in zip(dims, array.shape, strict=True)
    ):
        declared = ", ".join("?" if dim is None else str(dim) for dim in dims)
        given = ", ".join(map(str, array.shape))
        raise ValueError(f"its shape ({given}) does not fit the declared ({declared})")
    return array


def _is_float(dtype: ir.DataType) -> bool:
    return dtype.is_floating_point()
