"""Three small models with batch norms, for the tests of the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def conv_bn(*, training: bool = False, gamma: float = 1.5, blocks: int = 1) -> onnx.ModelProto:
    """`blocks` times Conv -> BatchNormalization -> Relu on (N, 3, 8, 8)."""
    random = np.random.default_rng(0)
    nodes, initializers, value = [], [], "x"
    for i in range(blocks):
        parameters = {
            f"w{i}": random.normal(size=(3, 3, 3, 3)) / 5,
            f"gamma{i}": np.full(3, gamma),
            f"beta{i}": random.normal(size=3),
            f"mean{i}": random.normal(size=3),
            f"var{i}": random.uniform(0.5, 2, size=3),
        }
        initializers += [
            numpy_helper.from_array(array.astype(np.float32), name)
            for name, array in parameters.items()
        ]
        names = list(parameters)
        outputs = [f"n{i}", f"m{i}", f"v{i}"] if training else [f"n{i}"]
        nodes += [
            helper.make_node(
                "Conv", [value, names[0]], [f"c{i}"], name=f"conv{i}", pads=[1, 1, 1, 1]
            ),
            helper.make_node(
                "BatchNormalization",
                [f"c{i}", *names[1:]],
                outputs,
                name=f"bn{i}",
                training_mode=int(training),
            ),
            helper.make_node("Relu", [f"n{i}"], [f"r{i}"], name=f"relu{i}"),
        ]
        value = f"r{i}"
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, ["N", 3, 8, 8])],
        initializers,
    )
    return helper.make_model(graph, ir_version=9, opset_imports=[helper.make_opsetid("", 17)])


def write(path: Path, model: onnx.ModelProto) -> Path:
    """Save `model` at `path`."""
    path.write_bytes(model.SerializeToString())
    return path
