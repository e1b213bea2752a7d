from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tracemalloc
import zipfile
from itertools import count

import numpy as np
import pytest
from onnx import numpy_helper

from bnopt.errors import DataError, UsageError
from bnopt.runtime import samples as samples_module
from bnopt.runtime.data import data_source, load_data
from bnopt.runtime.datafiles import NpyFiles, NpzFile
from bnopt.runtime.dataset import count_samples, open_dataset
from bnopt.runtime.images import ImageFolder
from bnopt.runtime.interface import TensorInfo

X = TensorInfo("x", "float", ("N", 3))
Y = TensorInfo("y", "int64", ("N",))
K = TensorInfo("k", "float", (2,))
FIXED = TensorInfo("x", "float", (4, 3))


def rows(count: int, start: int = 0, dtype: str = "float32") -> np.ndarray:
    """Row i holds 3i, 3i+1, 3i+2."""
    return np.arange(start * 3, (start + count) * 3, dtype=dtype).reshape(count, 3)


def numbers(dataset, *bounds) -> list[list[int]]:
    return [(feed["x"][:, 0] / 3).astype(int).tolist() for feed in dataset.feeds(*bounds)]


def flat(dataset) -> list[int]:
    return [number for feed in numbers(dataset) for number in feed]


def feed_file(folder, text: str, monkeypatch) -> None:
    (folder / "feeding_here.py").write_text("import numpy as np\n" + text)
    monkeypatch.chdir(folder)
    monkeypatch.delitem(sys.modules, "feeding_here", raising=False)


def module_feeds():
    yield {"x": rows(3)}
    yield {"x": rows(2, 3)}


def folder_of(kind: str, folder):
    """23 samples in files of 10, 0, 9 and 4, in every form that joins files."""
    start = 0
    for name, size in zip("abcd", (10, 0, 9, 4), strict=True):
        if kind == "npy":
            np.save(folder / f"{name}.npy", rows(size, start))
        else:
            save = np.savez if kind == "npz" else np.savez_compressed
            save(folder / f"{name}.npz", x=rows(size, start))
        start += size
    return folder


@pytest.fixture(params=["npz", "compressed", "npy", "file", "mapping", "array"])
def any_samples(request, tmp_path):
    if request.param == "file":
        np.savez(tmp_path / "d.npz", x=rows(23))
        return tmp_path / "d.npz"
    if request.param == "array":
        np.save(tmp_path / "d.npy", np.asfortranarray(rows(23)))
        return str(tmp_path / "d.npy")
    return {"x": rows(23)} if request.param == "mapping" else folder_of(request.param, tmp_path)


