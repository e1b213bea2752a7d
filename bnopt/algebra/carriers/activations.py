"""Relu, LeakyRelu and PRelu are homogeneous: `f(s * x) = s * f(x)` for every s >= 0.

They bend at zero, so a shift does not pass, and a negative scale swaps the two sides. The slope of
a PRelu is one number for each x, whatever its shape, so it plays no part.

Source: ONNX operator specification, Relu-1 to -14, LeakyRelu-1 to -16, PRelu-1 to -16.
"""

from __future__ import annotations

from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal
from bnopt.algebra.carriers.common import no_negative, no_shift


def _homogeneous(crossing: Crossing) -> Carried | Refusal:
    return no_shift(crossing) or no_negative(crossing) or Carried({0: crossing.affine})


RELU = Carrier("Relu", (1, 6, 13, 14), _homogeneous, _homogeneous)
LEAKY_RELU = Carrier("LeakyRelu", (1, 6, 16), _homogeneous, _homogeneous)
P_RELU = Carrier("PRelu", (1, 6, 7, 9, 16), _homogeneous, _homogeneous)
