"""The affine: the one idea that everything else moves around.

An inference-mode batch norm computes `y = scale * x + shift` along one axis, with

    scale = gamma / sqrt(var + epsilon)
    shift = beta - mean * scale

(Ioffe & Szegedy 2015, algorithm 2; ONNX operator specification, BatchNormalization-15.)

Scale and shift are arrays of the rank of x, with length 1 along every axis along which they do not
vary: [1, C, 1, 1] for a batch norm on images. So a Transpose permutes them, a Concat cuts them, and
statistics per activation, scalars and constants along the wrong axis are affines like any other;
it is the host that says along which axis it can take one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnopt.algebra.double_double import DoubleDouble, Float64Array


@dataclass(frozen=True, slots=True)
class Affine:
    """`y = scale * x + shift`, both broadcast to x; float64 pairs of one rank, lengths 1 or n."""

    scale: DoubleDouble
    shift: DoubleDouble

    @staticmethod
    def from_statistics(
        gamma: npt.ArrayLike,
        beta: npt.ArrayLike,
        mean: npt.ArrayLike,
        variance: npt.ArrayLike,
        epsilon: float,
    ) -> Affine:
        """The affine of a batch norm in inference mode.

        Args:
            gamma: The operator's `scale`; all four arrays have one shape, which the result has too.
            beta: The operator's `B`.
            mean: The moving mean.
            variance: The moving variance, with `variance + epsilon > 0`.
            epsilon: Added to the variance before the root.
        """
        spread = DoubleDouble.of(variance) + DoubleDouble.of(np.float64(epsilon))
        scale = DoubleDouble.of(gamma) / spread.sqrt()
        return Affine(scale, DoubleDouble.of(beta) - DoubleDouble.of(mean) * scale)

    @staticmethod
    def from_shift(shift: DoubleDouble, scale: float = 1.0) -> Affine:
        """The affine `y = scale * x + shift` with the same scale everywhere."""
        return Affine(DoubleDouble.of(np.full([1] * len(shift.shape), scale)), shift)

    @staticmethod
    def from_scale(scale: DoubleDouble) -> Affine:
        """The affine `y = scale * x`."""
        return Affine(scale, DoubleDouble.of(np.zeros([1] * len(scale.shape))))

    @property
    def rank(self) -> int:
        """The rank of what it is applied to."""
        return len(self.scale.shape)

    def length(self, axis: int) -> int:
        """Its length along `axis`: 1, or that of what it is applied to."""
        return max(self.scale.shape[axis], self.shift.shape[axis])

    def is_finite(self) -> bool:
        """Whether every scale and shift is finite."""
        return self.scale.is_finite() and self.shift.is_finite()

    def after(self, inner: Affine) -> Affine:
        """The composition: first `inner`, then this."""
        return Affine(self.scale * inner.scale, self.apply(inner.shift))

    def apply(self, values: DoubleDouble) -> DoubleDouble:
        """`scale * values + shift`, with broadcasting."""
        return self.scale * values + self.shift

    def without_shift(self) -> Affine:
        """Its linear part."""
        return Affine.from_scale(self.scale)

    def map(self, function: Callable[[Float64Array], Float64Array]) -> Affine:
        """`function`, which moves or repeats numbers but computes none, on scale and shift."""
        return Affine(self.scale.map(function), self.shift.map(function))

    def uniform_along(self, axes: Iterable[int]) -> Affine | None:
        """The same affine with length 1 along `axes`; None if it varies along one of them."""
        scale: DoubleDouble | None = self.scale
        shift: DoubleDouble | None = self.shift
        for axis in axes:
            scale = None if scale is None else scale.uniform_along(axis)
            shift = None if shift is None else shift.uniform_along(axis)
        return None if scale is None or shift is None else Affine(scale, shift)

    def varying(self) -> tuple[int, ...]:
        """The axes along which its numbers really differ."""
        return tuple(
            axis
            for axis in range(self.rank)
            if self.length(axis) > 1 and self.uniform_along([axis]) is None
        )