class TestBatches:
    def test_samples_come_in_order_in_batches(self, any_samples):
        dataset = open_dataset(any_samples, [X], batch_size=5)
        assert [len(feed) for feed in numbers(dataset)] == [5, 5, 5, 5, 3]
        assert flat(dataset) == list(range(23))
        assert (dataset.total, dataset.samples, dataset.batch_size) == (5, 23, 5)
        assert dataset.notes == ()
        assert dataset.by_reference == (not isinstance(any_samples, dict))

    def test_a_slice_is_a_slice_of_all(self, any_samples):
        dataset = open_dataset(any_samples, [X], batch_size=5, seed=1)
        whole = numbers(dataset)
        for bounds in [(0, 2), (2, 4), (4, 9), (3, None), (5, 6), (2, 2)]:
            assert numbers(dataset, *bounds) == whole[slice(*bounds)]

    def test_a_pickled_one_is_the_same(self, any_samples, tmp_path, monkeypatch):
        dataset = open_dataset(any_samples, [X], batch_size=5, seed=3, max_samples=17)
        whole = numbers(dataset)
        payload = pickle.dumps(dataset)
        monkeypatch.chdir("/")
        copy = pickle.loads(payload)
        assert numbers(copy) == whole
        assert (copy.total, copy.samples, copy.notes) == (4, 17, dataset.notes)
        assert len(payload) < 4000

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_a_pickled_one_holds_no_data(self, tmp_path, monkeypatch, save):
        save(tmp_path / "d.npz", x=rows(5000))
        monkeypatch.chdir(tmp_path)
        dataset = open_dataset("d.npz", [X])
        whole = flat(dataset)
        payload = pickle.dumps(dataset)
        assert len(payload) < 2000
        monkeypatch.chdir("/")
        assert flat(pickle.loads(payload)) == whole

    def test_the_seed_draws_before_the_cut(self, any_samples):
        order = np.random.default_rng(7).permutation(23)[:9].tolist()
        dataset = open_dataset(any_samples, [X], seed=7, max_samples=9, batch_size=4)
        assert flat(dataset) == order
        assert flat(dataset) == order
        assert dataset.notes == (
            f"data '{dataset.where}': only the 9 (seed 7) of 23 samples were used",
        )

    def test_what_fills_no_fixed_batch_is_left_out_and_told(self, any_samples):
        dataset = open_dataset(any_samples, [FIXED], max_samples=14, batch_size=4)
        assert flat(dataset) == list(range(12))
        assert (dataset.total, dataset.samples, dataset.batch_size) == (3, 12, 4)
        assert "first 14 of 23" in dataset.notes[0]
        assert "2 samples do not fill a batch" in dataset.notes[1]

    def test_the_default_batch_is_32(self):
        dataset = open_dataset({"x": rows(70)}, [X])
        assert [len(feed) for feed in numbers(dataset)] == [32, 32, 6]

    def test_several_inputs_stay_together(self, tmp_path):
        for part in range(3):
            y = np.arange(part * 4, part * 4 + 4)
            np.savez(tmp_path / f"{part}.npz", x=rows(4, part * 4), y=y)
        for feed in open_dataset(tmp_path, [X, Y], batch_size=5, seed=0).feeds():
            np.testing.assert_array_equal(feed["x"][:, 0] / 3, feed["y"])

    def test_files_of_other_dtypes_join(self, tmp_path):
        np.save(tmp_path / "a.npy", rows(2, dtype="float64"))
        np.save(tmp_path / "b.npy", rows(2, 2, dtype="int32"))
        dataset = open_dataset(tmp_path, [X])
        assert flat(dataset) == [0, 1, 2, 3]
        assert "cast from float64 to float" in dataset.notes[0]

    def test_another_process_shuffles_alike(self, tmp_path):
        np.savez(tmp_path / "d.npz", x=rows(50))
        code = (
            "import sys, pickle; from bnopt.runtime.dataset import open_dataset;"
            "from bnopt.runtime.interface import TensorInfo;"
            "d = open_dataset(sys.argv[1], [TensorInfo('x', 'float', ('N', 3))], seed=5);"
            "print([int(v) for f in d.feeds() for v in f['x'][:, 0] / 3])"
        )
        run = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "d.npz")],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert run.stdout.strip() == str(flat(open_dataset(tmp_path / "d.npz", [X], seed=5)))


