"""Quantized operators: integers stay integers, scales are exact, products are exact in double."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference.op_run import OpRun

from bnopt.judge.ops.conv import convolve
from bnopt.judge.ops.geometry import axes

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _along(
    parameter: NDArray[Any], x: NDArray[Any], axis: int, block_size: int
) -> NDArray[np.float64]:
    """A scale or zero point, shaped to broadcast against `x`."""
    values = np.asarray(parameter).astype(np.float64)
    if values.size == 1 and values.ndim <= 1:
        return values.reshape(())
    axis = axis % x.ndim
    if values.ndim == 1:
        return values.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    repeated = np.repeat(values, block_size, axis=axis) if block_size else values
    return np.take(repeated, range(x.shape[axis]), axis=axis) if block_size else repeated


class DequantizeLinear(OpRun):
    """`(x - zero_point) * scale`."""

    def _run(
        self,
        x: NDArray[Any],
        scale: NDArray[Any],
        zero_point: NDArray[Any] | None = None,
        *,
        axis: int | None = 1,
        block_size: int | None = 0,
        output_dtype: object = None,
    ) -> tuple[NDArray[np.float64]]:
        axis, block_size = 1 if axis is None else axis, block_size or 0
        values = x.astype(np.float64)
        if zero_point is not None:
            values = values - _along(zero_point, x, axis, block_size)
        return (values * _along(scale, x, axis, block_size),)


class DynamicQuantizeLinear(OpRun):
    """Scale and zero point from the range of `x`, widened to hold 0; uint8."""

    def _run(self, x: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        low, high = min(0.0, float(x.min())), max(0.0, float(x.max()))
        scale = (high - low) / 255.0 or 1.0
        zero_point = np.clip(np.rint(-low / scale), 0, 255)
        y = np.clip(np.rint(x / scale) + zero_point, 0, 255).astype(np.uint8)
        return y, np.asarray(scale), zero_point.astype(np.uint8)


def _requantize(values: NDArray[np.float64], scale: Any, zero_point: NDArray[Any]) -> NDArray[Any]:
    info = np.iinfo(zero_point.dtype)
    rounded = np.rint(values / scale) + zero_point.astype(np.float64)
    return np.clip(rounded, info.min, info.max).astype(zero_point.dtype)


def _per_filter(values: NDArray[Any], rank: int) -> NDArray[np.float64]:
    flat = np.asarray(values).astype(np.float64).reshape(-1)
    return flat.reshape(-1, *([1] * (rank - 1)))


def _integer_conv(
    x: NDArray[Any],
    w: NDArray[Any],
    x_zero: NDArray[Any] | None,
    w_zero: NDArray[Any] | None,
    attributes: dict[str, Any],
) -> NDArray[np.float64]:
    shifted_x = x.astype(np.float64) - (0.0 if x_zero is None else float(x_zero.reshape(-1)[0]))
    shifted_w = w.astype(np.float64) - (0.0 if w_zero is None else _per_filter(w_zero, w.ndim))
    spatial = axes(
        x.shape[2:],
        w.shape[2:],
        attributes.get("strides"),
        attributes.get("dilations"),
        attributes.get("pads"),
        attributes.get("auto_pad"),
    )
    return convolve(shifted_x, shifted_w, spatial, attributes.get("group") or 1)


class ConvInteger(OpRun):
    """Integer convolution, int32 result."""

    def _run(
        self,
        x: NDArray[Any],
        w: NDArray[Any],
        x_zero_point: NDArray[Any] | None = None,
        w_zero_point: NDArray[Any] | None = None,
        **attributes: Any,
    ) -> tuple[NDArray[np.int32]]:
        return (_integer_conv(x, w, x_zero_point, w_zero_point, attributes).astype(np.int32),)


class QLinearConv(OpRun):
    """Integer convolution, then one rounding to the output's scale."""

    def _run(
        self,
        x: NDArray[Any],
        x_scale: NDArray[Any],
        x_zero_point: NDArray[Any],
        w: NDArray[Any],
        w_scale: NDArray[Any],
        w_zero_point: NDArray[Any],
        y_scale: NDArray[Any],
        y_zero_point: NDArray[Any],
        b: NDArray[Any] | None = None,
        **attributes: Any,
    ) -> tuple[NDArray[Any]]:
        total = _integer_conv(x, w, x_zero_point, w_zero_point, attributes)
        if b is not None:
            total += _per_filter(b, x.ndim - 1)
        scale = float(x_scale.reshape(-1)[0]) * _per_filter(w_scale, x.ndim - 1)
        return (_requantize(total * scale, float(y_scale.reshape(-1)[0]), y_zero_point),)


def _matrix_zero(zero: NDArray[Any] | None, *, rows: bool) -> Any:
    """A zero point to subtract: a scalar, one per row of the left or column of the right factor."""
    if zero is None:
        return 0.0
    values = zero.astype(np.float64)
    if values.ndim == 1 and values.size > 1 and rows:
        return values[:, None]
    return values.reshape(()) if values.size == 1 else values


class MatMulInteger(OpRun):
    """Integer matrix product, int32 result."""

    def _run(
        self,
        a: NDArray[Any],
        b: NDArray[Any],
        a_zero_point: NDArray[Any] | None = None,
        b_zero_point: NDArray[Any] | None = None,
    ) -> tuple[NDArray[np.int32]]:
        left = a.astype(np.float64) - _matrix_zero(a_zero_point, rows=True)
        right = b.astype(np.float64) - _matrix_zero(b_zero_point, rows=False)
        return (np.matmul(left, right).astype(np.int32),)


class QLinearMatMul(OpRun):
    """Integer matrix product, then one rounding to the output's scale."""

    def _run(
        self,
        a: NDArray[Any],
        a_scale: NDArray[Any],
        a_zero_point: NDArray[Any],
        b: NDArray[Any],
        b_scale: NDArray[Any],
        b_zero_point: NDArray[Any],
        y_scale: NDArray[Any],
        y_zero_point: NDArray[Any],
    ) -> tuple[NDArray[Any]]:
        left = (a.astype(np.float64) - _matrix_zero(a_zero_point, rows=True)) * _matrix_zero(
            a_scale, rows=True
        )
        right = (b.astype(np.float64) - _matrix_zero(b_zero_point, rows=False)) * _matrix_zero(
            b_scale, rows=False
        )
        scale = _matrix_zero(y_scale, rows=True)
        return (_requantize(np.matmul(left, right), scale, y_zero_point),)
