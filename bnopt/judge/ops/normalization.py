"""BatchNormalization at every opset, and LRN, from the text of the ONNX operator specification."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference.op_run import OpRun

if TYPE_CHECKING:
    from numpy.typing import NDArray


class BatchNormalization(OpRun):
    """`Y = (X - mean) / sqrt(var + epsilon) * scale + B` along axis 1.

    Whether the statistics are the given ones or the batch's own depends on the opset: `is_test`
    up to 6, the number of outputs from 7 to 13, `training_mode` from 14 on. `spatial = 0`
    (opsets 1 to 8) means parameters of shape `(C, d1, ..., dn)` and statistics over the batch
    alone. In training mode the running statistics are `given * momentum + batch * (1 - momentum)`
    with the population variance.
    """

    def _run(
        self,
        x: NDArray[Any],
        scale: NDArray[Any],
        bias: NDArray[Any],
        mean: NDArray[Any],
        var: NDArray[Any],
        *,
        epsilon: float = 1e-5,
        momentum: float = 0.9,
        is_test: int = 0,
        spatial: int = 1,
        training_mode: int = 0,
        consumed_inputs: object = None,
    ) -> tuple[NDArray[np.float64], ...]:
        outputs = self.onnx_node.output
        opset: int = self.run_params["opsets"][self.onnx_node.domain]
        if opset >= 14:
            training = bool(training_mode)
        elif opset >= 7:
            training = any(outputs[1:])
        else:
            training = not is_test
        x = np.asarray(x, np.float64)
        reduced = (0, *range(2, x.ndim)) if spatial else (0,)
        ones = [1] * (x.ndim - 2)

        def along(parameter: NDArray[Any]) -> NDArray[Any]:
            return parameter.reshape(-1, *ones) if spatial else parameter

        if not training:
            return (_affine(x, along(scale), along(bias), along(mean), along(var), epsilon),)
        batch_mean, batch_var = x.mean(axis=reduced), x.var(axis=reduced)
        y = _affine(x, along(scale), along(bias), along(batch_mean), along(batch_var), epsilon)
        keep = float(momentum)
        running_mean = mean * keep + batch_mean * (1.0 - keep)
        running_var = var * keep + batch_var * (1.0 - keep)
        return (y, running_mean, running_var, batch_mean, batch_var)[: max(len(outputs), 1)]


def _affine(
    x: NDArray[Any],
    scale: NDArray[Any],
    bias: NDArray[Any],
    mean: NDArray[Any],
    var: NDArray[Any],
    epsilon: float,
) -> NDArray[np.float64]:
    return scale * ((x - mean) / np.sqrt(var + float(epsilon))) + bias


class LRN(OpRun):
    """`x / (bias + alpha / size * sum of squares over `size` neighbouring channels)^beta`."""

    def _run(
        self,
        x: NDArray[Any],
        *,
        alpha: float = 1e-4,
        beta: float = 0.75,
        bias: float = 1.0,
        size: int,
    ) -> tuple[NDArray[Any]]:
        before, after = math.floor((size - 1) / 2), math.ceil((size - 1) / 2)
        squares = x * x
        channels = x.shape[1]
        total = np.stack(
            [
                squares[:, max(0, c - before) : min(channels, c + after + 1)].sum(axis=1)
                for c in range(channels)
            ],
            axis=1,
        )
        return (x / (float(bias) + float(alpha) / size * total) ** float(beta),)