class TestRefusals:
    @pytest.mark.parametrize(
        "wrong", [{"batch_size": 0}, {"max_samples": 0}, {"seed": -1}], ids=str
    )
    def test_numbers_out_of_range(self, wrong):
        with pytest.raises(UsageError, match=next(iter(wrong))):
            open_dataset({"x": rows(2)}, [X], **wrong)

    def test_another_batch_size_than_the_model_fixes(self):
        with pytest.raises(DataError, match="batch size of 3, but the model's batch size is 4"):
            open_dataset({"x": rows(9)}, [FIXED], batch_size=3)
        with pytest.raises(DataError, match="3 samples, but the model's batch size is 4"):
            open_dataset({"x": rows(9)}, [FIXED], max_samples=3)

    @pytest.mark.parametrize(
        ("arrays", "reason"),
        [
            ({"z": rows(2)}, "unknown input z; missing input x"),
            ({"x": rows(0)}, "no samples"),
            ({"x": rows(2)[:, :2]}, r"shape \(2, 2\), the model takes \(N, 3\)"),
            ({"x": np.array([["a", "b", "c"]])}, "the model takes float"),
            ({"x": np.float32(1)}, "'x' is a single value"),
            ({}, "missing input x"),
        ],
    )
    def test_what_does_not_fit_is_refused_at_once(self, tmp_path, arrays, reason):
        np.savez(tmp_path / "d.npz", **arrays)
        for source in (tmp_path / "d.npz", arrays):
            with pytest.raises(DataError, match=reason):
                open_dataset(source, [X])

    def test_a_later_file_that_does_not_join(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=rows(2))
        np.savez(tmp_path / "b.npz", x=rows(2)[:, :2])
        with pytest.raises(DataError, match=r"do not join .*\(3,\) and of shape \(2,\)"):
            open_dataset(tmp_path, [X])
        np.savez(tmp_path / "b.npz", x=rows(2), y=rows(2))
        with pytest.raises(DataError, match="different arrays"):
            open_dataset(tmp_path, [X])
        np.savez(tmp_path / "b.npz", x=np.array([["a"] * 3]))
        with pytest.raises(DataError, match="the model takes float"):
            open_dataset(tmp_path, [X])
        np.savez(tmp_path / "b.npz", x=np.zeros((1, 3), "datetime64[s]"))
        with pytest.raises(DataError, match=r"float32 and datetime64\[s\]"):
            open_dataset(tmp_path, [X])

    def test_arrays_of_different_lengths(self, tmp_path):
        np.savez(tmp_path / "a.npz", x=rows(2), y=np.arange(3))
        np.savez(tmp_path / "b.npz", x=rows(3), y=np.arange(2))
        with pytest.raises(DataError, match=r"different numbers of samples \(x 5, y 5\)"):
            open_dataset(tmp_path, [X, Y])

    @pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
    def test_truncated_files(self, tmp_path, save):
        save(tmp_path / "d.npz", x=rows(50))
        np.save(tmp_path / "d.npy", rows(50))
        for name in ("d.npz", "d.npy"):
            whole = (tmp_path / name).read_bytes()
            for size in (0, 5, 90, len(whole) - 20):
                (tmp_path / name).write_bytes(whole[:size])
                with pytest.raises(DataError, match=name) as caught:
                    open_dataset(tmp_path / name, [X])
                assert "\n" not in str(caught.value)

    def test_an_archive_with_a_false_header(self, tmp_path):
        """A member that says it is larger than it is, in an archive that is sound."""
        np.save(tmp_path / "whole.npy", rows(50))
        for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            with zipfile.ZipFile(tmp_path / "d.npz", "w", compression) as archive:
                archive.writestr("x.npy", (tmp_path / "whole.npy").read_bytes()[:-4])
            with pytest.raises(DataError, match="truncated"):
                open_dataset(tmp_path / "d.npz", [X])

    @pytest.mark.parametrize("start", [50, 3000], ids=["no deflate stream", "wrong checksum"])
    def test_damage_inside_a_compressed_file_names_it(self, tmp_path, start):
        np.savez_compressed(tmp_path / "d.npz", x=np.random.default_rng(0).random((500, 3), "f"))
        data = bytearray((tmp_path / "d.npz").read_bytes())
        data[start : start + 50] = b"\xff" * 50
        (tmp_path / "d.npz").write_bytes(data)
        with pytest.raises(DataError, match=r"d\.npz"):
            list(open_dataset(tmp_path / "d.npz", [X]).feeds())

    @pytest.mark.parametrize("name", ["d.npz", "d.npy"])
    def test_python_objects_are_never_unpickled(self, tmp_path, name):
        bombs = np.array([[_Bomb()] * 3], dtype=object)
        if name == "d.npz":
            np.savez(tmp_path / name, x=bombs)
        else:
            np.save(tmp_path / name, bombs)
        with pytest.raises(DataError, match="Python objects"):
            open_dataset(tmp_path / name, [X])
        (tmp_path / name).write_bytes(pickle.dumps([_Bomb()]))
        with pytest.raises(DataError, match=name):
            open_dataset(tmp_path / name, [X])
        assert not _Bomb.went_off

    def test_headers_of_python_objects_and_of_nonsense(self, tmp_path):
        path = tmp_path / "d.npy"
        np.save(path, np.array([None, "a"], dtype=object), allow_pickle=True)
        with pytest.raises(DataError, match="Python objects"):
            NpyFiles((("x", path),)).headers()
        np.save(path, rows(10))
        path.write_bytes(path.read_bytes().replace(b"(10, 3)", b"(-9, 3)"))
        with pytest.raises(DataError, match="truncated"):
            NpyFiles((("x", path),)).headers()
        with pytest.warns(UserWarning, match=r"format 3\.0"):
            np.save(path, np.zeros(3, [("\u03b3", "f4")]))
        with pytest.raises(DataError, match="records, not plain arrays"):
            NpyFiles((("x", path),)).headers()

    def test_what_is_no_array_in_an_archive(self, tmp_path):
        with zipfile.ZipFile(tmp_path / "d.npz", "w") as archive:
            archive.writestr("x", "hello")
        with pytest.raises(DataError, match=r"d\.npz"):
            open_dataset(tmp_path / "d.npz", [X])

    def test_a_file_that_changed_meanwhile(self, tmp_path):
        np.save(tmp_path / "d.npy", rows(9))
        dataset = open_dataset(tmp_path / "d.npy", [X])
        np.save(tmp_path / "d.npy", rows(5))
        with pytest.raises(DataError, match="changed while it was read"):
            list(dataset.feeds())
        (tmp_path / "d.npy").unlink()
        with pytest.raises(DataError, match=r"d\.npy"):
            list(dataset.feeds())

    def test_something_else(self):
        with pytest.raises(DataError, match="got int"):
            open_dataset(3, [X])


