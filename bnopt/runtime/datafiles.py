"""Readers for the file formats of user data; each failure is one line that names the file."""

from __future__ import annotations

import importlib
import sys
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bnopt.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from bnopt.runtime.interface import TensorInfo


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Every array of an `.npz` file; never unpickles.

    Raises:
        DataError: Not an `.npz`, truncated, or an array of Python objects in it.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise DataError(f"data '{path}': {_reason(error)}") from None


def read_npy(path: Path) -> NDArray[Any]:
    """The array of an `.npy` file; never unpickles.

    Raises:
        DataError: Not an `.npy`, truncated, or an array of Python objects.
    """
    try:
        return cast("NDArray[Any]", np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"data '{path}': {_reason(error)}") from None


def read_test_set(folder: Path, inputs: Sequence[TensorInfo]) -> dict[str, NDArray[Any]]:
    """`input_0.pb`, `input_1.pb`, ... of the ONNX model zoo: one feed, in the order of the inputs.

    Raises:
        DataError: More files than inputs, or a file that is not a `TensorProto`.
    """
    import onnx
    from google.protobuf.message import DecodeError

    files = sorted(folder.glob("input_*.pb"), key=lambda file: (len(file.stem), file.stem))
    if len(files) > len(inputs):
        raise DataError(f"data '{folder}': {len(files)} inputs for a model that has {len(inputs)}")
    feed: dict[str, NDArray[Any]] = {}
    for info, file in zip(inputs, files, strict=False):
        tensor = onnx.TensorProto()
        try:
            tensor.ParseFromString(file.read_bytes())
            feed[info.name] = onnx.numpy_helper.to_array(tensor)
        except (OSError, DecodeError, ValueError, TypeError, KeyError) as error:
            raise DataError(f"data '{file}': not a TensorProto ({_reason(error)})") from None
    return feed


def read_function(source: str) -> Iterable[Mapping[str, NDArray[Any]]]:
    """Call `package.module:function`; modules of the current folder are found.

    Raises:
        DataError: It cannot be imported or called, or does not return an iterable of dicts.
    """
    module_name, _, name = source.partition(":")
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), name)
        yield from _dicts(source, function())
    except DataError:
        raise
    # The user's code may raise anything; whatever it is, it is their data that cannot be had.
    except Exception as error:
        raise DataError(f"data '{source}': {type(error).__name__}: {_reason(error)}") from None
    finally:
        sys.path.remove(here)


def _dicts(source: str, feeds: Any) -> Iterable[Mapping[str, NDArray[Any]]]:
    for feed in feeds:
        if not isinstance(feed, dict):
            raise DataError(
                f"data '{source}': expected dicts of input name -> array, "
                f"got a {type(feed).__name__}"
            )
        yield cast("dict[str, NDArray[Any]]", feed)


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    if "allow_pickle" in text or "pickle" in text.lower():
        return "it holds Python objects or is not a numpy file; save plain numeric arrays"
    return text
