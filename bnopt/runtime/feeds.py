"""Generated inputs: deterministic, of both signs and several magnitudes, at any batch size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from bnopt.errors import DataError
from bnopt.runtime.interface import numpy_dtype

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from bnopt.runtime.interface import TensorInfo

Magnitude: TypeAlias = Literal["normal x1", "uniform [0, 1)", "normal x30", "normal x0.03"]
MAGNITUDES: tuple[Magnitude, ...] = get_args(Magnitude)

# Convolutional networks mostly want 64 or more (some run on 32, but on empty tensors from some
# pool on), sequences and tables are content with little.
_SIZES = (64, 32, 224, 16, 8, 4, 1, 128, 256, 299)
_UNBOUND_BATCH = "\0batch"


@dataclass(frozen=True, slots=True)
class Sizes:
    """Values for what a model leaves open.

    Attributes:
        symbol: Size of every symbolic or unknown dimension other than the batch.
        channels: Size of symbolic dimensions at axis 1 of inputs of rank >= 3; None: `symbol`.
        int_high: Integers are drawn from [0, int_high); 8-bit ones from their whole range where
            it is larger than 2.
    """

    symbol: int = _SIZES[0]
    channels: int | None = None
    int_high: int = 10


def ladder(inputs: Sequence[TensorInfo]) -> Iterator[Sizes]:
    """Guesses for the open sizes of a model, the likeliest first.

    Only what these inputs leave open is varied, so a fixed-shape float model has one rung.
    """
    batch = batch_symbol(inputs)
    opened = [
        (axis, len(shape))
        for shape in (info.shape or () for info in inputs)
        for axis, dim in enumerate(shape)
        if not isinstance(dim, int) and not _is_batch(dim, axis, batch)
    ]
    sizes = _SIZES if opened else _SIZES[:1]
    channels = (3, 1, None) if any(axis == 1 and rank >= 3 for axis, rank in opened) else (None,)
    highs = (10, 2) if any(_is_integer(info) for info in inputs) else (10,)
    for high in highs:
        for channel in channels:
            for size in sizes:
                yield Sizes(size, channel, high)


def batch_symbol(inputs: Sequence[TensorInfo]) -> str | None:
    """The symbol of the leading dimension that inputs share; None if every one is fixed.

    The first input with an open leading dimension names it; unnamed leading dimensions of the
    others are taken to be the same.
    """
    for info in inputs:
        if info.shape and not isinstance(info.shape[0], int):
            return info.shape[0] or _UNBOUND_BATCH
    return None


def fixed_batch(inputs: Sequence[TensorInfo]) -> int | None:
    """The fixed leading dimension of the first input that has one."""
    for info in inputs:
        if info.shape and isinstance(info.shape[0], int):
            return info.shape[0]
    return None


def generate(
    inputs: Sequence[TensorInfo],
    *,
    batch: int = 1,
    magnitude: Magnitude = "normal x1",
    seed: int = 0,
    sizes: Sizes | None = None,
) -> dict[str, NDArray[Any]]:
    """One feed.

    Args:
        inputs: The inputs to feed, in order; the order is part of what the seed determines.
        batch: Size of the shared open leading dimension; ignored where that is fixed.
        magnitude: How floating-point values are drawn.
        seed: The same seed gives the same feed.
        sizes: Values for the other open dimensions.

    Returns:
        Input name -> array, of the input's dtype and shape.

    Raises:
        DataError: An input of strings, of another type than tensor, or of unknown rank.
    """
    sizes = sizes or Sizes()
    rng = np.random.default_rng([seed, MAGNITUDES.index(magnitude), batch])
    symbol = batch_symbol(inputs)
    feed: dict[str, NDArray[Any]] = {}
    for info in inputs:
        shape = _shape(info, symbol, batch, sizes)
        feed[info.name] = _values(rng, info, shape, magnitude, sizes)
    return feed


def _is_batch(dim: str | None, axis: int, batch: str | None) -> bool:
    return dim == batch or (axis == 0 and dim is None)


def _is_integer(info: TensorInfo) -> bool:
    return "int" in info.dtype


def _shape(info: TensorInfo, symbol: str | None, batch: int, sizes: Sizes) -> tuple[int, ...]:
    if info.shape is None:
        raise DataError(f"input '{info.name}' declares no shape; give real inputs with --data")
    shape: list[int] = []
    for axis, dim in enumerate(info.shape):
        if isinstance(dim, int):
            shape.append(dim)
        elif _is_batch(dim, axis, symbol):
            shape.append(batch)
        elif axis == 1 and len(info.shape) >= 3 and sizes.channels is not None:
            shape.append(sizes.channels)
        else:
            shape.append(sizes.symbol)
    return tuple(shape)


def _values(
    rng: np.random.Generator,
    info: TensorInfo,
    shape: tuple[int, ...],
    magnitude: Magnitude,
    sizes: Sizes,
) -> NDArray[Any]:
    dtype = numpy_dtype(info.dtype)
    if dtype is None:
        kind = info.dtype or "an undeclared type"
        raise DataError(
            f"input '{info.name}' is of {kind}, for which no values can be made up; "
            "give real inputs with --data"
        )
    if dtype == np.bool_:
        return rng.integers(0, 2, shape).astype(dtype)
    if _is_integer(info):
        byte_range = {"uint8": 256, "int8": 128}.get(info.dtype, 0) if sizes.int_high > 2 else 0
        return rng.integers(0, byte_range or sizes.int_high, shape).astype(dtype)
    if magnitude == "uniform [0, 1)":
        values = rng.random(shape)
    else:
        values = rng.standard_normal(shape) * float(magnitude.removeprefix("normal x"))
    if np.issubdtype(dtype, np.complexfloating):
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(dtype)
