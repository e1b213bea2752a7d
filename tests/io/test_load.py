"""Every way a file can be wrong is one line that names it."""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from io_models import conv_model
from onnx import TensorProto, helper, parser

from bnopt.errors import BnoptError, LoadError, UnsupportedModelError
from bnopt.io import from_proto, load, to_proto


def write(tmp_path: Path, model: onnx.ModelProto) -> Path:
    path = tmp_path / "bent.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def refused(path: Path, kind: type[LoadError] = LoadError) -> str:
    """The message, which must be one line and name the file."""
    with pytest.raises(LoadError) as caught:
        load(path)
    assert type(caught.value) is kind
    assert "\n" not in caught.value.message
    assert str(path) in caught.value.message
    return caught.value.message


def test_loads_by_bare_name_with_an_absolute_path(
    model_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model_path.parent)
    loaded = load("m.onnx")
    assert loaded.path == model_path
    assert loaded.file_bytes == model_path.stat().st_size
    assert not loaded.external_data
    assert [node.op_type for node in loaded.model.graph] == ["Conv", "Relu"]


def test_missing(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "none.onnx")


def test_directory(tmp_path: Path) -> None:
    (tmp_path / "d.onnx").mkdir()
    assert "directory" in refused(tmp_path / "d.onnx")


def test_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p.onnx")
    assert "not a regular file" in refused(tmp_path / "p.onnx")


def test_file_as_folder(model_path: Path) -> None:
    assert "cannot read" in refused(model_path / "x.onnx")


def test_name_too_long(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / ("a" * 300 + ".onnx"))


def test_wrong_extension(tmp_path: Path, model_path: Path) -> None:
    other = model_path.rename(tmp_path / "m.txt")
    assert "does not end in .onnx" in refused(other)


