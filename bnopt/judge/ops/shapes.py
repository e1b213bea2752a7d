"""Operators that rearrange, where onnx's own fail on inputs that the specification allows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference.op_run import OpRun

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class Unsqueeze(OpRun):
    """Unsqueeze, opsets 1 to 25: negative axes count from the end of the *output's* shape."""

    def _run(
        self, data: NDArray[Any], *inputs: NDArray[np.int64], axes: Sequence[int] | None = None
    ) -> tuple[NDArray[Any]]:
        where = inputs[0].reshape(-1).tolist() if inputs else list(axes or ())
        return (np.expand_dims(data, tuple(where)),)


class OneHot(OpRun):
    """OneHot, opsets 9 to 25: the depth may be a scalar or a tensor of one element."""

    def _run(
        self,
        indices: NDArray[Any],
        depth: NDArray[Any],
        values: NDArray[Any],
        *,
        axis: int | None = -1,
    ) -> tuple[NDArray[Any]]:
        size = int(np.asarray(depth).reshape(-1)[0])
        place = (-1 if axis is None else axis) % (indices.ndim + 1)
        whole = np.expand_dims(np.where(indices < 0, indices + size, indices), place)
        classes = np.arange(size).reshape(
            [-1 if i == place else 1 for i in range(indices.ndim + 1)]
        )
        hot: NDArray[np.bool_] = whole == classes
        return (values[hot.astype(np.int64)],)
