from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from bnopt.errors import DataError
from bnopt.runtime.data import load_data
from bnopt.runtime.interface import TensorInfo

X = TensorInfo("x", "float", ("N", 3))
FIXED = TensorInfo("x", "float", (4, 3))


def samples(count: int, dtype: str = "float32") -> np.ndarray:
    return np.arange(count * 3, dtype=dtype).reshape(count, 3)


def test_npz_becomes_a_single_sample_and_batches(tmp_path):
    np.savez(tmp_path / "d.npz", x=samples(12))
    data = load_data(tmp_path / "d.npz", [X])
    assert [len(feed["x"]) for feed in data.feeds] == [1, 8, 3]
    np.testing.assert_array_equal(np.concatenate([f["x"] for f in data.feeds]), samples(12))
    assert data.notes == ()


def test_a_fixed_batch_is_filled_and_the_rest_is_told(tmp_path):
    np.savez(tmp_path / "d.npz", x=samples(10))
    data = load_data(tmp_path / "d.npz", [FIXED])
    assert [len(feed["x"]) for feed in data.feeds] == [4, 4]
    assert "2 samples do not fill a batch" in data.notes[0]
    np.savez(tmp_path / "few.npz", x=samples(3))
    with pytest.raises(DataError, match="3 samples, but the model's batch size is 4"):
        load_data(tmp_path / "few.npz", [FIXED])


def test_an_extra_leading_axis_holds_whole_feeds(tmp_path):
    np.savez(tmp_path / "d.npz", x=samples(8).reshape(2, 4, 3))
    assert [f["x"].shape for f in load_data(tmp_path / "d.npz", [FIXED]).feeds] == [(4, 3)] * 2


def test_the_cap_is_told(tmp_path):
    np.savez(tmp_path / "d.npz", x=samples(50))
    data = load_data(tmp_path / "d.npz", [X])
    assert sum(len(feed["x"]) for feed in data.feeds) == 32
    assert "first 32 of 50" in data.notes[0]


def test_float64_is_cast_and_told(tmp_path):
    np.savez(tmp_path / "d.npz", x=samples(2, "float64"))
    data = load_data(tmp_path / "d.npz", [X])
    assert data.feeds[0]["x"].dtype == np.float32
    assert "cast from float64 to float" in data.notes[0]


def test_a_model_zoo_folder(tmp_path):
    y = TensorInfo("y", "int64", (2,))
    for number in range(2):
        folder = tmp_path / f"test_data_set_{number}"
        folder.mkdir()
        for index, array in enumerate([samples(5) + number, np.array([1, 2])]):
            (folder / f"input_{index}.pb").write_bytes(
                numpy_helper.from_array(array).SerializeToString()
            )
    feeds = load_data(tmp_path, [X, y]).feeds
    np.testing.assert_array_equal(feeds[1]["x"], samples(5) + 1)
    assert feeds[0]["y"].tolist() == [1, 2]
    assert len(load_data(tmp_path / "test_data_set_0", [X, y]).feeds) == 1


def test_folders_of_arrays(tmp_path):
    np.save(tmp_path / "in_0.npy", samples(2))
    info = TensorInfo("in:0", "float", ("N", 3))
    assert sum(len(f["in:0"]) for f in load_data(tmp_path, [info]).feeds) == 2
    np.save(tmp_path / "more.npy", samples(2))
    (tmp_path / "in_0.npy").rename(tmp_path / "a.npy")
    assert sum(len(f["in:0"]) for f in load_data(tmp_path, [info]).feeds) == 4


def test_several_npz_are_joined(tmp_path):
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", x=samples(2))
    assert sum(len(f["x"]) for f in load_data(tmp_path, [X]).feeds) == 4


def test_a_function_and_an_iterable(tmp_path, monkeypatch):
    (tmp_path / "feeding.py").write_text(
        "import numpy as np\n"
        "def good():\n    yield {'x': np.zeros((2, 3), 'f')}\n"
        "def bad():\n    raise KeyError('oops')\n"
        "def odd():\n    return [1]\n"
    )
    monkeypatch.chdir(tmp_path)
    assert load_data("feeding:good", [X]).feeds[0]["x"].shape == (2, 3)
    assert load_data([{"x": samples(1)}], [X]).feeds[0]["x"].shape == (1, 3)
    for name, reason in [("bad", "KeyError"), ("odd", "expected dicts"), ("none", "Attribute")]:
        with pytest.raises(DataError, match=reason):
            load_data(f"feeding:{name}", [X])
    with pytest.raises(DataError, match="ModuleNotFoundError"):
        load_data("no_such_module:f", [X])


class _Bomb:
    def __reduce__(self):
        return (open, ("pwned", "w"))


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"z": samples(2)}, "unknown input z; missing input x .*inputs are: x"),
        ({"x": np.zeros((2, 4), "f")}, r"shape \(1, 4\), the model takes \(N, 3\)"),
        ({"x": np.zeros((2,), "f")}, "shape"),
        ({"x": np.zeros((0, 3), "f")}, "no samples"),
        ({"x": np.array([["a", "b", "c"]])}, "the model takes float"),
        ({"x": np.array([[_Bomb()] * 3], dtype=object)}, "Python objects"),
    ],
)
def test_bad_arrays_are_one_line(tmp_path, monkeypatch, arrays, reason):
    monkeypatch.chdir(tmp_path)
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(DataError, match=reason) as caught:
        load_data(tmp_path / "d.npz", [X])
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pwned").exists()


def test_bad_paths_and_files_are_one_line(tmp_path):
    with pytest.raises(DataError, match="no such file or folder"):
        load_data(tmp_path / "missing", [X])
    with pytest.raises(DataError, match=r"no test_data_set_\*"):
        load_data(tmp_path, [X])
    (tmp_path / "d.npz").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(DataError, match=r"d\.npz"):
        load_data(tmp_path / "d.npz", [X])
    (tmp_path / "d.txt").write_text("1")
    with pytest.raises(DataError, match=r"expected an \.npz"):
        load_data(tmp_path / "d.txt", [X])
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "input_0.pb").write_bytes(b"\xff\xff\xff")
    with pytest.raises(DataError, match="TensorProto"):
        load_data(tmp_path / "s", [X])


def test_integers_must_keep_their_value():
    k = TensorInfo("k", "int32", (2,))
    assert load_data([{"k": np.array([1, 2])}], [k]).feeds[0]["k"].dtype == np.int32
    with pytest.raises(DataError, match="the model takes int32"):
        load_data([{"k": np.array([1, 2**40])}], [k])
    with pytest.raises(DataError, match="the model takes int32"):
        load_data([{"k": np.array([1.5, 2.0])}], [k])
