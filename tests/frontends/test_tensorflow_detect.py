"""Which kind of source a path is; no TensorFlow needed."""

from __future__ import annotations

import importlib.util
import zipfile

import pytest

from bnopt.errors import DependencyError, LoadError, UsageError
from bnopt.frontends.tensorflow.detect import Source, detect
from bnopt.frontends.tensorflow.run import convert

HDF5 = b"\x89HDF\r\n\x1a\n"


@pytest.fixture
def checkpoint(tmp_path):
    for end in (".meta", ".index", ".data-00000-of-00001"):
        (tmp_path / f"model.ckpt-7{end}").touch()
    return tmp_path / "model.ckpt-7"


def test_a_saved_model_is_known_by_its_folder_and_by_its_file(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    assert detect(tmp_path) == Source("saved-model", tmp_path)
    assert detect(tmp_path / "saved_model.pb") == Source("saved-model", tmp_path)


@pytest.mark.parametrize("end", ["", ".meta", ".index", ".data-00000-of-00001"])
def test_a_checkpoint_is_known_by_its_prefix_and_by_each_of_its_files(checkpoint, end):
    assert detect(f"{checkpoint}{end}") == Source("checkpoint", checkpoint)


@pytest.mark.parametrize(
    "written", ["model.ckpt-7", "/home/me/runs/model.ckpt-7", r"C:\\model.ckpt-7"]
)
def test_a_folder_of_checkpoints_names_the_newest_wherever_it_once_was(checkpoint, written):
    (checkpoint.parent / "checkpoint").write_text(
        f'model_checkpoint_path: "{written}"\nall_model_checkpoint_paths: "model.ckpt-6"\n'
    )
    assert detect(checkpoint.parent) == Source("checkpoint", checkpoint)


@pytest.mark.parametrize("text", ["", 'model_checkpoint_path: ""', "junk\0"])
def test_a_record_that_names_no_checkpoint(tmp_path, text):
    (tmp_path / "checkpoint").write_text(text)
    with pytest.raises(LoadError, match="names no checkpoint"):
        detect(tmp_path)


def test_a_checkpoint_without_its_graph_or_its_variables(checkpoint):
    meta, index = (checkpoint.with_name(checkpoint.name + end) for end in (".meta", ".index"))
    index.unlink()
    with pytest.raises(LoadError, match=r"there is no model\.ckpt-7\.index"):
        detect(checkpoint)
    index.touch()
    meta.unlink()
    with pytest.raises(LoadError, match=r"no graph.*SavedModel with the code"):
        detect(checkpoint)


@pytest.mark.parametrize(
    ("name", "start"), [("m.keras", b"PK\x03\x04"), ("m.h5", HDF5), ("M.HDF5", HDF5)]
)
def test_keras_files_are_known_by_name_and_first_bytes(tmp_path, name, start):
    path = tmp_path / name
    path.write_bytes(start)
    assert detect(path) == Source("keras", path)
    path.write_bytes(b"version https://git-lfs")
    with pytest.raises(LoadError, match="not a Keras model"):
        detect(path)


def test_any_other_protocol_buffer_is_a_frozen_graph(tmp_path):
    path = tmp_path / "graph.pb"
    path.touch()
    assert detect(path) == Source("frozen-graph", path)


def test_what_is_none_of_these(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(LoadError, match="not a model of TensorFlow"):
        detect(tmp_path / "notes.txt")
    with pytest.raises(LoadError, match="neither a SavedModel"):
        detect(tmp_path)
    with pytest.raises(LoadError, match="no such file"):
        detect(tmp_path / "absent.pb")


def test_a_name_that_no_file_can_have(tmp_path):
    with pytest.raises(LoadError, match=r"cannot be read: .* too long"):
        detect(tmp_path / ("m" * 300))


def test_the_kind_that_was_asked_for(tmp_path):
    path = tmp_path / "graph.pb"
    path.touch()
    assert detect(path, "frozen-graph").kind == "frozen-graph"
    with pytest.raises(LoadError, match="is a frozen-graph, not a keras"):
        detect(path, "keras")
    with pytest.raises(UsageError, match="unknown kind 'onnx'"):
        detect(path, "onnx")


def test_an_object_of_nobody_knows_what(tmp_path):
    with pytest.raises(UsageError, match="cannot export a dict"):
        convert({}, folder=tmp_path)


@pytest.mark.parametrize("sizes", [(), (0,), (1, -2)])
def test_batch_sizes_that_are_none(tmp_path, sizes):
    with pytest.raises(UsageError, match="batch sizes"):
        convert(tmp_path, folder=tmp_path, batch_sizes=sizes)


@pytest.mark.skipif(
    importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is installed"
)
def test_without_tensorflow_the_message_says_what_to_install(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(DependencyError, match=r"pip install 'bnopt\[tensorflow\]'"):
        convert(tmp_path / "m.keras", folder=tmp_path)
