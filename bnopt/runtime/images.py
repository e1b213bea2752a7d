"""Folders of images as samples, decoded by Pillow when they are needed."""

from __future__ import annotations

import importlib
import os
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.errors import DataError, DependencyError
from bnopt.runtime.datafiles import Header, reason
from bnopt.runtime.interface import numpy_dtype
from bnopt.runtime.preprocess import Preprocess
from bnopt.runtime.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from PIL import Image

    from bnopt.runtime.batches import Feed
    from bnopt.runtime.interface import TensorInfo
    from bnopt.runtime.preprocess import Size

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm"})
# Pillow goes by a file's content, and some of its other readers start programs (Ghostscript).
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF", "PPM")


@dataclass(frozen=True, slots=True)
class ImageFolder:
    """A folder of images, searched with its subfolders.

    Attributes:
        path: The folder.
        preprocess: What is done to each image.
    """

    path: str | Path
    preprocess: Preprocess = field(default_factory=Preprocess)


def image_files(folder: Path) -> Iterator[Path]:
    """The image files in a folder and below, in no order."""
    for path in folder.rglob("*"):
        # `._photo.jpg` is what macOS leaves beside a photo.
        if path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file():
            yield path


class Images(Samples):
    """The images of a folder, ordered by path.

    Args:
        folder: Where, and how they are prepared.
        inputs: The model's; there must be one.
        default: Whether nobody chose the preparation, which a note then tells.

    Raises:
        DataError: No such folder, no images in it, a first one that is broken; a model whose input
            takes no images, or not with this preparation.
        DependencyError: Pillow is missing.
    """

    by_reference = True

    def __init__(
        self, folder: ImageFolder, inputs: Sequence[TensorInfo], *, default: bool = False
    ) -> None:
        self.where = str(folder.path)
        root = Path(folder.path).absolute()
        if not root.is_dir():
            raise DataError(f"data '{self.where}': no such folder")
        self._files = sorted(str(path) for path in image_files(root))
        if not self._files:
            raise DataError(f"data '{self.where}': no images in this folder")
        if len(inputs) != 1:
            names = ", ".join(info.name for info in inputs)
            raise DataError(f"data '{self.where}': images for a model with the inputs {names}")
        self._name = inputs[0].name
        dtype = numpy_dtype(inputs[0].dtype)
        if dtype is None:
            raise DataError(f"data '{self.where}': images for an input of {inputs[0].dtype}")
        self._dtype = np.dtype(dtype)
        chosen = folder.preprocess
        if default:
            chosen = replace(chosen, scale=1.0) if self._dtype.kind in "iu" else chosen
            scaled = "not scaled" if chosen.keeps_values else "scaled to [0, 1]"
            self._note(f"{scaled} and not normalised further; --preprocess gives another way")
        self._preprocess = self._fitted(chosen, inputs[0])
        first = self._load(self._files[0])
        self.headers = {self._name: Header((len(self._files), *first.shape), first.dtype)}

    def take(self, numbers: Sequence[int] | NDArray[np.int64]) -> Feed:
        """See `Samples`."""
        shape = self.headers[self._name].shape[1:]
        batch = np.empty((len(numbers), *shape), self._dtype)
        for place, number in enumerate(numbers):
            image = self._load(self._files[number])
            if image.shape != shape:
                raise DataError(
                    f"data '{self._files[number]}': it becomes {image.shape}, the first image "
                    f"{shape}; resize or crop them to one size"
                )
            batch[place] = image
        return {self._name: batch}

    def _note(self, text: str) -> None:
        self.notes += (f"data '{self.where}': images are {text}",)

    def _fitted(self, chosen: Preprocess, info: TensorInfo) -> Preprocess:
        """With what is left open taken from the model's input."""
        shape = info.shape
        if shape is not None and len(shape) != 4:
            raise DataError(
                f"data '{self.where}': images need an input of 4 dimensions, "
                f"'{info.name}' has {len(shape)}"
            )
        if chosen.layout == "auto":
            places = [axis for axis in (1, 3) if shape is not None and shape[axis] in (1, 3)]
            if len(places) != 1:
                raise DataError(
                    f"data '{self.where}': the shape of input '{info.name}' does not tell which "
                    "axis counts channels; give layout=nchw or layout=nhwc to --preprocess"
                )
            chosen = replace(chosen, layout="nchw" if places == [1] else "nhwc")
        first = chosen.layout == "nchw"
        if chosen.channels == "auto":
            count = None if shape is None else shape[1 if first else 3]
            if count == 1 and max(len(chosen.mean), len(chosen.std)) > 1:
                raise DataError(
                    f"data '{self.where}': mean or std has 3 values, but the model takes 1 channel"
                )
            chosen = replace(chosen, channels="gray" if count == 1 else "rgb")
        if chosen.resize is None and chosen.crop is None and shape is not None:
            height, width = shape[2:] if first else shape[1:3]
            if isinstance(height, int) and isinstance(width, int):
                chosen = replace(chosen, resize=(width, height))
                self._note(f"resized to {width}x{height}, the size that the model takes")
        if self._dtype.kind in "iub" and not chosen.keeps_values:
            raise DataError(
                f"data '{self.where}': input '{info.name}' takes {info.dtype}, but scale, mean or "
                "std make fractions of the pixels; give scale=1 without mean and std"
            )
        return chosen

    def _load(self, file: str) -> NDArray[Any]:
        """One image, [C, H, W] or [H, W, C], of the model's dtype."""
        how = self._preprocess
        _require_pillow()
        try:
            with warnings.catch_warnings():
                # Pillow warns of odd metadata and of transparency, which change no pixels.
                warnings.simplefilter("ignore")
                image = _decoded(file, "L" if how.channels == "gray" else "RGB")
            image = _cropped(_resized(image, how), how.crop)
        # A broken file may raise anything: SyntaxError, struct.error, IndexError, ...
        except Exception as error:
            raise DataError(f"data '{file}': {reason(error)}") from None
        pixels = np.asarray(image)
        pixels = pixels[:, :, None] if how.channels == "gray" else pixels
        pixels = pixels[:, :, ::-1] if how.channels == "bgr" else pixels
        if not how.keeps_values:
            pixels = pixels * np.float32(how.scale) - np.array(how.mean, np.float32)
            pixels = pixels / np.array(how.std, np.float32)
        pixels = pixels.transpose(2, 0, 1) if how.layout == "nchw" else pixels
        return pixels.astype(self._dtype)


