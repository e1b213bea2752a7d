"""User data `D`: what `--data` names, as feeds that fit a model's inputs.

`D` is an `.npz` file, a folder of `.npz`, `.npy` or `.pb` files or of `test_data_set_*` folders as
in the ONNX model zoo, or `package.module:function`. Nothing is ever unpickled.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from bnopt.errors import DataError
from bnopt.runtime.batches import Samples, UserData, check_feed, to_feeds
from bnopt.runtime.datafiles import read_function, read_npy, read_npz, read_test_set

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from bnopt.runtime.interface import TensorInfo

DataSource: TypeAlias = "str | Path | Iterable[Mapping[str, NDArray[Any]]]"

MAX_SAMPLES = 32
"""Samples used for validation; more cost time and rarely show more."""


def load_data(
    source: DataSource, inputs: Sequence[TensorInfo], *, max_samples: int = MAX_SAMPLES
) -> UserData:
    """Read user data and cut it into feeds for a model.

    Arrays of an `.npz` or `.npy` hold samples along their leading axis: with an open batch
    dimension they become one feed of a single sample and feeds of several; with a fixed one,
    feeds of that size. Test data sets and functions give whole feeds, used as they are.

    Args:
        source: As on the command line, or an iterable of feeds.
        inputs: The model's inputs, in order.
        max_samples: Samples (or whole feeds) beyond this are left out, with a note.

    Raises:
        DataError: A missing path, an unknown or missing input name, a dtype or rank that does not
            fit, object arrays, nothing at all. One line that names the file and the array.
    """
    if not isinstance(source, str | Path):
        return _whole_feeds(source, "data", inputs, max_samples)
    path = Path(source)
    if not path.exists():
        if ":" in str(source):
            function = read_function(str(source))
            return _whole_feeds(function, str(source), inputs, max_samples)
        raise DataError(f"data '{source}': no such file or folder, and not package.module:function")
    if path.is_dir():
        return _from_folder(path, inputs, max_samples)
    if path.suffix == ".npz":
        return to_feeds(Samples(str(path), read_npz(path)), inputs, max_samples)
    if path.suffix == ".npy":
        return to_feeds(
            Samples(str(path), {_only(path, inputs): read_npy(path)}), inputs, max_samples
        )
    raise DataError(f"data '{path}': expected an .npz file, a folder or package.module:function")


def _from_folder(path: Path, inputs: Sequence[TensorInfo], max_samples: int) -> UserData:
    sets = sorted(folder for folder in path.glob("test_data_set_*") if folder.is_dir())
    if not sets and any(path.glob("input_*.pb")):
        sets = [path]
    if sets:
        feeds = (read_test_set(folder, inputs) for folder in sets)
        return _whole_feeds(feeds, str(path), inputs, max_samples)
    archives = sorted(path.glob("*.npz"))
    if archives:
        samples = Samples.joined(str(path), [read_npz(archive) for archive in archives])
        return to_feeds(samples, inputs, max_samples)
    arrays = sorted(path.glob("*.npy"))
    if arrays:
        return to_feeds(_named_arrays(path, arrays, inputs), inputs, max_samples)
    raise DataError(f"data '{path}': no test_data_set_*, .npz, .npy or input_*.pb in this folder")


def _named_arrays(folder: Path, files: Sequence[Path], inputs: Sequence[TensorInfo]) -> Samples:
    """`.npy` files named after the inputs; for a model of one input, any number of batches."""
    by_stem = {_file_stem(info.name): info.name for info in inputs}
    if len(inputs) == 1 and not any(file.stem in by_stem for file in files):
        return Samples.joined(str(folder), [{inputs[0].name: read_npy(file)} for file in files])
    return Samples(
        str(folder), {by_stem.get(file.stem, file.stem): read_npy(file) for file in files}
    )


def _file_stem(name: str) -> str:
    """An input's name as a file name: `gpu_0/data_0:0` cannot be one."""
    return name.replace("/", "_").replace(":", "_")


def _only(path: Path, inputs: Sequence[TensorInfo]) -> str:
    if len(inputs) != 1:
        names = ", ".join(info.name for info in inputs)
        raise DataError(f"data '{path}': one array for a model with the inputs {names}; use .npz")
    return inputs[0].name


def _whole_feeds(
    feeds: Iterable[Mapping[str, NDArray[Any]]],
    where: str,
    inputs: Sequence[TensorInfo],
    limit: int,
) -> UserData:
    checked: list[dict[str, NDArray[Any]]] = []
    notes: dict[str, None] = {}
    for index, feed in enumerate(feeds):
        if index == limit:
            notes[f"data '{where}': only the first {limit} feeds were used"] = None
            break
        arrays, casts = check_feed(feed, f"{where}, feed {index}", inputs)
        checked.append(arrays)
        notes.update(dict.fromkeys(casts))
    if not checked:
        raise DataError(f"data '{where}': it holds no samples")
    return UserData(checked, tuple(notes))
