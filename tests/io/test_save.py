"""The target is either what it was, or complete; nothing else is left in its folder."""

from __future__ import annotations

import hashlib
import os
import resource
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from io_models import WEIGHT, conv_model, names, refer, save_external
from onnx import TensorProto, helper

from bnopt.errors import InternalError, SaveError, UsageError
from bnopt.io import checker_complaint, from_proto, load, stage, to_proto


def small() -> ir.Model:
    return from_proto(conv_model())


def run(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.ones((1, 3, 8, 8), np.float32)})[0]


def test_commit_puts_one_file_there(tmp_path: Path) -> None:
    with stage(small(), tmp_path / "o.onnx", must_check=True) as staged:
        assert not (tmp_path / "o.onnx").exists()
        expected = run(staged.path)
        assert staged.commit() == tmp_path / "o.onnx"
    assert names(tmp_path) == ["o.onnx"]
    assert np.array_equal(run(tmp_path / "o.onnx"), expected)


def test_leaving_without_commit_discards(tmp_path: Path) -> None:
    (tmp_path / "o.onnx").write_bytes(b"old")
    with stage(small(), tmp_path / "o.onnx", external_data=True):
        assert len(names(tmp_path)) == 3
    assert names(tmp_path) == ["o.onnx"]
    assert (tmp_path / "o.onnx").read_bytes() == b"old"


def test_interrupt_discards(tmp_path: Path) -> None:
    def body() -> None:
        with stage(small(), tmp_path / "o.onnx", external_data=True):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        body()
    assert names(tmp_path) == []


def test_interrupt_while_writing_discards(tmp_path: Path) -> None:
    def interrupt() -> ir.TensorProtocol:
        raise KeyboardInterrupt

    model = small()
    lazy = ir.LazyTensor(interrupt, ir.DataType.FLOAT, ir.Shape([1000]), name="w")
    model.graph.initializers["w"].const_value = lazy
    with pytest.raises(KeyboardInterrupt):
        stage(model, tmp_path / "o.onnx", external_data=True)
    assert names(tmp_path) == []


def test_external_data_goes_beside_it(tmp_path: Path) -> None:
    with stage(small(), tmp_path / "o.onnx", external_data=True, must_check=True) as staged:
        run(staged.path)
        staged.commit()
    assert names(tmp_path) == ["o.onnx", "o.onnx.data"]
    assert (tmp_path / "o.onnx.data").read_bytes() == WEIGHT.tobytes()
    assert np.array_equal(
        onnx.numpy_helper.to_array(onnx.load(tmp_path / "o.onnx").graph.initializer[0]), WEIGHT
    )
    assert run(tmp_path / "o.onnx").shape == (1, 64, 6, 6)


def test_external_source_stays_external(tmp_path: Path) -> None:
    loaded = load(save_external(tmp_path))
    with stage(loaded.model, tmp_path / "o.onnx") as staged:
        staged.commit()
    assert names(tmp_path) == ["m.onnx", "o.onnx", "o.onnx.data", "w.bin"]


def test_external_source_can_become_inline(tmp_path: Path) -> None:
    loaded = load(save_external(tmp_path))
    other = tmp_path / "other"
    other.mkdir()
    with stage(loaded.model, other / "o.onnx", external_data=False) as staged:
        staged.commit()
    assert names(other) == ["o.onnx"]
    assert run(other / "o.onnx").shape == (1, 64, 6, 6)


def test_external_constant_of_a_function_is_carried_to_another_folder(tmp_path: Path) -> None:
    tensor = helper.make_tensor("v", TensorProto.FLOAT, WEIGHT.shape, WEIGHT.tobytes(), raw=True)
    refer(tensor, "w.bin")
    (tmp_path / "w.bin").write_bytes(WEIGHT.tobytes())
    opset = [helper.make_opsetid("", 17)]
    body = [helper.make_node("Constant", [], ["k"], value=tensor)]
    model = conv_model()
    model.functions.append(helper.make_function("local", "weight", [], ["k"], body, opset))
    model.opset_import.add(domain="local", version=1)
    model.graph.node.insert(0, helper.make_node("weight", [], ["w"], domain="local"))
    del model.graph.initializer[0]
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    other = tmp_path / "other"
    other.mkdir()
    loaded = load(tmp_path / "m.onnx").model
    for external in (False, True):
        with stage(loaded, other / f"{external}.onnx", external_data=external) as staged:
            staged.commit()
        again = load(other / f"{external}.onnx").model
        constant = next(iter(again.functions.values()))[0].attributes["value"].as_tensor()
        assert np.array_equal(constant.numpy(), WEIGHT)
    assert names(other) == ["False.onnx", "True.onnx", "True.onnx.data"]