def _require_pillow() -> None:
    try:
        importlib.import_module("PIL.Image")
    except ImportError:
        raise DependencyError(
            "reading images needs Pillow; run: pip install 'bnopt[images]'"
        ) from None


def _decoded(file: str, mode: str) -> Image.Image:
    from PIL import Image, ImageOps

    with Image.open(file, formats=_FORMATS) as opened:
        upright = ImageOps.exif_transpose(opened)
        return _eight_bit(upright, opened.format).convert(mode)


def _eight_bit(image: Image.Image, kind: str | None) -> Image.Image:
    """Gray values of 16 bits, which Pillow would clip instead, brought to [0, 255]."""
    from PIL import Image

    wide = image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM"))
    if wide:
        values = np.asarray(image).astype(np.float64) / 257
        return Image.fromarray(np.rint(values).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError("its pixels are of 32 bits, which have no common range; save 8 or 16 bits")
    return image


def _resized(image: Image.Image, how: Preprocess) -> Image.Image:
    from PIL import Image

    if how.resize is None:
        return image
    size = how.resize
    if isinstance(size, int):
        width, height = image.size
        # The longer side is cut to an integer, as torchvision does.
        longer = int(size * max(width, height) / min(width, height))
        size = (size, longer) if width <= height else (longer, size)
    return image.resize(size, Image.Resampling[how.interpolation.upper()])


def _cropped(image: Image.Image, crop: Size | None) -> Image.Image:
    if crop is None:
        return image
    width, height = crop if isinstance(crop, tuple) else (crop, crop)
    if width > image.width or height > image.height:
        raise ValueError(
            f"it is {image.width}x{image.height}, smaller than the crop {width}x{height}; "
            "resize it first"
        )
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def holds_images(folder: str | os.PathLike[str]) -> bool:
    """Whether there is an image file in a folder or below."""
    return next(image_files(Path(folder)), None) is not None
