"""The channel affine: the one idea that everything else moves around.

An inference-mode batch norm computes `y = scale * x + shift` along one axis, with

    scale = gamma / sqrt(var + epsilon)
    shift = beta - mean * scale

(Ioffe & Szegedy 2015, algorithm 2; ONNX operator specification, BatchNormalization-15.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bnopt.algebra.double_double import DoubleDouble


@dataclass(frozen=True, slots=True)
class ChannelAffine:
    """`y[c] = scale[c] * x[c] + shift[c]`, both of shape [C], as float64 pairs."""

    scale: DoubleDouble
    shift: DoubleDouble

    @staticmethod
    def from_statistics(
        gamma: npt.ArrayLike,
        beta: npt.ArrayLike,
        mean: npt.ArrayLike,
        variance: npt.ArrayLike,
        epsilon: float,
    ) -> ChannelAffine:
        """The affine of a batch norm in inference mode.

        Args:
            gamma: Shape [C]; the operator's `scale`.
            beta: Shape [C]; the operator's `B`.
            mean: Shape [C]; the moving mean.
            variance: Shape [C]; the moving variance, with `variance + epsilon > 0`.
            epsilon: Added to the variance before the root.
        """
        spread = DoubleDouble.of(variance) + DoubleDouble.of(np.float64(epsilon))
        scale = DoubleDouble.of(gamma) / spread.sqrt()
        return ChannelAffine(scale, DoubleDouble.of(beta) - DoubleDouble.of(mean) * scale)

    @staticmethod
    def from_offset(offset: npt.ArrayLike, sign: float = 1.0) -> ChannelAffine:
        """The affine `y = sign * x + offset`; `offset` has shape [C]."""
        shift = DoubleDouble.of(offset)
        return ChannelAffine(DoubleDouble.of(np.full(shift.shape, sign)), shift)

    @property
    def channels(self) -> int:
        """C, the number of channels."""
        return self.scale.shape[0]

    def is_finite(self) -> bool:
        """Whether every scale and shift is finite."""
        return self.scale.is_finite() and self.shift.is_finite()

    def after(self, inner: ChannelAffine) -> ChannelAffine:
        """The composition: first `inner`, then this."""
        return ChannelAffine(self.scale * inner.scale, self.apply(inner.shift))

    def apply(self, values: DoubleDouble) -> DoubleDouble:
        """`scale * values + shift`; `values` has shape [C] or [..., C]."""
        return self.scale * values + self.shift