def test_saving_over_its_own_source(tmp_path: Path) -> None:
    with stage(small(), tmp_path / "m.onnx", external_data=True) as staged:
        staged.commit()
    for turn in range(3):
        loaded = load(tmp_path / "m.onnx")
        with stage(loaded.model, tmp_path / "m.onnx", must_check=True) as staged:
            staged.commit()
        middle = ".1" if turn % 2 == 0 else ""
        assert names(tmp_path) == ["m.onnx", f"m.onnx{middle}.data"]
        weight = loaded.model.graph.initializers["w"].const_value
        assert weight is not None
        assert np.array_equal(weight.numpy(), WEIGHT)
    assert run(tmp_path / "m.onnx").shape == (1, 64, 6, 6)


def test_data_file_that_a_backup_needs_is_kept(tmp_path: Path) -> None:
    with stage(small(), tmp_path / "m.onnx", external_data=True) as staged:
        staged.commit()
    (tmp_path / "backup.onnx").write_bytes((tmp_path / "m.onnx").read_bytes())
    with stage(small(), tmp_path / "m.onnx") as staged:
        staged.commit()
    assert names(tmp_path) == ["backup.onnx", "m.onnx", "m.onnx.data"]
    assert run(tmp_path / "backup.onnx").shape == (1, 64, 6, 6)


def test_foreign_files_are_never_touched(tmp_path: Path) -> None:
    save_external(tmp_path)
    (tmp_path / "m.onnx.data").write_bytes(b"mine")
    loaded = load(tmp_path / "m.onnx")
    with stage(loaded.model, tmp_path / "m.onnx") as staged:
        staged.commit()
    assert names(tmp_path) == ["m.onnx", "m.onnx.1.data", "m.onnx.data", "w.bin"]
    assert (tmp_path / "m.onnx.data").read_bytes() == b"mine"


def test_model_is_the_same_afterwards(tmp_path: Path) -> None:
    model = load(save_external(tmp_path)).model
    for value in model.graph.initializers.values():
        assert value.const_value is not None
        value.const_value.name = f"tensor of {value.name}"
    tensors = [value.const_value for value in model.graph.initializers.values()]
    for external in (True, False):
        with stage(model, tmp_path / "o.onnx", external_data=external):
            pass
    to_proto(model)
    after = [value.const_value for value in model.graph.initializers.values()]
    assert [id(t) for t in after] == [id(t) for t in tensors]
    assert [t.name for t in after if t is not None] == ["tensor of w", "tensor of b"]


def test_shared_tensor_is_written_once(tmp_path: Path) -> None:
    model = small()
    weight = model.graph.initializers["w"].const_value
    twin = ir.Value(name="twin", const_value=weight)
    model.graph.register_initializer(twin)
    with stage(model, tmp_path / "o.onnx", external_data=True) as staged:
        staged.commit()
    assert (tmp_path / "o.onnx.data").stat().st_size == WEIGHT.nbytes
    assert [t.name for t in onnx.load(tmp_path / "o.onnx").graph.initializer] == ["w", "b", "twin"]


def test_mode_of_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with stage(small(), tmp_path / "o.onnx", external_data=True) as staged:
            staged.commit()
    finally:
        os.umask(before)
    for name in names(tmp_path):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o640


def test_mode_of_a_replaced_file_stays(tmp_path: Path, model_path: Path) -> None:
    model_path.chmod(0o604)
    with stage(small(), model_path) as staged:
        staged.commit()
    assert stat.S_IMODE(model_path.stat().st_mode) == 0o604


def test_rejected_by_the_checker(tmp_path: Path) -> None:
    model = small()
    model.graph[0].op_type = "NoSuchOperator"
    with pytest.raises(InternalError, match="NoSuchOperator"):
        stage(model, tmp_path / "o.onnx", must_check=True)
    assert names(tmp_path) == []
    with stage(model, tmp_path / "o.onnx", must_check=False) as staged:
        assert "NoSuchOperator" in str(checker_complaint(staged.path))


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("none/o.onnx", "there is no folder"),
        ("folder.onnx", "it is a directory"),
        ("link.onnx", "symbolic link"),
        ("pipe.onnx", "not a regular file"),
        ("file/o.onnx", "there is no folder"),
        ("a" * 300 + ".onnx", "name too long"),
        ("a" * 248 + ".onnx", "name too long"),
        ("o\0.onnx", "null"),
    ],
)
def test_bad_targets(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "link.onnx").symlink_to("folder.onnx")
    os.mkfifo(tmp_path / "pipe.onnx")
    (tmp_path / "file").write_bytes(b"")
    before = names(tmp_path)
    with pytest.raises(SaveError) as caught:
        stage(small(), tmp_path / name, external_data=True)
    assert says in caught.value.message.lower()
    assert "\n" not in caught.value.message
    assert names(tmp_path) == before


