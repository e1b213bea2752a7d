"""The judge's float64 reference, with two operators that onnx's own gets wrong or lacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference.op_run import OpRun

from bnopt.judge.evaluator import BUDGET, Budget, Float64Evaluator

Arrays = dict[str, np.ndarray]


class GlobalMaxPool(OpRun):
    """The maximum over all spatial axes; onnx's is wrong but for two of them."""

    def _run(self, x: np.ndarray) -> tuple[np.ndarray]:
        return (x.max(axis=tuple(range(2, x.ndim)), keepdims=True),)


class Upsample(OpRun):
    """Upsample-7 and -9 by whole factors: element i comes from the source's coordinate i / scale.

    onnx's own knows neither the attribute `scales` nor the mode `linear`.
    """

    def _run(
        self,
        x: np.ndarray,
        *inputs: np.ndarray,
        mode: str = "nearest",
        scales: Sequence[float] | None = None,
    ) -> tuple[np.ndarray]:
        factors = inputs[0] if inputs else np.asarray(scales)
        for axis, factor in enumerate(factors):
            size = x.shape[axis]
            where = np.arange(int(size * factor)) / factor
            low = np.floor(where).astype(int)
            high = np.minimum(low + 1, size - 1)
            share = (where - low) if mode == "linear" else np.zeros(len(where))
            share = share.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
            x = np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
        return (x,)


class _Evaluator(Float64Evaluator):
    def _load_impl(self, node: onnx.NodeProto, input_types: Any = None) -> Any:
        own = {operator.__name__: operator for operator in (GlobalMaxPool, Upsample)}
        if node.domain == "" and node.op_type in own:
            return own[node.op_type]
        return super()._load_impl(node, input_types)


def evaluate(model: onnx.ModelProto, feeds: Arrays, jitter: int | None = None) -> Arrays:
    """Every value of the main graph, in float64.

    Args:
        model: Only read.
        feeds: Input name -> array.
        jitter: Seed with which every weight is moved by one unit in its last place.
    """
    # The evaluator empties the stored weights.
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    rng = None if jitter is None else np.random.default_rng(jitter)
    token = BUDGET.set(Budget(jitter=rng))
    try:
        with np.errstate(all="ignore"):
            return _Evaluator(copy).run(None, dict(feeds), intermediate=True)
    finally:
        BUDGET.reset(token)