def test_pb_is_read(tmp_path: Path, model_path: Path) -> None:
    assert load(model_path.rename(tmp_path / "m.pb")).model.graph.num_nodes() == 2


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"ir_version: 8\ngraph { }\n", "text file"),
        (b"hello\n", "text file"),
        ("größe".encode(), "text file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "git lfs pull"),
        (b"\x00\x01\x02\x03" * 50, "not an ONNX model"),
        (b"PK\x03\x04" + b"\x00" * 100, "not an ONNX model"),
    ],
)
def test_not_a_model(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert says in refused(path)


def test_unreadable(model_path: Path) -> None:
    model_path.chmod(0)
    if os.access(model_path, os.R_OK):
        pytest.skip("this user reads every file")
    assert "ermission" in refused(model_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated(model_path: Path, share: float) -> None:
    content = model_path.read_bytes()
    model_path.write_bytes(content[: int(len(content) * share)])
    refused(model_path)


def test_random_damage_is_never_a_traceback(model_path: Path) -> None:
    content = conv_model(np.ones((1, 1, 1, 1), np.float32)).SerializeToString()
    dice = random.Random(0)
    refusals = 0
    for _ in range(300):
        bent = bytearray(content)
        for _ in range(dice.randint(1, 4)):
            bent[dice.randrange(len(bent))] = dice.randrange(256)
        model_path.write_bytes(bent)
        try:
            load(model_path)
        except BnoptError:
            refusals += 1
    assert refusals > 100


def test_empty_graph(tmp_path: Path) -> None:
    model = conv_model()
    del model.graph.node[:]
    assert "empty graph" in refused(write(tmp_path, model))


def test_no_graph(tmp_path: Path) -> None:
    model = conv_model()
    model.ClearField("graph")
    assert "no graph" in refused(write(tmp_path, model))


def test_no_opset(tmp_path: Path) -> None:
    model = conv_model()
    del model.opset_import[:]
    assert "no operator set" in refused(write(tmp_path, model))


def bent_models() -> dict[str, tuple[onnx.ModelProto, str]]:
    """Models with one thing that would be lost or misread, and what the message must name."""
    bent: dict[str, tuple[onnx.ModelProto, str]] = {}

    def add(name: str, says: str) -> onnx.ModelProto:
        bent[name] = (conv_model(), says)
        return bent[name][0]

    sparse = add("sparse initializer", "sparse_initializer").graph.sparse_initializer.add()
    sparse.values.name = "s"
    add("training info", "training_info").training_info.add()
    model = add("duplicate initializer", "'w'")
    model.graph.initializer.add().CopyFrom(model.graph.initializer[0])
    add("unnamed initializer", "no name").graph.initializer[1].name = ""
    add("duplicate output", "'c'").graph.node[1].output[0] = "c"
    add("output over input", "'x'").graph.node[1].output[0] = "x"
    model = add("duplicate input", "'x'")
    model.graph.input.add().CopyFrom(model.graph.input[0])
    add("dangling output", "'nowhere'").graph.output[0].name = "nowhere"
    add("undefined input", "'nothing'").graph.node[0].input[1] = "nothing"
    model = add("duplicate opset", "'ai.onnx'")
    model.opset_import.add(domain="ai.onnx", version=12)
    model = add("duplicate attribute", "'group'")
    for group in (1, 2):
        model.graph.node[0].attribute.append(helper.make_attribute("group", group))
    model = add("attribute without type", "'group'")
    model.graph.node[0].attribute.add(name="group", i=1)
    model = add("unknown data type", "data type 99")
    model.graph.initializer[0].data_type = 99
    model = add("function twice", "'local::f'")
    for _ in range(2):
        model.functions.append(
            helper.make_function(
                "local", "f", ["a"], ["b"], [helper.make_node("Neg", "a", "b")], []
            )
        )
    model = add("sparse attribute", "sparse tensor")
    attribute = model.graph.node.add(op_type="Constant", output=["k"]).attribute.add()
    attribute.name, attribute.type = "sparse_value", onnx.AttributeProto.SPARSE_TENSOR
    return bent


@pytest.mark.parametrize("case", sorted(bent_models()))
def test_refuses_what_would_be_lost(tmp_path: Path, case: str) -> None:
    model, says = bent_models()[case]
    assert says in refused(write(tmp_path, model), UnsupportedModelError)
    with pytest.raises(UnsupportedModelError):
        from_proto(model)


@pytest.mark.parametrize("inside", ["subgraph", "function"])
@pytest.mark.parametrize("what", ["duplicate output", "sparse initializer"])
def test_looks_into_every_scope(tmp_path: Path, inside: str, what: str) -> None:
    model = parser.parse_model("""
        <ir_version: 9, opset_import: ["": 17]>
        g (bool q, float[2] x) => (float[2] y) {
          y = If (q) <
            then_branch = a () => (float[2] t) { t = Neg (x) },
            else_branch = b () => (float[2] e) { e = Abs (x) }
          >
        }""")
    branch = model.graph.node[0].attribute[0].g
    if what == "duplicate output":
        branch.node.add().CopyFrom(branch.node[0])
    else:
        branch.sparse_initializer.add().values.name = "s"
    if inside == "function":
        node = model.graph.node[0]
        function = helper.make_function(
            "local", "f", ["q", "x"], ["y"], [node], [helper.make_opsetid("", 17)]
        )
        model.functions.append(function)
        model.opset_import.add(domain="local", version=1)
        node.CopyFrom(helper.make_node("f", ["q", "x"], ["y"], domain="local"))
    message = refused(write(tmp_path, model), UnsupportedModelError)
    assert "then_branch" in message


def test_tensor_of_the_wrong_size(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.initializer[0].raw_data = b"1234"
    assert "'w'" in refused(write(tmp_path, model))


def test_tensor_without_data(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.initializer[0].ClearField("raw_data")
    assert "no data" in refused(write(tmp_path, model))


def test_newer_versions_pass(tmp_path: Path) -> None:
    model = conv_model()
    model.ir_version = 999
    model.opset_import[0].version = 999
    assert load(write(tmp_path, model)).model.ir_version == 999


def test_newer_versions_with_unknown_fields_do_not(tmp_path: Path) -> None:
    model = conv_model()
    model.ir_version = 999
    path = write(tmp_path, model)
    path.write_bytes(path.read_bytes() + bytes([0xFA, 0x06, 0x01, 0x00]))
    assert "upgrade" in refused(path, UnsupportedModelError)


def test_map_typed_output_is_carried_along(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.node.append(
        helper.make_node("ZipMap", ["y"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    )
    model.opset_import.add(domain="ai.onnx.ml", version=1)
    values = helper.make_map_type_proto(
        TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    kind = helper.make_sequence_type_proto(values)
    for place in (model.graph.output, model.graph.value_info):
        place.append(helper.make_value_info("z", kind))
    loaded = load(write(tmp_path, model))
    assert to_proto(loaded.model.clone()).graph.output[1].type == kind


def test_output_declared_twice_keeps_both_declarations(tmp_path: Path) -> None:
    model = conv_model()
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 3]))
    loaded = load(write(tmp_path, model))
    assert loaded.model.graph.outputs[0].shape is None
    assert list(to_proto(loaded.model).graph.output) == list(model.graph.output)


def test_proto_is_not_changed_by_renaming_a_tensor() -> None:
    proto = conv_model()
    before = proto.SerializeToString()
    model = from_proto(proto)
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        value.const_value.name = "renamed"
    assert proto.SerializeToString() == before


def test_proto_with_external_data_is_refused() -> None:
    model = conv_model()
    model.graph.initializer[0].ClearField("raw_data")
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL
    with pytest.raises(UnsupportedModelError, match="external data"):
        from_proto(model)


@pytest.mark.parametrize("enabled", [True, False])
def test_collector_is_as_before(model_path: Path, enabled: bool) -> None:
    (gc.enable if enabled else gc.disable)()
    try:
        load(model_path)
        assert gc.isenabled() is enabled
        with pytest.raises(LoadError):
            load(model_path.parent)
        assert gc.isenabled() is enabled
    finally:
        gc.enable()


@pytest.mark.corpus
def test_corpus_survives_a_round_trip(corpus_models: list[Path]) -> None:
    for path in corpus_models:
        before = onnx.load(path)
        after = to_proto(load(path).model)
        for model in (before, after):
            for node in model.graph.node:
                if not node.domain:
                    node.ClearField("domain")
        assert list(after.graph.initializer) == list(before.graph.initializer), path.name
        assert list(after.graph.output) == list(before.graph.output), path.name
        assert list(after.graph.input) == list(before.graph.input), path.name
        if not any(
            a.type == onnx.AttributeProto.GRAPH for n in before.graph.node for a in n.attribute
        ):
            # Nodes in the wrong order are put in order (test_order.py); each stays as it was.
            nodes = [sorted(m.graph.node, key=lambda n: n.output[0]) for m in (after, before)]
            assert nodes[0] == nodes[1], path.name


def test_model_is_an_onnx_ir_model(model_path: Path) -> None:
    assert isinstance(load(model_path).model, ir.Model)