def test_extension(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        stage(small(), tmp_path / "o.txt")


_CHILD = """
import os, resource, signal, sys
from pathlib import Path
from bnopt.errors import SaveError
from bnopt.io import load, stage
model = load(sys.argv[1]).model
exec(sys.argv[3])
try:
    with stage(model, Path(sys.argv[2]), external_data=sys.argv[4] == "external") as staged:
        staged.commit()
except SaveError as error:
    print(error.message)
    raise SystemExit(2)
"""


def in_child(source: Path, target: Path, before: str, external: bool) -> str:
    """Save in a process of its own after `before`; the message of the SaveError it must raise."""
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, source, target, before, "external" if external else ""],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    return done.stdout


@pytest.mark.parametrize("external", [True, False])
def test_no_room_for_the_file(tmp_path: Path, model_path: Path, external: bool) -> None:
    limit = f"resource.setrlimit(resource.RLIMIT_FSIZE, ({500}, {resource.RLIM_INFINITY}))"
    message = in_child(model_path, tmp_path / "o.onnx", limit, external)
    assert "too large" in message
    assert names(tmp_path) == ["m.onnx"]


@pytest.mark.parametrize("external", [True, False])
def test_full_disk(tmp_path: Path, model_path: Path, external: bool) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4k,nr_inodes=20", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("this user cannot mount a small disk")
    try:
        message = in_child(model_path, disk / "o.onnx", "", external)
        assert "No space left" in message
        assert names(disk) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_folder_without_permission(tmp_path: Path, model_path: Path) -> None:
    folder = tmp_path / "shut"
    folder.mkdir(mode=0o555)
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    message = in_child(model_path, folder / "o.onnx", "", False)
    assert "Permission denied" in message
    assert names(folder) == []


@pytest.mark.parametrize("external", [True, False])
def test_bytes_do_not_depend_on_the_hash_seed(tmp_path: Path, external: bool) -> None:
    model = conv_model()
    for i in range(20):
        model.opset_import.add(domain=f"domain{i}", version=i + 1)
        model.metadata_props.add(key=f"key{i}", value=str(i))
    source = tmp_path / "m.onnx"
    source.write_bytes(model.SerializeToString())
    digests: set[str] = set()
    for seed in ("0", "1", "2"):
        folder = tmp_path / seed
        folder.mkdir()
        argument = "external" if external else ""
        subprocess.run(
            [sys.executable, "-c", _CHILD, source, folder / "o.onnx", "", argument],
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
        )
        content = b"".join((folder / name).read_bytes() for name in names(folder))
        digests.add(hashlib.sha256(content).hexdigest())
    assert len(digests) == 1


def materialised() -> ir.TensorProtocol:
    raise AssertionError("the whole tensor was asked for")


class Zeros(ir.LazyTensor):
    """Float zeros that are written as a hole and never in memory."""

    def __init__(self, name: str, elements: int) -> None:
        super().__init__(materialised, ir.DataType.FLOAT, ir.Shape([elements]), name=name)

    def tofile(self, file) -> None:
        file.seek(self.nbytes - 1, os.SEEK_CUR)
        file.write(b"\0")


def test_above_two_gigabytes(tmp_path: Path) -> None:
    model = small()
    for i in range(3):
        model.graph.register_initializer(
            ir.Value(name=f"z{i}", const_value=Zeros(f"z{i}", 400_000_000))
        )
    with stage(model, tmp_path / "o.onnx", must_check=True) as staged:
        staged.commit()
    assert (tmp_path / "o.onnx.data").stat().st_size == WEIGHT.nbytes + 3 * 1_600_000_000
    again = load(tmp_path / "o.onnx")
    last = again.model.graph.initializers["z2"].const_value
    assert last is not None
    assert last.nbytes == 1_600_000_000
    assert not last.numpy()[-10:].any()
    weight = again.model.graph.initializers["w"].const_value
    assert weight is not None
    assert np.array_equal(weight.numpy(), WEIGHT)


def test_above_two_gigabytes_inline_is_refused(tmp_path: Path) -> None:
    model = small()
    for i in range(2):
        value = ir.Value(name=f"z{i}", const_value=Zeros(f"z{i}", 400_000_000))
        model.graph.register_initializer(value)
    with pytest.raises(SaveError, match="2 GB"):
        to_proto(model)
    with pytest.raises(SaveError, match="2 GB"):
        stage(model, tmp_path / "o.onnx", external_data=False)
    assert names(tmp_path) == []
