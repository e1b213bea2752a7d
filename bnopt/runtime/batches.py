"""Does what was read fit the model's inputs, and how many samples does it hold?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from bnopt.errors import DataError
from bnopt.runtime.feeds import batch_symbol
from bnopt.runtime.interface import numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bnopt.runtime.interface import TensorInfo

Feed: TypeAlias = dict[str, NDArray[Any]]
"""Input name -> array, each with the batch dimension."""


@dataclass(frozen=True, slots=True)
class UserData:
    """Feeds made from user data.

    Attributes:
        feeds: One per run.
        notes: What was left out or cast, one line each.
    """

    feeds: list[Feed]
    notes: tuple[str, ...] = ()


def check_feed(
    feed: Mapping[str, Any], where: str, inputs: Sequence[TensorInfo], place: str = ""
) -> tuple[Feed, list[str]]:
    """A feed with the model's dtypes, and a note for each lossy cast.

    Args:
        feed: As the user gave it.
        where: Which data, for errors and notes.
        inputs: The model's inputs.
        place: Where in the data, for errors only.

    Raises:
        DataError: Names, dtypes or shapes that do not fit.
    """
    inside = f"{where}, {place}" if place else where
    check_names(feed, inside, inputs)
    notes: list[str] = []
    checked: Feed = {}
    for info in inputs:
        array = np.asarray(feed[info.name])
        check_shape(info, array.shape, inside)
        check_dtype(info, array.dtype, inside)
        checked[info.name] = _cast(info, array, inside)
        if checked[info.name].dtype != array.dtype and not _is_safe(info, array.dtype):
            notes.append(
                f"data '{where}': input '{info.name}' was cast from {array.dtype.name} "
                f"to {info.dtype}"
            )
    return checked, notes


def count_samples(feed: Mapping[str, Any], inputs: Sequence[TensorInfo]) -> int:
    """The length of the leading axis of the batched input; 1 where nothing has a leading axis."""
    shapes = {name: np.shape(array) for name, array in feed.items()}
    names = [name for name in batched(inputs) if name in shapes]
    names = names or [info.name for info in inputs if shapes.get(info.name)]
    return int(shapes[names[0]][0]) if names else 1


def batched(inputs: Sequence[TensorInfo]) -> list[str]:
    """The inputs whose leading axis is the open batch dimension."""
    symbol = batch_symbol(inputs)
    if symbol is None:
        return []
    return [info.name for info in inputs if info.shape and info.shape[0] in (symbol, None)]


def clipped(feed: Feed, inputs: Sequence[TensorInfo], count: int) -> Feed:
    """The first `count` samples of a feed whose batch is open."""
    names = batched(inputs)
    return {name: array[:count] if name in names else array for name, array in feed.items()}


def check_names(names: Iterable[str], where: str, inputs: Sequence[TensorInfo]) -> None:
    """Every input is there, and nothing else.

    Raises:
        DataError: It is not so.
    """
    given = list(names)
    expected = [info.name for info in inputs]
    unknown = [str(name) for name in given if name not in expected]
    missing = [name for name in expected if name not in given]
    if unknown or missing:
        parts = [f"unknown input {', '.join(unknown)}"] if unknown else []
        parts += [f"missing input {', '.join(missing)}"] if missing else []
        raise DataError(
            f"data '{where}': {'; '.join(parts)} (the model's inputs are: {', '.join(expected)})"
        )


def check_shape(info: TensorInfo, shape: tuple[int, ...], where: str) -> None:
    """The shape, batch dimension included, is one that the model takes.

    Raises:
        DataError: It is not.
    """
    if info.shape is None:
        return
    fits = len(shape) == len(info.shape) and all(
        not isinstance(dim, int) or dim == size for dim, size in zip(info.shape, shape, strict=True)
    )
    if not fits:
        declared = ", ".join("?" if dim is None else str(dim) for dim in info.shape)
        raise DataError(
            f"data '{where}': input '{info.name}' has shape {shape}, the model takes ({declared})"
        )


def check_dtype(info: TensorInfo, dtype: np.dtype[Any], where: str) -> None:
    """Casts are made within a kind (float64 -> float32, int32 -> int64) and from integer to float.

    Raises:
        DataError: Python objects, or values of another kind.
    """
    if dtype.hasobject:
        raise DataError(f"data '{where}': input '{info.name}' holds Python objects, not numbers")
    target = numpy_dtype(info.dtype)
    if target is None or dtype == target:
        return
    source_float = dtype.kind == "f" or str(dtype) == "bfloat16"
    target_float = np.dtype(target).kind not in "biu"
    allowed = (target_float and (source_float or dtype.kind in "biu")) or np.can_cast(
        dtype, target, "same_kind"
    )
    if not allowed:
        raise DataError(_refused(info, dtype, where))


def _cast(info: TensorInfo, array: NDArray[Any], where: str) -> NDArray[Any]:
    target = numpy_dtype(info.dtype)
    if target is None or array.dtype == target:
        return array
    with np.errstate(over="ignore"):
        cast = array.astype(target)
    integers = array.dtype.kind in "iu" and np.dtype(target).kind in "biu"
    if integers and (cast != array).any():
        raise DataError(_refused(info, array.dtype, where))
    return cast


def _refused(info: TensorInfo, dtype: np.dtype[Any], where: str) -> str:
    return f"data '{where}': input '{info.name}' is {dtype.name}, the model takes {info.dtype}"


def _is_safe(info: TensorInfo, dtype: np.dtype[Any]) -> bool:
    return np.can_cast(dtype, numpy_dtype(info.dtype), "safe")
