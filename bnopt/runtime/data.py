"""User data `D`: what `--data` names, as feeds that fit a model's inputs.

`D` is an `.npz` or `.npy` file, a folder of `.npz`, `.npy` or `.pb` files, of images or of
`test_data_set_*` folders as in the ONNX model zoo, or `package.module:function`. In Python it may
also be arrays by input name, feeds, a function that returns feeds, or an `ImageFolder`. Nothing is
ever unpickled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from numpy.typing import NDArray

from bnopt.errors import DataError, UsageError
from bnopt.runtime.batches import Feed, UserData
from bnopt.runtime.dataset import Dataset, FeedStream, SampleBatches, WholeFeeds
from bnopt.runtime.images import ImageFolder, holds_images
from bnopt.runtime.preprocess import Preprocess
from bnopt.runtime.samples import Samples
from bnopt.runtime.sources import Listed, find

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bnopt.runtime.interface import TensorInfo

Arrays: TypeAlias = Mapping[str, NDArray[Any]]
DataSource: TypeAlias = (
    str | Path | ImageFolder | Arrays | Iterable[Arrays] | Callable[[], Iterable[Arrays]]
)

MAX_SAMPLES = 32
"""Samples used for validation; more cost time and rarely show more."""
_SEVERAL = 8


def data_source(data: str, preprocess: str | None) -> DataSource:
    """What `--data` and `--preprocess` name.

    Raises:
        DataError: Images that are not there.
        UsageError: A specification that cannot be read, or one for data that are no images.
    """
    if preprocess is None:
        return data
    how = Preprocess.parse(preprocess)
    path = Path(data)
    if not path.exists() and ":" not in data:
        raise DataError(f"data '{data}': no such folder")
    if not path.is_dir() or not holds_images(path):
        raise UsageError(f"--preprocess is for folders of images; '{data}' is none")
    return ImageFolder(data, how)


def read_again(data: DataSource | None) -> DataSource | None:
    """The same for whoever reads it more than once: an iterator becomes a list."""
    return list(cast("Iterator[Arrays]", data)) if isinstance(data, Iterator) else data


def load_data(
    source: DataSource, inputs: Sequence[TensorInfo], *, max_samples: int = MAX_SAMPLES
) -> UserData:
    """Read user data into a few feeds of several sizes.

    Samples become one feed of a single sample and feeds of several; where the model fixes the batch
    size, feeds of that. Feeds that are given whole are used as they are.

    Args:
        source: As on the command line, or an object.
        inputs: The model's inputs, in order.
        max_samples: Samples (or whole feeds) beyond this are left out, with a note.

    Raises:
        DataError: A missing path, an unknown or missing input name, a dtype or rank that does not
            fit, object arrays, nothing at all. One line that names the file and the array.
        DependencyError: Images without Pillow.
    """
    found = find(source, inputs)
    if isinstance(found, Samples):
        batches = SampleBatches(found, inputs, size=_SEVERAL, first=1, max_samples=max_samples)
        return UserData(list(batches.feeds()), batches.notes)
    whole = WholeFeeds(found, inputs) if isinstance(found, Listed) else FeedStream(found, inputs)
    return _first_feeds(whole, max_samples)


def _first_feeds(dataset: Dataset, limit: int) -> UserData:
    feeds: list[Feed] = []
    cut: tuple[str, ...] = ()
    for feed in dataset.feeds():
        if len(feeds) == limit:
            cut = (f"data '{dataset.where}': only the first {limit} feeds were used",)
            break
        feeds.append(feed)
    return UserData(feeds, (*dataset.notes, *cut))
