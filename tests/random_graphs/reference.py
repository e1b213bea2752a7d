"""Every value of a graph, from the judge's float64 reference."""

from __future__ import annotations

import numpy as np
import onnx

from bnopt.judge.evaluator import BUDGET, Budget, Float64Evaluator

Arrays = dict[str, np.ndarray]


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
            return Float64Evaluator(copy).run(None, dict(feeds), intermediate=True)
    finally:
        BUDGET.reset(token)
