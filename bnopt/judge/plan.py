"""Which feeds a comparison runs: batch sizes 1 and N, seeds, magnitudes, the noise on top."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.judge.precision import machine_epsilon
from bnopt.runtime.feeds import batch_symbol, fixed_batch, generate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from bnopt.runtime.feeds import Magnitude, Sizes
    from bnopt.runtime.interface import TensorInfo

MANY = 3
"""Batch size N > 1, to show whether a model depends on its batch."""

_AT_ONE: tuple[tuple[Magnitude, int], ...] = (
    ("normal x1", 0),
    ("uniform [0, 1)", 0),
    ("normal x30", 0),
)
_AT_MANY: tuple[tuple[Magnitude, int], ...] = (("normal x1", 1), ("normal x30", 1))
_SEEDS: tuple[tuple[Magnitude, int], ...] = (("normal x1", 0), ("normal x1", 1), ("normal x1", 2))
_SMALL: tuple[tuple[Magnitude, int], ...] = (("normal x0.03", 0), ("normal x0.03", 1))


@dataclass(frozen=True, slots=True)
class Run:
    """One feed and where it comes from.

    Attributes:
        label: For messages, such as `batch 1, normal x1, seed 0`.
        feed: Input name -> array.
        batch: Its batch size.
        generated: Whether bnopt made it up, so that it may be discarded.
    """

    label: str
    feed: dict[str, NDArray[Any]]
    batch: int
    generated: bool


def generated_runs(
    inputs: Sequence[TensorInfo], sizes: Sizes, seed: int, *, small: bool = False
) -> list[Run]:
    """The feeds that bnopt makes up, those of batch size 1 first.

    Args:
        inputs: The model's inputs.
        sizes: Values for its open dimensions.
        seed: First seed; the second one used is `seed + 1`.
        small: The second try, of small values, for models that overflow on everything else.
    """
    one = _SMALL if small else _AT_ONE
    if not any("float" in info.dtype or "double" in info.dtype for info in inputs):
        # Integers and booleans have no magnitude, only seeds.
        one = _SEEDS
    if batch_symbol(inputs) is None:
        fixed = fixed_batch(inputs) or 1
        extra = () if small else (_AT_MANY[0],)
        return [_run(inputs, sizes, fixed, kind, seed + more) for kind, more in one + extra]
    many = _SMALL[1:] if small else _AT_MANY
    runs = [_run(inputs, sizes, 1, kind, seed + more) for kind, more in one]
    return runs + [_run(inputs, sizes, MANY, kind, seed + more) for kind, more in many]


def data_runs(feeds: Sequence[dict[str, NDArray[Any]]]) -> list[Run]:
    """One run per feed of user data."""
    return [
        Run(f"data {number}", feed, _batch(feed), generated=False)
        for number, feed in enumerate(feeds)
    ]


def noisy(feed: dict[str, NDArray[Any]], seed: int) -> dict[str, NDArray[Any]]:
    """The feed with every floating-point value moved by one unit in its last place."""
    rng = np.random.default_rng([seed, 0x0F10A7])
    moved: dict[str, NDArray[Any]] = {}
    for name, array in feed.items():
        if array.dtype.kind in "biuSUO":
            moved[name] = array
            continue
        signs = rng.choice((-1.0, 1.0), array.shape)
        wide = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
        moved[name] = (wide * (1.0 + signs * machine_epsilon(str(array.dtype)))).astype(array.dtype)
    return moved


def _run(
    inputs: Sequence[TensorInfo], sizes: Sizes, batch: int, magnitude: Magnitude, seed: int
) -> Run:
    feed = generate(inputs, batch=batch, magnitude=magnitude, seed=seed, sizes=sizes)
    return Run(f"batch {batch}, {magnitude}, seed {seed}", feed, batch, generated=True)


def _batch(feed: dict[str, NDArray[Any]]) -> int:
    first = next(iter(feed.values()), None)
    return int(first.shape[0]) if first is not None and first.ndim else 1