class _Bomb:
    went_off = False

    def __reduce__(self):
        return (setattr, (_Bomb, "went_off", True))


class TestMemory:
    def test_what_was_stored_as_it_is_is_mapped(self, tmp_path):
        np.savez(tmp_path / "s.npz", x=rows(3), y=np.asfortranarray(rows(3)), z=rows(3)[:, :0])
        arrays = NpzFile(tmp_path / "s.npz").arrays()
        assert all(isinstance(array, np.memmap) for array in arrays.values())
        np.testing.assert_array_equal(arrays["x"], rows(3))
        np.testing.assert_array_equal(arrays["y"], rows(3))
        assert arrays["z"].shape == (3, 0)

    SIZE = 1000  # samples in each of 12 files of about 4 MB

    @pytest.fixture(params=[np.savez, np.savez_compressed], ids=["stored", "compressed"])
    def folder(self, request, tmp_path):
        for part in range(12):
            request.param(tmp_path / f"{part:02}.npz", x=np.full((self.SIZE, 1024), part, "f"))
        return tmp_path

    def test_a_folder_is_not_held_in_memory(self, folder, monkeypatch):
        monkeypatch.setattr(samples_module, "MAX_BYTES", 5 << 20)
        wide = TensorInfo("x", "float", ("N", 1024))
        tracemalloc.start()
        try:
            dataset = open_dataset(folder, [wide])
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
            assert sum(len(feed["x"]) for feed in dataset.feeds()) == 12 * self.SIZE
            assert tracemalloc.get_traced_memory()[1] < 12 << 20
        finally:
            tracemalloc.stop()

    def test_every_file_is_opened_once_in_a_pass(self, folder, monkeypatch):
        monkeypatch.setattr(samples_module, "MAX_BYTES", 1)
        opened: list[str] = []
        arrays = NpzFile.arrays
        monkeypatch.setattr(
            NpzFile, "arrays", lambda part: opened.append(part.path.name) or arrays(part)
        )
        wide = TensorInfo("x", "float", ("N", 1024))
        dataset = open_dataset(folder, [wide])
        assert opened == []
        next(dataset.feeds())
        assert opened == ["00.npz"]
        list(dataset.feeds(1))
        assert opened == [f"{part:02}.npz" for part in range(12)]

    def test_few_files_stay_open(self, tmp_path):
        for part in range(100):
            np.save(tmp_path / f"{part:02}.npy", rows(2, part * 2))
        dataset = open_dataset(tmp_path, [X], batch_size=1)
        before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
        assert flat(dataset) == list(range(200))
        if before:
            assert len(os.listdir("/proc/self/fd")) <= before + samples_module.MAX_OPEN


