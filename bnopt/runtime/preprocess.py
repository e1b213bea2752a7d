"""How an image becomes a model's input: the parameters, and how a command line spells them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args

from bnopt.errors import UsageError

Size: TypeAlias = "int | tuple[int, int]"
Channels: TypeAlias = Literal["auto", "rgb", "bgr", "gray"]
Layout: TypeAlias = Literal["auto", "nchw", "nhwc"]
Interpolation: TypeAlias = Literal["bilinear", "bicubic", "nearest"]


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What is done to an image, in the order of the attributes.

    The result is `(pixel * scale - mean) / std`, with pixels from 0 to 255.

    Attributes:
        resize: Length of the shorter side, or (width, height) exactly; None: not resized, unless
            `crop` is None too and the model's input has a fixed size, which is then taken.
        crop: What is cut out of the centre: a square's side, or (width, height).
        channels: Their order; `auto`: `gray` for a model of one channel, else `rgb`.
        scale: What pixels are multiplied by.
        mean: What is subtracted after that: one value, or one per channel in the order `channels`.
        std: What that is divided by, likewise.
        layout: Order of the axes; `auto`: as the model's input has 1 or 3 channels.
        interpolation: Of `resize`, over all pixels that an output pixel covers.

    Raises:
        UsageError: A value that makes no sense.
    """

    resize: Size | None = None
    crop: Size | None = None
    channels: Channels = "auto"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    layout: Layout = "auto"
    interpolation: Interpolation = "bilinear"

    def __post_init__(self) -> None:
        for key, size in (("resize", self.resize), ("crop", self.crop)):
            sides = size if isinstance(size, tuple) else (1 if size is None else size,)
            if len(sides) not in (1, 2) or min(sides) < 1:
                raise UsageError(f"preprocess: {key} must be N or (width, height), not {size}")
        for key, value, known in (
            ("channels", self.channels, get_args(Channels)),
            ("layout", self.layout, get_args(Layout)),
            ("interpolation", self.interpolation, get_args(Interpolation)),
        ):
            if value not in known:
                raise UsageError(f"preprocess: {key} is one of {', '.join(known)}, not '{value}'")
        fixed = {"rgb": (1, 3), "bgr": (1, 3), "gray": (1,), "auto": (1, 3)}[self.channels]
        for key, values in (("mean", self.mean), ("std", self.std)):
            if not all(map(math.isfinite, values)):
                raise UsageError(f"preprocess: {key} must be finite")
            if len(values) not in fixed:
                counts = "one value" if fixed == (1,) else "one or three values"
                raise UsageError(f"preprocess: {key} takes {counts}, not {len(values)}")
        if not math.isfinite(self.scale):
            raise UsageError("preprocess: scale must be finite")
        if 0.0 in self.std:
            raise UsageError("preprocess: std must not be 0")

    @property
    def keeps_values(self) -> bool:
        """Whether pixels stay the integers that they are."""
        return self.scale == 1 and not any(self.mean) and set(self.std) == {1.0}

    @classmethod
    def parse(cls, text: str) -> Preprocess:
        """Read a specification: `[PRESET,]key=value,...`, for instance `imagenet,crop=192`.

        Args:
            text: Numbers may be fractions (`1/255`), values per channel are joined by `:`, sizes
                are `N` or `WIDTHxHEIGHT`.

        Raises:
            UsageError: An unknown preset or key, a value that cannot be read.
        """
        first, *rest = [item.strip() for item in text.split(",")]
        start = cls()
        if "=" not in first:
            if first not in PRESETS:
                raise UsageError(
                    f"preprocess '{first}': the presets are {', '.join(PRESETS)}; "
                    f"other parts are key=value, with the keys {', '.join(_READERS)}"
                )
            start = PRESETS[first]
        else:
            rest = [first, *rest]
        found: dict[str, Any] = {}
        for item in rest:
            key, equals, value = (part.strip() for part in item.partition("="))
            if not equals or key not in _READERS:
                preset = "; a preset comes first" if key in PRESETS else ""
                raise UsageError(
                    f"preprocess '{item}': expected key=value, "
                    f"with one of the keys {', '.join(_READERS)}{preset}"
                )
            if key in found:
                raise UsageError(f"preprocess '{item}': {key} is given twice")
            try:
                found[key] = _READERS[key](value)
            except (ValueError, ZeroDivisionError):
                raise UsageError(f"preprocess '{item}': expected {_EXPECTED[key]}") from None
        return replace(start, **found)


def _size(text: str) -> Size:
    width, cross, height = text.lower().partition("x")
    return (int(width), int(height)) if cross else int(width)


def _number(text: str) -> float:
    over, slash, under = text.partition("/")
    return float(over) / float(under) if slash else float(over)


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(_number(part) for part in text.split(":"))


_READERS: dict[str, Callable[[str], Any]] = {
    "resize": _size,
    "crop": _size,
    "channels": str.lower,
    "scale": _number,
    "mean": _numbers,
    "std": _numbers,
    "layout": str.lower,
    "interpolation": str.lower,
}
_EXPECTED = {
    "resize": "N or WIDTHxHEIGHT",
    "crop": "N or WIDTHxHEIGHT",
    "scale": "a number or a fraction such as 1/255",
    "mean": "numbers joined by ':'",
    "std": "numbers joined by ':'",
}

PRESETS = {
    # torchvision's weights of ImageNet classifiers
    "imagenet": Preprocess(
        resize=256,
        crop=224,
        channels="rgb",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    ),
    # keras.applications.imagenet_utils.preprocess_input, modes "caffe" and "tf"
    "caffe": Preprocess(channels="bgr", scale=1.0, mean=(103.939, 116.779, 123.68)),
    "tf": Preprocess(channels="rgb", scale=1 / 127.5, mean=(1.0,)),
    "none": Preprocess(scale=1.0),
}
"""Preparations that many published models share."""
