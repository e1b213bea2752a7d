"""Convolutions as im2col and one BLAS product per tile, in double precision."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx.reference.op_run import OpRun

from bnopt.judge.ops.geometry import Axis, axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_TILE_BYTES = 256 << 20


def convolve(
    x: NDArray[Any],
    w: NDArray[Any],
    spatial: Sequence[Axis],
    group: int,
    pad_value: float = 0.0,
) -> NDArray[np.float64]:
    """Cross-correlation of any rank: Conv without its bias.

    Args:
        x: Input `(N, C, d1, ..., dn)`.
        w: Weight `(M, C / group, k1, ..., kn)`.
        spatial: One `Axis` per spatial dimension.
        group: Number of groups.
        pad_value: What the padding holds.

    Returns:
        `(N, M, o1, ..., on)`.
    """
    x = np.asarray(x, np.float64)
    filters = np.ascontiguousarray(w, np.float64).reshape(group, w.shape[0] // group, -1)
    widths = [(axis.begin, max(axis.needed - axis.size - axis.begin, axis.end)) for axis in spatial]
    if any(width != (0, 0) for width in widths):
        x = np.pad(x, [(0, 0), (0, 0), *widths], constant_values=pad_value)
    out_shape = tuple(axis.out for axis in spatial)
    y = np.empty((x.shape[0], w.shape[0], *out_shape))
    taps = math.prod(axis.kernel for axis in spatial)
    row_bytes = 8 * x.shape[1] * taps * math.prod(out_shape[1:])
    rows = max(1, _TILE_BYTES // max(row_bytes, 1))
    for n in range(x.shape[0]):
        for top in range(0, out_shape[0], rows):
            bottom = min(top + rows, out_shape[0])
            columns = _columns(x[n], spatial, top, bottom)
            tile = np.matmul(filters, columns.reshape(group, filters.shape[2], -1))
            y[n, :, top:bottom] = tile.reshape(w.shape[0], bottom - top, *out_shape[1:])
    return y


def _columns(
    x: NDArray[np.float64], spatial: Sequence[Axis], top: int, bottom: int
) -> NDArray[np.float64]:
    """`(C, taps, outputs)` of one padded sample, for output rows top to bottom of axis 1."""
    first, *rest = spatial
    x = x[:, top * first.stride : (bottom - 1) * first.stride + first.span]
    spatial = [
        Axis(first.size, first.kernel, first.stride, first.dilation, 0, 0, bottom - top),
        *rest,
    ]
    outs = [axis.out for axis in spatial]
    kernels = [axis.kernel for axis in spatial]
    if all(kernel == 1 for kernel in kernels):
        return x[(slice(None), *(axis.taps(0) for axis in spatial))].reshape(len(x), 1, -1)
    columns = np.empty((len(x), *kernels, *outs))
    for tap in itertools.product(*map(range, kernels)):
        window = tuple(axis.taps(t) for axis, t in zip(spatial, tap, strict=True))
        columns[(slice(None), *tap)] = x[(slice(None), *window)]
    return columns.reshape(len(x), math.prod(kernels), -1)


def add_bias(y: NDArray[np.float64], bias: NDArray[Any] | None) -> NDArray[np.float64]:
    """Add a bias `(M,)` along axis 1, in place."""
    if bias is not None:
        y += np.asarray(bias, np.float64).reshape(-1, *([1] * (y.ndim - 2)))
    return y


class Conv(OpRun):
    """Conv, opsets 1 to 22."""

    def _run(
        self,
        x: NDArray[Any],
        w: NDArray[Any],
        b: NDArray[Any] | None = None,
        *,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[NDArray[np.float64]]:
        spatial = axes(x.shape[2:], w.shape[2:], strides, dilations, pads, auto_pad)
        return (add_bias(convolve(x, w, spatial, group or 1), b),)


class ConvTranspose(OpRun):
    """ConvTranspose, opsets 1 to 22: one product per kernel tap, added where the tap lands."""

    def _run(
        self,
        x: NDArray[Any],
        w: NDArray[Any],
        b: NDArray[Any] | None = None,
        *,
        auto_pad: str | None = None,
        dilations: Sequence[int] | None = None,
        group: int | None = None,
        kernel_shape: Sequence[int] | None = None,
        output_padding: Sequence[int] | None = None,
        output_shape: Sequence[int] | None = None,
        pads: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
    ) -> tuple[NDArray[np.float64]]:
        group = group or 1
        rank = x.ndim - 2
        strides = strides or [1] * rank
        dilations = dilations or [1] * rank
        extra = output_padding or [0] * rank
        kernel = w.shape[2:]
        reach = [
            strides[i] * (x.shape[2 + i] - 1) + (kernel[i] - 1) * dilations[i] + 1
            for i in range(rank)
        ]
        begins, outs = _transposed_pads(
            x.shape[2:], reach, extra, strides, auto_pad, output_shape, pads
        )
        # The output may lie partly outside of what the taps reach: work on both, then cut.
        low = [max(-begin, 0) for begin in begins]
        canvas = [max(low[i] + reach[i], low[i] + begins[i] + outs[i]) for i in range(rank)]
        channels = w.shape[1] * group
        y = np.zeros((x.shape[0], channels, *canvas))
        data = np.asarray(x, np.float64).reshape(x.shape[0], group, x.shape[1] // group, -1)
        weight = np.asarray(w, np.float64).reshape(group, x.shape[1] // group, w.shape[1], *kernel)
        for tap in itertools.product(*map(range, kernel)):
            taps = np.swapaxes(weight[(..., *tap)], 1, 2)
            product = np.matmul(taps, data).reshape(x.shape[0], channels, *x.shape[2:])
            where = tuple(
                slice(
                    low[i] + t * dilations[i],
                    low[i] + t * dilations[i] + strides[i] * (x.shape[2 + i] - 1) + 1,
                    strides[i],
                )
                for i, t in enumerate(tap)
            )
            y[(slice(None), slice(None), *where)] += product
        cut = tuple(slice(low[i] + begins[i], low[i] + begins[i] + outs[i]) for i in range(rank))
        return (add_bias(y[(slice(None), slice(None), *cut)], b),)


def _transposed_pads(
    sizes: Sequence[int],
    reach: Sequence[int],
    extra: Sequence[int],
    strides: Sequence[int],
    auto_pad: str | None,
    output_shape: Sequence[int] | None,
    pads: Sequence[int] | None,
) -> tuple[list[int], list[int]]:
    """(padding before, output size) per axis, by the formulas of the ConvTranspose operator."""
    rank = len(sizes)
    if auto_pad in ("SAME_UPPER", "SAME_LOWER") and not output_shape:
        output_shape = [size * stride for size, stride in zip(sizes, strides, strict=True)]
    if not output_shape:
        pads = pads if pads and auto_pad != "VALID" else [0] * (2 * rank)
        outs = [reach[i] + extra[i] - pads[i] - pads[i + rank] for i in range(rank)]
        return list(pads[:rank]), outs
    outs = list(output_shape[-rank:])
    begins: list[int] = []
    for i in range(rank):
        total = reach[i] + extra[i] - outs[i]
        half = total // 2
        begins.append(half if auto_pad == "SAME_UPPER" else total - half)
    return begins, outs
