"""Moments of tensors inside a model, to hold measured ones against."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from bnopt.calibration.taps import Tap
from bnopt.evidence import Measured


def tap(graph: ir.Model, name: str, axis: int = 1, site: str | None = None) -> Tap:
    value = next(v for node in graph.graph for v in node.outputs if v.name == name)
    return Tap(site or name, value, axis)


def assert_moments(found: Measured, values: np.ndarray, axis: int = 1, rtol: float = 1e-5) -> None:
    exact = np.moveaxis(values.astype(np.float64), axis, 0)
    exact = exact.reshape(exact.shape[0], -1)
    assert found.count == exact.shape[1]
    deviation = exact.std(axis=1)
    # onnxruntime's optimizations round the tensor itself differently, by a unit or two.
    unit = 2 * np.finfo(values.dtype).eps * np.abs(exact).max(axis=1)
    assert (np.abs(np.array(found.mean) - exact.mean(axis=1)) <= rtol * deviation + unit).all()
    excess = np.abs(np.array(found.variance) - deviation**2)
    assert (excess <= rtol * deviation**2 + unit * (2 * deviation + unit)).all()


def showing(proto: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """The model with `names` as its outputs."""
    copy = onnx.ModelProto.FromString(proto.SerializeToString())
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy
