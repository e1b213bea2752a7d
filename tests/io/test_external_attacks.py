"""A folder of attacks: external data that must not be read, and some that must."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from io_models import WEIGHT, conv_model, refer, save_external
from onnx import TensorProto, helper

from bnopt.errors import LoadError, UnsafePathError, UnsupportedModelError
from bnopt.io import load, to_proto
from bnopt.io.external import MappedTensor


def refused(path: Path, kind: type[LoadError]) -> str:
    with pytest.raises(LoadError) as caught:
        load(path)
    assert type(caught.value) is kind, caught.value
    assert "\n" not in caught.value.message
    assert "'w'" in caught.value.message
    return caught.value.message


def weight_of(model: ir.Model) -> ir.TensorProtocol:
    tensor = model.graph.initializers["w"].const_value
    assert tensor is not None
    return tensor


@pytest.mark.parametrize(
    "location",
    [
        "/etc/passwd",
        "../secret.bin",
        "sub/../../secret.bin",
        "sub/../w.bin",
        "..",
        "..\\secret.bin",
        "C:\\secret.bin",
        "\\\\server\\share\\secret.bin",
    ],
)
def test_path_outside_the_folder(tmp_path: Path, location: str) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "models"
    (folder / "sub").mkdir(parents=True)
    refused(save_external(folder, location), UnsafePathError)


def test_link_out_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    assert "symbolic link" in refused(save_external(folder, "link.bin"), UnsafePathError)


def test_linked_folder_out_of_the_folder(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "w.bin").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "models"
    folder.mkdir()
    (folder / "sub").symlink_to(outside)
    refused(save_external(folder, "sub/w.bin"), UnsafePathError)


def test_link_inside_the_folder_is_read(tmp_path: Path) -> None:
    path = save_external(tmp_path, "link.bin")
    (tmp_path / "link.bin").symlink_to("w.bin")
    assert np.array_equal(weight_of(load(path).model).numpy(), WEIGHT)


def test_link_to_itself(tmp_path: Path) -> None:
    path = save_external(tmp_path, "loop.bin")
    (tmp_path / "loop.bin").symlink_to("loop.bin")
    refused(path, LoadError)


def test_hard_link(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    folder = tmp_path / "models"
    folder.mkdir()
    os.link(tmp_path / "secret.bin", folder / "hard.bin")
    assert "hard links" in refused(save_external(folder, "hard.bin"), UnsafePathError)


@pytest.mark.parametrize("location", ["none.bin", "none/w.bin", "w.bin/x", "a" * 300])
def test_missing(tmp_path: Path, location: str) -> None:
    refused(save_external(tmp_path, location), LoadError)


@pytest.mark.parametrize("location", ["", "w.bin\0.png"])
def test_unusable_location(tmp_path: Path, location: str) -> None:
    refused(save_external(tmp_path, location), LoadError)


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    assert "regular file" in refused(save_external(tmp_path, "d"), LoadError)


def test_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "regular file" in refused(save_external(tmp_path, "pipe"), LoadError)


@pytest.mark.parametrize(
    "extra",
    [
        {"offset": "-4"},
        {"length": "-4"},
        {"offset": "4"},
        {"offset": "99999999999999999999"},
        {"length": "4"},
        {"length": str(WEIGHT.nbytes + 4)},
        {"offset": "0x10"},
        {"length": "many"},
        {"offset": ""},
    ],
)
def test_extent(tmp_path: Path, extra: dict[str, str]) -> None:
    refused(save_external(tmp_path, **extra), LoadError)


def test_shorter_than_its_shape(tmp_path: Path) -> None:
    path = save_external(tmp_path)
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes()[:-1])
    assert "truncated" in refused(path, LoadError)


def test_strings_cannot_be_external(tmp_path: Path) -> None:
    path = save_external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    model.graph.initializer[0].data_type = TensorProto.STRING
    path.write_bytes(model.SerializeToString())
    refused(path, LoadError)


def attribute_model(where: str) -> onnx.ModelProto:
    """The weight as a Constant's value: in the main graph, a subgraph or a function."""
    tensor = helper.make_tensor("w", TensorProto.FLOAT, WEIGHT.shape, WEIGHT.tobytes(), raw=True)
    refer(tensor, "../w.bin")
    constant = helper.make_node("Constant", [], ["k"], name="'w'", value=tensor)
    model = conv_model()
    if where == "main graph":
        model.graph.node.append(constant)
    elif where == "function":
        functions = [helper.make_function("local", "f", [], ["k"], [constant], [])]
        model.functions.extend(functions)
    else:
        body = helper.make_graph(
            [constant], "body", [], [helper.make_tensor_value_info("k", TensorProto.FLOAT, None)]
        )
        model.graph.node.append(
            helper.make_node("If", ["x"], ["z"], then_branch=body, else_branch=body)
        )
    return model


@pytest.mark.parametrize("where", ["main graph", "function", "subgraph"])
def test_looks_into_attributes_everywhere(tmp_path: Path, where: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(attribute_model(where).SerializeToString())
    refused(path, UnsafePathError)


def test_external_default_of_a_function_attribute(tmp_path: Path) -> None:
    model = conv_model()
    function = helper.make_function("local", "f", ["k"], ["k"], [], [])
    default = function.attribute_proto.add()
    tensor = helper.make_tensor("'w'", TensorProto.FLOAT, WEIGHT.shape, WEIGHT.tobytes(), raw=True)
    refer(tensor, "w.bin")
    default.CopyFrom(helper.make_attribute("'w'", tensor))
    model.functions.append(function)
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    refused(path, UnsupportedModelError)


def test_reads_values_offsets_and_sizes(tmp_path: Path) -> None:
    path = save_external(tmp_path, offset="4", length=str(WEIGHT.nbytes))
    (tmp_path / "w.bin").write_bytes(b"\xff" * 4 + WEIGHT.tobytes() + b"\xff" * 4)
    loaded = load(path)
    tensor = weight_of(loaded.model)
    assert np.array_equal(tensor.numpy(), WEIGHT)
    assert tensor.tobytes() == WEIGHT.tobytes()
    assert loaded.data_files == (tmp_path / "w.bin",)
    assert loaded.file_bytes == path.stat().st_size + WEIGHT.nbytes + 8
    assert to_proto(loaded.model).graph.initializer[0].raw_data == WEIGHT.tobytes()


@pytest.mark.parametrize(
    "dtype", [ir.DataType.BFLOAT16, ir.DataType.FLOAT8E4M3FN, ir.DataType.INT4, ir.DataType.UINT2]
)
def test_reads_small_dtypes(tmp_path: Path, dtype: ir.DataType) -> None:
    values = ir.tensor(np.ones(5, np.float32).astype(dtype.numpy()), dtype=dtype, name="w")
    model = conv_model()
    model.graph.initializer[0].CopyFrom(ir.to_proto(values))
    refer(model.graph.initializer[0], "w.bin")
    (tmp_path / "w.bin").write_bytes(values.tobytes())
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    tensor = weight_of(load(tmp_path / "m.onnx").model)
    assert np.array_equal(tensor.numpy(), values.numpy())
    assert tensor.tobytes() == values.tobytes()


def test_empty_tensor_and_empty_file(tmp_path: Path) -> None:
    model = conv_model()
    tensor = helper.make_tensor("e", TensorProto.FLOAT, [0, 3], b"", raw=True)
    refer(tensor, "e.bin")
    model.graph.initializer.append(tensor)
    (tmp_path / "e.bin").write_bytes(b"")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    loaded = load(tmp_path / "m.onnx").model
    value = loaded.graph.initializers["e"].const_value
    assert value is not None
    assert value.numpy().shape == (0, 3)
    assert value.tobytes() == b""


def test_survives_removal_of_the_data_file(tmp_path: Path) -> None:
    loaded = load(save_external(tmp_path))
    (tmp_path / "w.bin").unlink()
    assert np.array_equal(weight_of(loaded.model).numpy(), WEIGHT)


def test_many_tensors_need_one_descriptor(tmp_path: Path) -> None:
    model = conv_model()
    for i in range(2000):
        tensor = helper.make_tensor(f"k{i}", TensorProto.FLOAT, [1], b"\0" * 4, raw=True)
        refer(tensor, "k.bin", offset=str(4 * i), length="4")
        model.graph.initializer.append(tensor)
    np.arange(2000, dtype=np.float32).tofile(tmp_path / "k.bin")
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    before = len(os.listdir("/proc/self/fd"))
    loaded = load(tmp_path / "m.onnx").model
    total = sum(
        float(value.const_value.numpy()[0])
        for name, value in loaded.graph.initializers.items()
        if name.startswith("k") and value.const_value is not None
    )
    assert total == sum(range(2000))
    assert len(os.listdir("/proc/self/fd")) <= before + 2


def test_first_use_from_many_threads(tmp_path: Path) -> None:
    tensor = weight_of(load(save_external(tmp_path)).model)
    assert isinstance(tensor, MappedTensor)
    failures: list[BaseException] = []
    barrier = threading.Barrier(8)

    def read() -> None:
        barrier.wait()
        try:
            assert np.array_equal(tensor.numpy(), WEIGHT)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
