"""Vectors in double-double arithmetic: an unevaluated sum `hi + lo` of two float64 arrays.

A bias after folding is `s * b + t`, a difference of numbers that may nearly cancel (a batch norm
with mean 1e6 behind a bias of 1e6). Plain float64 then loses more than the half unit in the last
place that a fold may cost, and for double weights it always does. About 104 bits do not.

The error-free transformations are those of Dekker (1971) and Knuth (TAOCP 2, 4.2.2); the compound
operations follow Hida, Li & Bailey (2001), "Algorithms for quad-double precision arithmetic".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Float64Array: TypeAlias = npt.NDArray[np.float64]

_SPLITTER = 134217729.0  # 2**27 + 1


def two_sum(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return `(s, e)` with `s = fl(a + b)` and `s + e = a + b` exactly."""
    s = a + b
    bb = s - a
    return s, (a - (s - bb)) + (b - bb)


def two_product(a: Float64Array, b: Float64Array) -> tuple[Float64Array, Float64Array]:
    """Return `(p, e)` with `p = fl(a * b)` and `p + e = a * b`, exact short of underflow.

    Where splitting an operand overflows (above 2**996) the error term is 0, so that the product
    is at least the rounded one.
    """
    p = np.asarray(a * b)
    a_hi, a_lo = _split(a)
    b_hi, b_lo = _split(b)
    e = ((a_hi * b_hi - p) + a_hi * b_lo + a_lo * b_hi) + a_lo * b_lo
    return p, np.where(np.isfinite(e), e, 0.0)


def _split(a: Float64Array) -> tuple[Float64Array, Float64Array]:
    c = _SPLITTER * a
    hi = c - (c - a)
    return hi, a - hi


@dataclass(frozen=True, slots=True)
class DoubleDouble:
    """An array of numbers `hi + lo`, with `|lo| <= ulp(hi) / 2`; both float64, of one shape."""

    hi: Float64Array
    lo: Float64Array

    @staticmethod
    def of(values: npt.ArrayLike) -> DoubleDouble:
        """Wrap values that float64 holds exactly."""
        hi = np.asarray(values).astype(np.float64)
        return DoubleDouble(hi, np.zeros_like(hi))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self.hi.shape

    def reshape(self, *shape: int) -> DoubleDouble:
        """The same numbers in another shape."""
        return DoubleDouble(self.hi.reshape(shape), self.lo.reshape(shape))

    def map(self, function: Callable[[Float64Array], Float64Array]) -> DoubleDouble:
        """`function`, which moves or repeats numbers but computes none, applied to both parts."""
        return DoubleDouble(function(self.hi), function(self.lo))

    def uniform_along(self, axis: int) -> DoubleDouble | None:
        """The same numbers with length 1 along `axis`; None if they differ along it."""
        if self.shape[axis] == 1:
            return self
        first = self.map(lambda array: np.take(array, [0], axis))
        same = bool((self.hi == first.hi).all() and (self.lo == first.lo).all())
        return first if same else None

    def sum(self, axis: int) -> DoubleDouble:
        """The sum along `axis`, which stays with length 1; pairwise, each step in double-double."""
        rest = self
        while (length := rest.shape[axis]) > 1:
            half = length // 2
            first = rest.map(lambda a, h=half: np.take(a, range(h), axis))
            second = rest.map(lambda a, h=half: np.take(a, range(h, 2 * h), axis))
            total = first + second
            if length % 2:
                odd = rest.map(lambda a, n=length: np.take(a, [n - 1], axis))
                total = total.joined(odd, axis)
            rest = total
        return rest

    def joined(self, other: DoubleDouble, axis: int) -> DoubleDouble:
        """Both, one after the other along `axis`."""
        return DoubleDouble(
            np.concatenate([self.hi, other.hi], axis), np.concatenate([self.lo, other.lo], axis)
        )

    def is_finite(self) -> bool:
        """Whether every number is finite."""
        return bool(np.isfinite(self.hi).all())

    def is_zero(self) -> bool:
        """Whether every number is zero."""
        return not self.hi.any()

    def is_one(self) -> bool:
        """Whether every number is one."""
        return bool((self.hi == 1).all() and not self.lo.any())

    def __neg__(self) -> DoubleDouble:
        return DoubleDouble(-self.hi, -self.lo)

    def __add__(self, other: DoubleDouble) -> DoubleDouble:
        with np.errstate(all="ignore"):
            s, e = two_sum(self.hi, other.hi)
            t, f = two_sum(self.lo, other.lo)
            s, e = _renormalise(s, e + t)
            return DoubleDouble(*_renormalise(s, e + f))

    def __sub__(self, other: DoubleDouble) -> DoubleDouble:
        return self + (-other)

    def __mul__(self, other: DoubleDouble) -> DoubleDouble:
        with np.errstate(all="ignore"):
            p, e = two_product(self.hi, other.hi)
            return DoubleDouble(*_renormalise(p, e + (self.hi * other.lo + self.lo * other.hi)))

    def __truediv__(self, other: DoubleDouble) -> DoubleDouble:
        with np.errstate(all="ignore"):
            q1 = self.hi / other.hi
            rest = self - other * DoubleDouble.of(q1)
            q2 = rest.hi / other.hi
            rest = rest - other * DoubleDouble.of(q2)
            q3 = rest.hi / other.hi
            return DoubleDouble(*_renormalise(q1, q2)) + DoubleDouble.of(q3)

    def sqrt(self) -> DoubleDouble:
        """The square root of positive numbers; one Newton step on the float64 root (Karp)."""
        with np.errstate(all="ignore"):
            root = np.sqrt(self.hi)
            rest = self - DoubleDouble.of(root) * DoubleDouble.of(root)
            return DoubleDouble(*_renormalise(root, rest.hi / (2.0 * root)))


def _renormalise(s: Float64Array, e: Float64Array) -> tuple[Float64Array, Float64Array]:
    t = np.asarray(s + e)
    rest = e - (t - s)
    # inf - inf is NaN; an overflown number stays an infinity, with no tail.
    return t, np.where(np.isfinite(rest), rest, 0.0)
