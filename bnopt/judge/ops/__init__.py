"""Operators of the float64 reference that replace onnx's own: too slow there, wrong, or in float32.

Each is a class named after its operator, as `onnx.reference` wants it.
"""

from __future__ import annotations

from bnopt.judge.ops.casts import Cast, CastLike, LogSoftmax, Softmax
from bnopt.judge.ops.control import Loop
from bnopt.judge.ops.conv import Conv, ConvTranspose
from bnopt.judge.ops.normalization import LRN, BatchNormalization
from bnopt.judge.ops.pool import AveragePool, GlobalMaxPool, LpPool, MaxPool
from bnopt.judge.ops.quantized import (
    ConvInteger,
    DequantizeLinear,
    DynamicQuantizeLinear,
    MatMulInteger,
    QLinearConv,
    QLinearMatMul,
)
from bnopt.judge.ops.shapes import OneHot, Unsqueeze
from bnopt.judge.ops.upsample import Upsample

OPERATORS = (
    AveragePool,
    BatchNormalization,
    Cast,
    CastLike,
    Conv,
    ConvInteger,
    ConvTranspose,
    DequantizeLinear,
    DynamicQuantizeLinear,
    GlobalMaxPool,
    LRN,
    Loop,
    LpPool,
    MatMulInteger,
    MaxPool,
    OneHot,
    QLinearConv,
    QLinearMatMul,
    Unsqueeze,
    Upsample,
)

BEFORE_OPSET_13 = (LogSoftmax, Softmax)
"""Their meaning changed with opset 13; from there on onnx's own are right."""
