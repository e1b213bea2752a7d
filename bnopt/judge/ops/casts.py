"""Casts of the real-number function: a cast between floating-point types changes nothing.

Casts to and from integers and booleans, and to the 8-bit floats (which quantize on purpose), are
carried out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
from onnx.reference.op_run import OpRun
from onnx.reference.ops.op_cast import cast_to

if TYPE_CHECKING:
    from numpy.typing import NDArray

_T = onnx.TensorProto
_FLOATS = frozenset({_T.FLOAT, _T.FLOAT16, _T.BFLOAT16, _T.DOUBLE})


def _cast(x: NDArray[Any], to: int, *, saturate: bool) -> NDArray[Any]:
    if to in _FLOATS:
        return x.astype(np.float64)
    return cast_to(x, cast("onnx.TensorProto.DataType", to), saturate)


class Cast(OpRun):
    """Cast, opsets 1 to 25."""

    def _run(
        self, x: NDArray[Any], *, to: Any, saturate: int | None = 1, round_mode: object = None
    ) -> tuple[NDArray[Any]]:
        # Before opset 6 the target is written as a name.
        code = _T.DataType.Value(to) if isinstance(to, str) else int(to)
        return (_cast(x, code, saturate=bool(saturate)),)


class CastLike(OpRun):
    """CastLike: the target's floating-point values are float64 here, whatever they were."""

    def _run(
        self,
        x: NDArray[Any],
        like: NDArray[Any],
        *,
        saturate: int | None = 1,
        round_mode: object = None,
    ) -> tuple[NDArray[Any]]:
        code = onnx.helper.np_dtype_to_tensor_dtype(like.dtype)
        return (_cast(x, code, saturate=bool(saturate)),)


class Softmax(OpRun):
    """Softmax before opset 13: over all axes from `axis` (default 1) on, taken as one."""

    def _run(self, x: NDArray[Any], *, axis: int | None = None) -> tuple[NDArray[Any]]:
        return (np.exp(_log_softmax(self, x)),)


class LogSoftmax(OpRun):
    """LogSoftmax before opset 13; see `Softmax`."""

    def _run(self, x: NDArray[Any], *, axis: int | None = None) -> tuple[NDArray[Any]]:
        return (_log_softmax(self, x),)


def _log_softmax(op: OpRun, x: NDArray[Any]) -> NDArray[Any]:
    # The evaluator fills in the newest schema's default (-1), so ask the node itself.
    written = [attribute.i for attribute in op.onnx_node.attribute if attribute.name == "axis"]
    axis = written[0] if written else 1
    rows = x.reshape(int(np.prod(x.shape[:axis] if axis >= 0 else x.shape[: x.ndim + axis])), -1)
    shifted = rows - rows.max(axis=1, keepdims=True)
    return (shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))).reshape(x.shape)
