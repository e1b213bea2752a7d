"""What a user may give as data, each as one of three kinds of source.

`Samples` are numbered and can be put together to batches of any size. `Listed` are numbered feeds
that are used whole. `Streamed` are feeds that come one after another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np

from bnopt.errors import DataError
from bnopt.runtime.batches import check_names, check_shape, count_samples
from bnopt.runtime.datafiles import Call, Function, NpyFiles, NpzFile, as_mapping, read_test_set
from bnopt.runtime.images import ImageFolder, Images, image_files
from bnopt.runtime.samples import ArraySamples, InMemory, Samples

if TYPE_CHECKING:
    from bnopt.runtime.data import Arrays, DataSource
    from bnopt.runtime.interface import TensorInfo


class Listed(ABC):
    """Feeds by number, each used whole.

    Attributes:
        where: For messages.
        by_reference: Whether another process that sees the same files can read it.
        sizes: Samples in each feed.
    """

    where: str
    by_reference: bool
    sizes: tuple[int, ...]

    @abstractmethod
    def feed(self, number: int) -> Mapping[str, Any]:
        """One of them, not yet checked."""

    def _measured(self, count: int, inputs: Sequence[TensorInfo]) -> tuple[int, ...]:
        sizes: list[int] = []
        for number in range(count):
            feed = self.feed(number)
            where = f"{self.where}, feed {number}"
            check_names(feed, where, inputs)
            for info in inputs:
                check_shape(info, np.shape(feed[info.name]), where)
            sizes.append(count_samples(feed, inputs))
        if not sizes:
            raise DataError(f"data '{self.where}': it holds no samples")
        return tuple(sizes)


class FeedList(Listed):
    """Feeds that the caller holds."""

    by_reference = False

    def __init__(
        self, where: str, feeds: Sequence[Mapping[str, Any]], inputs: Sequence[TensorInfo]
    ) -> None:
        self.where = where
        self._feeds = feeds
        self.sizes = self._measured(len(feeds), inputs)

    def feed(self, number: int) -> Mapping[str, Any]:
        """See `Listed`."""
        return as_mapping(self.where, self._feeds[number])


class FeedFolders(Listed):
    """Folders of `input_*.pb`."""

    by_reference = True

    def __init__(self, where: str, folders: Sequence[Path], inputs: Sequence[TensorInfo]) -> None:
        self.where = where
        self._folders = tuple(folders)
        self._inputs = tuple(inputs)
        self.sizes = self._measured(len(folders), inputs)

    def feed(self, number: int) -> Mapping[str, Any]:
        """See `Listed`."""
        return read_test_set(self._folders[number], self._inputs)


class StackedFeeds(Listed):
    """Arrays whose leading axis counts feeds."""

    def __init__(self, samples: Samples, inputs: Sequence[TensorInfo]) -> None:
        self.where = samples.where
        self.by_reference = samples.by_reference
        one = {name: np.broadcast_to(0, h.shape[1:]) for name, h in samples.headers.items()}
        self.sizes = (count_samples(one, inputs),) * len(samples)
        self._samples = samples

    def feed(self, number: int) -> Mapping[str, Any]:
        """See `Listed`."""
        return {name: array[0] for name, array in self._samples.take([number]).items()}


@dataclass(frozen=True, slots=True)
class Streamed:
    """Feeds that come one after another.

    Attributes:
        where: For messages.
        by_reference: Whether another process that sees the same files can call it.
        call: Gives them, from the first.
        once: Whether it can be called only once.
    """

    where: str
    by_reference: bool
    call: Callable[[], Iterator[Mapping[str, Any]]]
    once: bool = False


Found: TypeAlias = Samples | Listed | Streamed


def find(source: DataSource, inputs: Sequence[TensorInfo]) -> Found:
    """The source behind what the user gave; no more than headers and a first image is read.

    Args:
        source: See `bnopt.runtime.data`.
        inputs: The model's inputs, in order.

    Raises:
        DataError: A path that does not exist or holds nothing of use, files that cannot be read or
            hold other arrays than the model takes, nothing at all.
    """
    found = _found(source, inputs)
    if isinstance(found, Samples) and all(_holds_feeds(found, info) for info in inputs):
        return StackedFeeds(found, inputs)
    return found


def _found(source: DataSource, inputs: Sequence[TensorInfo]) -> Found:
    if isinstance(source, ImageFolder):
        return Images(source, inputs)
    if isinstance(source, str | Path):
        return _at(source, inputs)
    if isinstance(source, Mapping):
        arrays = cast("Arrays", source)
        held = {name: np.asarray(array) for name, array in arrays.items()}
        return ArraySamples("data", [InMemory(held)], inputs, by_reference=False)
    if isinstance(source, Sequence):
        return FeedList("data", cast("Sequence[Arrays]", source), inputs)
    if isinstance(source, Iterator):
        feeds = cast("Iterator[Arrays]", source)
        return Streamed("data", False, Call("data", lambda: feeds), once=True)
    if isinstance(source, Iterable):
        return Streamed("data", False, Call("data", source.__iter__))
    if callable(source):
        name = str(getattr(source, "__name__", type(source).__name__))
        return Streamed(name, False, Call(name, source))
    kind = type(cast("object", source)).__name__
    raise DataError(f"data: expected a path, arrays, feeds or a function, got {kind}")


def _at(source: str | Path, inputs: Sequence[TensorInfo]) -> Found:
    where = str(source)
    # Absolute, because another process that gets this may work in another folder.
    path = Path(source).absolute()
    if not path.exists():
        if ":" in where:
            return Streamed(where, True, Function(where, str(Path.cwd())))
        raise DataError(f"data '{where}': no such file or folder, and not package.module:function")
    if path.is_dir():
        return _in_folder(where, path, inputs)
    if path.suffix == ".npz":
        return ArraySamples(where, [NpzFile(path)], inputs, by_reference=True)
    if path.suffix == ".npy":
        parts = [NpyFiles(((_only(where, inputs), path),))]
        return ArraySamples(where, parts, inputs, by_reference=True)
    raise DataError(
        f"data '{where}': expected an .npz or .npy file, a folder or package.module:function"
    )


def _in_folder(where: str, path: Path, inputs: Sequence[TensorInfo]) -> Found:
    sets = [folder for folder in path.glob("test_data_set_*") if folder.is_dir()]
    sets.sort(key=lambda folder: (len(folder.name), folder.name))
    if not sets and any(path.glob("input_*.pb")):
        sets = [path]
    if sets:
        return FeedFolders(where, sets, inputs)
    archives = sorted(path.glob("*.npz"))
    if archives:
        return ArraySamples(where, [NpzFile(file) for file in archives], inputs, by_reference=True)
    arrays = sorted(path.glob("*.npy"))
    if arrays:
        return ArraySamples(where, _npy_parts(arrays, inputs), inputs, by_reference=True)
    if next(image_files(path), None) is not None:
        return Images(ImageFolder(where), inputs, default=True)
    raise DataError(
        f"data '{where}': no test_data_set_*, .npz, .npy, input_*.pb or images in this folder"
    )


def _npy_parts(files: Sequence[Path], inputs: Sequence[TensorInfo]) -> list[NpyFiles]:
    """Files named after the inputs; for a model of one input, any number of files of samples."""
    by_stem = {_file_stem(info.name): info.name for info in inputs}
    if len(inputs) == 1 and not any(file.stem in by_stem for file in files):
        return [NpyFiles(((inputs[0].name, file),)) for file in files]
    return [NpyFiles(tuple((by_stem.get(file.stem, file.stem), file) for file in files))]


def _file_stem(name: str) -> str:
    """An input's name as a file name: `gpu_0/data_0:0` cannot be one."""
    return name.replace("/", "_").replace(":", "_")


def _only(where: str, inputs: Sequence[TensorInfo]) -> str:
    if len(inputs) != 1:
        names = ", ".join(info.name for info in inputs)
        raise DataError(f"data '{where}': one array for a model with the inputs {names}; use .npz")
    return inputs[0].name


def _holds_feeds(samples: Samples, info: TensorInfo) -> bool:
    return info.shape is not None and len(samples.headers[info.name].shape) == len(info.shape) + 1
