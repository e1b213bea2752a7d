"""Generated models for `tools/scale.py`: few huge weights, or very many small ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SEED = 3
CHANNELS = 1024
WIDTH = 4096
BLOCK = 1 << 21  # float32 values written at a time, 8 MiB


class ExternalData:
    """Writes tensors one behind the other into a data file, 4 KiB aligned, a block at a time.

    One block of random values is written over and over: the model must be large, not random.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("wb")
        self.block = np.random.default_rng(SEED).standard_normal(BLOCK, dtype=np.float32)

    def tensor(self, name: str, dims: tuple[int, ...], std: float) -> TensorProto:
        """An initializer of that shape in the data file, normal with deviation `std`."""
        offset = -(-self.file.tell() // 4096) * 4096
        self.file.seek(offset)
        count = int(np.prod(dims))
        scaled = self.block * np.float32(std)
        for start in range(0, count, BLOCK):
            self.file.write(scaled[: min(BLOCK, count - start)].tobytes())
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=dims)
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (
            ("location", self.path.name),
            ("offset", str(offset)),
            ("length", str(4 * count)),
        ):
            tensor.external_data.add(key=key, value=value)
        return tensor


def statistics(prefix: str, channels: int, rng: np.random.Generator) -> list[TensorProto]:
    """Scale, bias, mean and variance of one batch norm, away from their initial values."""
    values = {
        "gamma": rng.uniform(0.5, 1.5, channels),
        "beta": rng.normal(0, 0.1, channels),
        "mean": rng.normal(0, 0.5, channels),
        "var": rng.uniform(0.5, 2.0, channels),
    }
    return [
        numpy_helper.from_array(value.astype(np.float32), f"{prefix}.{name}")
        for name, value in values.items()
    ]


def write(path: Path, size: int) -> int:
    """Number of batch norms of a model of `size` bytes, its weights in external data beside it.

    Half the bytes are 3x3 Convs of 1024 channels, half 4096 x 4096 Gemms, a batch norm behind each.
    """
    rng = np.random.default_rng(SEED)
    data = ExternalData(path.with_suffix(".data"))
    convs = -(-size // (2 * CHANNELS * CHANNELS * 9 * 4))
    gemms = -(-size // (2 * WIDTH * WIDTH * 4))
    weights: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    value = "image"

    def pair(op: str, index: int, dims: tuple[int, ...], fan_in: int, **attributes: object) -> None:
        nonlocal value
        name = f"{op.lower()}{index}"
        own = statistics(name, dims[0], rng)
        weights.extend([data.tensor(f"{name}.weight", dims, fan_in**-0.5), *own])
        nodes.append(helper.make_node(op, [value, f"{name}.weight"], [f"{name}.y"], **attributes))
        inputs = [f"{name}.y", *(tensor.name for tensor in own)]
        nodes.append(helper.make_node("BatchNormalization", inputs, [f"{name}.n"]))
        value = f"{name}.n"

    for index in range(convs):
        pair("Conv", index, (CHANNELS, CHANNELS, 3, 3), 9 * CHANNELS, pads=[1, 1, 1, 1])
    nodes.append(helper.make_node("GlobalAveragePool", [value], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["features"]))
    value = "features"
    for index in range(gemms):
        fan_in = WIDTH if index else CHANNELS
        pair("Gemm", index, (WIDTH, fan_in), fan_in, transB=1)
    data.file.close()
    _save(path, nodes, weights, ["N", CHANNELS, 4, 4], value, ["N", WIDTH])
    return convs + gemms


def write_chain(path: Path, pairs: int) -> None:
    """`pairs` times 1x1 Conv + BN on four channels."""
    rng = np.random.default_rng(SEED)
    weights: list[TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    value = "image"
    for index in range(pairs):
        weight = rng.normal(0, 0.5, (4, 4, 1, 1)).astype(np.float32)
        own = statistics(f"n{index}", 4, rng)
        weights.extend([numpy_helper.from_array(weight, f"w{index}"), *own])
        nodes.append(helper.make_node("Conv", [value, f"w{index}"], [f"c{index}"]))
        inputs = [f"c{index}", *(tensor.name for tensor in own)]
        nodes.append(helper.make_node("BatchNormalization", inputs, [f"b{index}"]))
        value = f"b{index}"
    _save(path, nodes, weights, ["N", 4, 2, 2], value, ["N", 4, 2, 2])


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: list[TensorProto],
    input_shape: list[object],
    output: str,
    output_shape: list[object],
) -> None:
    graph = helper.make_graph(
        nodes,
        "generated",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, output_shape)],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
