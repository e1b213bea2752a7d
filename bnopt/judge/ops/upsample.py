"""Upsample, which onnx's own knows neither below opset 9 nor in the mode `linear`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference.op_run import OpRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Upsample(OpRun):
    """Upsample, opsets 7 and 9: element i of an axis comes from the coordinate `i / scale`.

    `nearest` takes the element below it; `linear` weighs that one and the next, of which the last
    one repeats. The factors are the attribute `scales` at opset 7, the second input from 9 on.
    """

    def _run(
        self,
        x: NDArray[Any],
        *inputs: NDArray[Any],
        mode: str = "nearest",
        scales: Sequence[float] | None = None,
    ) -> tuple[NDArray[Any]]:
        if mode not in ("nearest", "linear"):
            raise NotImplementedError(f"mode '{mode}'")
        factors = inputs[0].tolist() if inputs else list(scales or ())
        for axis, factor in enumerate(factors):
            size = x.shape[axis]
            where = np.arange(int(size * factor)) / factor
            below = np.floor(where).astype(np.int64)
            low = np.take(x, below, axis)
            if mode == "nearest" or factor == 1:
                x = low
                continue
            high = np.take(x, np.minimum(below + 1, size - 1), axis)
            share = (where - below).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
            x = low * (1 - share) + high * share
        return (x,)
