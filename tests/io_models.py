"""A small model, and ways to bend it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHT = np.arange(64 * 3 * 3 * 3, dtype=np.float32).reshape(64, 3, 3, 3)


def conv_model(weight: np.ndarray = WEIGHT) -> onnx.ModelProto:
    """Conv -> Relu, with a weight and a bias."""
    channels = weight.shape[0]
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv"),
            helper.make_node("Relu", ["c"], ["y"], name="relu"),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", weight.shape[1], 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", channels, 6, 6])],
        [
            numpy_helper.from_array(weight, "w"),
            numpy_helper.from_array(np.ones(channels, np.float32), "b"),
        ],
    )
    return helper.make_model(
        graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)], producer_name="test"
    )


def save_external(folder: Path, location: str = "w.bin", **extra: str) -> Path:
    """The model with `w` in `w.bin`, referred to as `location`, with extra reference entries."""
    model = conv_model()
    (folder / "w.bin").write_bytes(WEIGHT.tobytes())
    refer(model.graph.initializer[0], location, **extra)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refer(tensor: onnx.TensorProto, location: str, **extra: str) -> None:
    """Turn a tensor into a reference to external data."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **extra}.items():
        tensor.external_data.add(key=key, value=value)


def names(folder: Path) -> list[str]:
    """What stands in a folder."""
    return sorted(entry.name for entry in folder.iterdir())
