"""A model against numbers that something else computed: the framework that it came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bnopt.evidence import Agreement
from bnopt.judge.compare import is_float
from bnopt.runtime.process import Worker

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from numpy.typing import NDArray

    from bnopt.runtime.session import SessionRun

    Arrays = Mapping[str, NDArray[Any]]

SHARE = 1e-4
"""Of an output's largest |value|: what single precision and another order of summation may do.

Two runtimes differ by about 1e-6 of it, a wrong batch norm by far more than 1e-2.
"""

HALF_SHARE = 2e-2
"""The same where the framework computed in half precision, which has 11 bits."""


def agreement(
    path: Path,
    references: Sequence[tuple[int, Arrays, Arrays]],
    *,
    half: Collection[str] = (),
    provider: str = "cpu",
    timeout: float = 600.0,
) -> tuple[Agreement, ...]:
    """Run a model in onnxruntime at its default optimizations, and compare.

    Args:
        path: The model.
        references: Batch size, feeds by input name, expected outputs by output name.
        half: Outputs that half precision has a part in.
        provider: `cpu` or `cuda`.
        timeout: Seconds.

    Raises:
        ExecutionError: It does not run.
    """
    with Worker(timeout) as worker:
        run = worker.call(
            "bnopt.runtime.session:run",
            str(path),
            [feeds for _, feeds, _ in references],
            provider=provider,
            optimizations="default",
            task="onnxruntime",
        )
    found: list[Agreement] = []
    for (batch, _, wanted), results in zip(
        references, cast("SessionRun", run).outputs, strict=True
    ):
        found += [
            _compare(batch, name, results[name], wanted[name], name in half) for name in wanted
        ]
    return tuple(found)


def _compare(
    batch: int, name: str, found: NDArray[Any], wanted: NDArray[Any], half: bool
) -> Agreement:
    if found.shape != wanted.shape:
        return Agreement(batch, name, float("nan"), float("nan"), 0.0, False)
    if found.dtype.kind in "OSU":
        differ = int(np.sum(_texts(found) != _texts(wanted)))
        return Agreement(batch, name, float(differ), float(differ), 0.0, not differ)
    mine, theirs = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    # Equal infinities, and NaN beside NaN, are no difference; all else that is not finite is one.
    same = (mine == theirs) | (np.isnan(mine) & np.isnan(theirs))
    with np.errstate(invalid="ignore"):
        error = np.where(same, 0.0, np.abs(mine - theirs))
    largest = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0))
    worst = float(error.max(initial=0.0))
    share = HALF_SHARE if half or found.dtype.itemsize <= 2 else SHARE
    # A class or a count that is off by one is another class or count.
    tolerance = share * largest if is_float(found) else 0.0
    relative = worst / largest if largest else worst
    return Agreement(batch, name, worst, relative, tolerance, bool(worst <= tolerance))


def _texts(array: NDArray[Any]) -> NDArray[Any]:
    """Strings, which TensorFlow gives as bytes."""
    decoded = [one.decode() if isinstance(one, bytes) else str(one) for one in array.reshape(-1)]
    return np.array(decoded, object).reshape(array.shape)