class TestWholeFeeds:
    @pytest.fixture(params=["list", "sets", "stacked"])
    def whole(self, request, tmp_path):
        """Six feeds of 4 samples."""
        feeds = [rows(4, 4 * index) for index in range(6)]
        if request.param == "list":
            return [{"x": feed} for feed in feeds]
        if request.param == "stacked":
            np.savez(tmp_path / "d.npz", x=np.stack(feeds))
            return tmp_path / "d.npz"
        for index, feed in zip((0, 1, 2, 3, 4, 10), feeds, strict=True):
            (tmp_path / f"test_data_set_{index}").mkdir()
            tensor = numpy_helper.from_array(feed).SerializeToString()
            (tmp_path / f"test_data_set_{index}" / "input_0.pb").write_bytes(tensor)
        return tmp_path

    def test_they_are_used_as_they_are(self, whole):
        dataset = open_dataset(whole, [X])
        assert (dataset.total, dataset.samples, dataset.batch_size) == (6, 24, None)
        assert numbers(dataset) == [list(range(4 * i, 4 * i + 4)) for i in range(6)]
        assert numbers(dataset, 2, 4) == numbers(dataset)[2:4]
        assert numbers(pickle.loads(pickle.dumps(dataset))) == numbers(dataset)
        assert dataset.by_reference == (not isinstance(whole, list))
        assert "whatever the batch size" in open_dataset(whole, [X], batch_size=2).notes[0]

    def test_a_seed_permutes_them(self, whole):
        order = np.random.default_rng(2).permutation(6).tolist()
        assert order != sorted(order)
        assert [feed[0] // 4 for feed in numbers(open_dataset(whole, [X], seed=2))] == order

    def test_samples_are_counted(self, whole):
        dataset = open_dataset(whole, [X], max_samples=10)
        assert flat(dataset) == list(range(10))
        assert (dataset.total, dataset.samples) == (3, 10)
        assert "only the first 10 of 24 samples" in dataset.notes[0]
        exact = open_dataset(whole, [X], max_samples=24)
        assert (exact.total, exact.notes) == (6, ())

    def test_fixed_feeds_are_not_cut(self, whole):
        dataset = open_dataset(whole, [FIXED], max_samples=10)
        assert flat(dataset) == list(range(8))
        assert (dataset.total, dataset.samples) == (2, 8)
        with pytest.raises(DataError, match="holds 4 samples and cannot be cut down to 3"):
            open_dataset(whole, [FIXED], max_samples=3)

    def test_a_bad_feed_is_named_at_once(self, tmp_path):
        with pytest.raises(DataError, match="feed 1': input 'x' has shape"):
            open_dataset([{"x": rows(2)}, {"x": rows(2)[:, :1]}], [X])
        with pytest.raises(DataError, match="feed 0': unknown input q"):
            open_dataset([{"q": rows(2)}], [X])
        with pytest.raises(DataError, match="expected dicts"):
            open_dataset([3], [X])
        with pytest.raises(DataError, match="no samples"):
            open_dataset([], [X])
        with pytest.raises(DataError, match="feed 0 holds no samples"):
            open_dataset([{"x": rows(0)}], [X])

    def test_a_cast_is_told_once(self):
        dataset = open_dataset([{"x": rows(2, dtype="float64")}] * 3, [X])
        list(dataset.feeds())
        assert len(dataset.notes) == 1


class TestStreams:
    def test_a_function_is_called_again(self):
        calls = count()

        def feeds():
            next(calls)
            return module_feeds()

        dataset = open_dataset(feeds, [X])
        assert (dataset.total, dataset.samples, dataset.batch_size) == (None, None, None)
        assert numbers(dataset) == [[0, 1, 2], [3, 4]]
        assert numbers(dataset, 1) == [[3, 4]]
        assert numbers(dataset, 0, 1) == [[0, 1, 2]]
        assert next(calls) == 3
        assert not dataset.by_reference
        assert dataset.where == "feeds"

    def test_samples_are_counted_not_feeds(self):
        dataset = open_dataset(module_feeds, [X], max_samples=4)
        assert numbers(dataset) == [[0, 1, 2], [3]]
        assert dataset.notes == ("data 'module_feeds': only the first 4 samples were used",)
        exact = open_dataset(module_feeds, [X], max_samples=3)
        assert numbers(exact) == [[0, 1, 2]]
        every = open_dataset(module_feeds, [X], max_samples=5)
        assert (len(list(every.feeds())), every.notes) == (2, ())

    def test_fixed_feeds_are_not_cut(self):
        feeds = [{"x": rows(4)}, {"x": rows(4, 4)}]
        dataset = open_dataset(lambda: feeds, [FIXED], max_samples=6)
        assert flat(dataset) == [0, 1, 2, 3]
        with pytest.raises(DataError, match="cannot be cut down to 3"):
            list(open_dataset(lambda: feeds, [FIXED], max_samples=3).feeds())

    def test_no_more_is_asked_of_it_than_needed(self):
        def endless():
            for number in count():
                assert number < 3
                yield {"x": rows(2, number * 2)}

        assert numbers(open_dataset(endless, [X]), 0, 3) == [[0, 1], [2, 3], [4, 5]]

    def test_a_name_works_in_another_folder(self, tmp_path, monkeypatch):
        feed_file(tmp_path, "def f():\n    yield {'x': np.ones((2, 3), 'f')}\n", monkeypatch)
        dataset = open_dataset("feeding_here:f", [X])
        assert dataset.by_reference
        payload = pickle.dumps(dataset)
        monkeypatch.chdir("/")
        assert [feed["x"].shape for feed in pickle.loads(payload).feeds()] == [(2, 3)]
        assert str(tmp_path) not in sys.path

    def test_a_module_function_is_pickled(self):
        assert numbers(pickle.loads(pickle.dumps(open_dataset(module_feeds, [X])))) == [
            [0, 1, 2],
            [3, 4],
        ]

    def test_an_object_that_can_be_iterated_again_is_not_held(self):
        class Loader:
            reads = 0

            def __iter__(self):
                Loader.reads += 1
                return module_feeds()

        dataset = open_dataset(Loader(), [X])
        assert numbers(dataset) == numbers(dataset) == [[0, 1, 2], [3, 4]]
        assert (dataset.total, Loader.reads) == (None, 2)

    def test_what_comes_once_is_kept(self):
        dataset = open_dataset(iter(module_feeds()), [X])
        assert (dataset.total, dataset.samples) == (2, 5)
        assert numbers(dataset) == numbers(dataset) == [[0, 1, 2], [3, 4]]
        endless = ({"x": rows(2, number * 2)} for number in count())
        cut = open_dataset(endless, [X], max_samples=5)
        assert flat(cut) == [0, 1, 2, 3, 4]
        assert cut.notes == ("data 'data': only the first 5 samples were used",)

    @pytest.mark.parametrize("source", [module_feeds, module_feeds()])
    def test_a_seed_is_refused(self, source):
        with pytest.raises(DataError, match="order of a function's feeds is its own"):
            open_dataset(source, [X], seed=0)

    def test_what_it_raises_is_one_line(self):
        def broken():
            yield {"x": rows(1)}
            raise KeyError("a\nb")

        with pytest.raises(DataError, match="broken': KeyError") as caught:
            list(open_dataset(broken, [X]).feeds())
        assert "\n" not in str(caught.value)
        for function, reason in [
            (lambda: [3], "expected dicts"),
            (lambda: 3, "TypeError"),
            (list, "no samples"),
            (lambda: [{"x": rows(0)}], "feed 0 holds no samples"),
        ]:
            with pytest.raises(DataError, match=reason):
                list(open_dataset(function, [X]).feeds())


def test_count_samples():
    assert count_samples({"x": rows(5)}, [X]) == 5
    assert count_samples({"k": np.zeros(2), "x": rows(5)}, [K, X]) == 5
    assert count_samples({"x": rows(4)}, [FIXED]) == 4
    assert count_samples({"x": rows(6)}, [TensorInfo("x", "float", None)]) == 6
    assert count_samples({"s": np.float32(1)}, [TensorInfo("s", "float", ())]) == 1


class TestLoadData:
    """What `bnopt validate` and `check` read, of the new kinds of source."""

    def test_a_mapping(self):
        data = load_data({"x": rows(12)}, [X])
        assert [len(feed["x"]) for feed in data.feeds] == [1, 8, 3]

    def test_a_function_and_a_list_are_cut_by_feeds(self):
        feeds = [{"x": rows(4, 4 * index)} for index in range(6)]
        for source in (feeds, lambda: feeds, iter(feeds)):
            data = load_data(source, [X], max_samples=2)
            assert [len(feed["x"]) for feed in data.feeds] == [4, 4]
            assert data.notes[0].endswith("only the first 2 feeds were used")
            assert load_data(feeds, [X], max_samples=6).notes == ()

    def test_an_endless_iterator(self):
        endless = ({"x": rows(1, number)} for number in count())
        assert len(load_data(endless, [X]).feeds) == 32


class TestDataSource:
    def test_without_preprocess_it_is_the_text(self):
        assert data_source("anything", None) == "anything"

    def test_preprocess_is_for_images(self, tmp_path):
        np.savez(tmp_path / "d.npz", x=rows(1))
        for data in (tmp_path, tmp_path / "d.npz", "module:function"):
            with pytest.raises(UsageError, match="--preprocess is for folders of images"):
                data_source(str(data), "imagenet")
        with pytest.raises(DataError, match="no such folder"):
            data_source(str(tmp_path / "missing"), "imagenet")
        with pytest.raises(UsageError, match="presets are"):
            data_source(str(tmp_path), "nonsense")
        (tmp_path / "sub").mkdir()
        (tmp_path / "sub" / "i.PNG").write_bytes(b"")
        found = data_source(str(tmp_path), "none,crop=8")
        assert isinstance(found, ImageFolder)
        assert (found.path, found.preprocess.crop) == (str(tmp_path), 8)
