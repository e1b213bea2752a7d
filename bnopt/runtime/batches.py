"""From arrays of samples to feeds of the batch sizes a model takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.errors import DataError
from bnopt.runtime.feeds import fixed_batch
from bnopt.runtime.interface import numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from bnopt.runtime.interface import TensorInfo

_OPEN_BATCH = 8


@dataclass(frozen=True, slots=True)
class UserData:
    """Feeds made from user data.

    Attributes:
        feeds: Input name -> array, one dict per run, each with the batch dimension.
        notes: What was left out or cast, one line each.
    """

    feeds: list[dict[str, NDArray[Any]]]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Samples:
    """Arrays by input name, samples along the leading axis.

    Attributes:
        where: The file or folder, for messages.
        arrays: Input name -> array.
    """

    where: str
    arrays: dict[str, NDArray[Any]]

    @classmethod
    def joined(cls, where: str, parts: Sequence[Mapping[str, NDArray[Any]]]) -> Samples:
        """Several files one after another.

        Raises:
            DataError: They hold different names or shapes that do not join.
        """
        names = set(parts[0])
        if any(set(part) != names for part in parts):
            raise DataError(f"data '{where}': its files hold different arrays")
        try:
            return cls(
                where, {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            )
        except ValueError as error:
            raise DataError(f"data '{where}': its files do not join ({error})") from None


def to_feeds(samples: Samples, inputs: Sequence[TensorInfo], max_samples: int) -> UserData:
    """Cut samples into feeds.

    Raises:
        DataError: Names, dtypes, ranks or counts that do not fit the model.
    """
    where = samples.where
    _check_names(samples.arrays, where, inputs)
    counts = {name: len(array) if array.ndim else 0 for name, array in samples.arrays.items()}
    count = min(counts.values(), default=0)
    if count == 0:
        raise DataError(f"data '{where}': it holds no samples")
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{name} {number}" for name, number in counts.items())
        raise DataError(f"data '{where}': different numbers of samples ({listed})")
    used = min(count, max_samples)
    notes: dict[str, None] = {}
    if used < count:
        notes[f"data '{where}': only the first {used} of {count} samples were used"] = None
    whole = all(_holds_whole_feeds(info, samples.arrays[info.name]) for info in inputs)
    cuts = [slice(index, index + 1) for index in range(used)] if whole else _cuts(inputs, used)
    if not cuts:
        needed = fixed_batch(inputs)
        raise DataError(f"data '{where}': {count} samples, but the model's batch size is {needed}")
    if cuts[-1].stop < used:
        notes[f"data '{where}': {used - cuts[-1].stop} samples do not fill a batch"] = None
    feeds: list[dict[str, NDArray[Any]]] = []
    for cut in cuts:
        arrays = {name: array[cut] for name, array in samples.arrays.items()}
        if whole:
            arrays = {name: array[0] for name, array in arrays.items()}
        feed, casts = check_feed(arrays, where, inputs)
        feeds.append(feed)
        notes.update(dict.fromkeys(casts))
    return UserData(feeds, tuple(notes))


def check_feed(
    feed: Mapping[str, Any], where: str, inputs: Sequence[TensorInfo]
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """A feed with the model's dtypes, and a note for each lossy cast.

    Raises:
        DataError: Names, dtypes or shapes that do not fit.
    """
    _check_names(feed, where, inputs)
    notes: list[str] = []
    checked: dict[str, NDArray[Any]] = {}
    for info in inputs:
        array = np.asarray(feed[info.name])
        _check_shape(info, array, where)
        checked[info.name] = _cast(info, array, where, notes)
    return checked, notes


def _check_names(arrays: Mapping[str, Any], where: str, inputs: Sequence[TensorInfo]) -> None:
    expected = [info.name for info in inputs]
    unknown = [name for name in arrays if name not in expected]
    missing = [name for name in expected if name not in arrays]
    if unknown or missing:
        parts = [f"unknown input {', '.join(unknown)}"] if unknown else []
        parts += [f"missing input {', '.join(missing)}"] if missing else []
        raise DataError(
            f"data '{where}': {'; '.join(parts)} (the model's inputs are: {', '.join(expected)})"
        )


def _holds_whole_feeds(info: TensorInfo, array: NDArray[Any]) -> bool:
    return info.shape is not None and array.ndim == len(info.shape) + 1


def _cuts(inputs: Sequence[TensorInfo], count: int) -> list[slice]:
    fixed = fixed_batch(inputs)
    if fixed is not None:
        return [slice(i, i + fixed) for i in range(0, count - fixed + 1, fixed)]
    rest = [slice(i, min(i + _OPEN_BATCH, count)) for i in range(1, count, _OPEN_BATCH)]
    return [slice(0, 1), *rest]


def _check_shape(info: TensorInfo, array: NDArray[Any], where: str) -> None:
    if info.shape is None:
        return
    fits = array.ndim == len(info.shape) and all(
        not isinstance(dim, int) or dim == size
        for dim, size in zip(info.shape, array.shape, strict=True)
    )
    if not fits:
        declared = ", ".join("?" if dim is None else str(dim) for dim in info.shape)
        raise DataError(
            f"data '{where}': input '{info.name}' has shape {array.shape}, "
            f"the model takes ({declared})"
        )


def _cast(info: TensorInfo, array: NDArray[Any], where: str, notes: list[str]) -> NDArray[Any]:
    """Casts within a kind (float64 -> float32, int32 -> int64) and from integer to float."""
    target = numpy_dtype(info.dtype)
    if array.dtype == object:
        raise DataError(f"data '{where}': input '{info.name}' holds Python objects, not numbers")
    if target is None or array.dtype == target:
        return array
    kind: str = array.dtype.kind
    source_float = kind == "f" or str(array.dtype) == "bfloat16"
    target_float = np.dtype(target).kind not in "biu"
    allowed = (target_float and (source_float or kind in "biu")) or np.can_cast(
        array.dtype, target, "same_kind"
    )
    with np.errstate(over="ignore"):
        cast = array.astype(target) if allowed else array
    if not allowed or (kind in "iu" and not target_float and (cast != array).any()):
        raise DataError(
            f"data '{where}': input '{info.name}' is {array.dtype.name}, "
            f"the model takes {info.dtype}"
        )
    if not np.can_cast(array.dtype, target, "safe"):
        notes.append(
            f"data '{where}': input '{info.name}' was cast from {array.dtype.name} to {info.dtype}"
        )
    return cast
