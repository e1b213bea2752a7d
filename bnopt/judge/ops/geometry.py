"""Windows over spatial axes: the arithmetic that convolutions and pools share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis of a sliding window.

    Attributes:
        size: Input size.
        kernel: Kernel size, in taps.
        stride: Distance of two windows.
        dilation: Distance of two taps.
        begin: Padding before the input.
        end: Padding after the input.
        out: Output size.
    """

    size: int
    kernel: int
    stride: int
    dilation: int
    begin: int
    end: int
    out: int

    @property
    def span(self) -> int:
        """Input elements from the first tap to the last."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def needed(self) -> int:
        """Length of the padded axis that the windows reach into."""
        return (self.out - 1) * self.stride + self.span

    def taps(self, tap: int) -> slice:
        """The elements of the padded axis that tap number `tap` sees, one per output."""
        start = tap * self.dilation
        return slice(start, start + (self.out - 1) * self.stride + 1, self.stride)

    def counts(self, low: int, high: int) -> list[int]:
        """Per output, how many taps fall on padded positions in [low, high)."""
        return [
            sum(low <= o * self.stride + t * self.dilation < high for t in range(self.kernel))
            for o in range(self.out)
        ]


def axes(
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int] | None,
    dilations: Sequence[int] | None,
    pads: Sequence[int] | None,
    auto_pad: str | None,
    *,
    ceil_mode: bool = False,
) -> list[Axis]:
    """Padding and output size of each spatial axis, as Conv-11 and MaxPool-12 define them."""
    rank = len(kernel)
    strides = strides or [1] * rank
    dilations = dilations or [1] * rank
    pads = pads or [0] * (2 * rank)
    found: list[Axis] = []
    for i, size in enumerate(sizes):
        stride, span = strides[i], (kernel[i] - 1) * dilations[i] + 1
        begin, end = pads[i], pads[i + rank]
        if auto_pad in ("SAME_UPPER", "SAME_LOWER"):
            out = -(-size // stride)
            total = max((out - 1) * stride + span - size, 0)
            small, large = total // 2, total - total // 2
            begin, end = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
        else:
            if auto_pad == "VALID":
                begin = end = 0
            room = size + begin + end - span
            out = (-(-room // stride) if ceil_mode else room // stride) + 1
            # A window that starts in the end padding sees nothing of the input.
            if ceil_mode and (out - 1) * stride >= size + begin:
                out -= 1
        found.append(Axis(size, kernel[i], stride, dilations[i], begin, end, out))
    return found
