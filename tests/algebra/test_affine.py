"""The channel affine against 80-digit decimals."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bnopt.algebra.affine import Affine
from bnopt.algebra.double_double import DoubleDouble

NUMBERS = st.floats(-1e6, 1e6).filter(lambda x: x == 0 or abs(x) > 1e-6)
EPSILON = 1e-5
VARIANCES = st.floats(0, 1e6).filter(lambda x: x == 0 or x > 1e-12)


def exact(pair: DoubleDouble) -> Decimal:
    return Decimal(float(pair.hi[0])) + Decimal(float(pair.lo[0]))


def close(pair: DoubleDouble, truth: Decimal, scale: Decimal) -> bool:
    return abs(exact(pair) - truth) <= abs(scale) * Decimal(2) ** -98


@given(NUMBERS, NUMBERS, NUMBERS, VARIANCES, st.sampled_from([1e-3, 1e-5, 1e-12]))
def test_from_statistics(gamma: float, beta: float, mean: float, var: float, eps: float) -> None:
    affine = Affine.from_statistics([gamma], [beta], [mean], [var], eps)
    with localcontext() as context:
        context.prec = 80
        scale = Decimal(gamma) / (Decimal(var) + Decimal(eps)).sqrt()
        shift = Decimal(beta) - Decimal(mean) * scale
        assert close(affine.scale, scale, scale)
        assert close(affine.shift, shift, abs(Decimal(beta)) + abs(Decimal(mean) * scale))


@given(*[NUMBERS] * 5)
def test_after_composes_in_order(s1: float, t1: float, s2: float, t2: float, x: float) -> None:
    first = Affine(DoubleDouble.of([s1]), DoubleDouble.of([t1]))
    second = Affine(DoubleDouble.of([s2]), DoubleDouble.of([t2]))
    with localcontext() as context:
        context.prec = 80
        truth = Decimal(s2) * (Decimal(s1) * Decimal(x) + Decimal(t1)) + Decimal(t2)
        size = (abs(Decimal(s2) * Decimal(s1) * Decimal(x)) + abs(Decimal(s2) * Decimal(t1))) + abs(
            Decimal(t2)
        )
        assert close(second.after(first).apply(DoubleDouble.of([x])), truth, size)


def test_cancellation_keeps_its_digits() -> None:
    # Mean 1e6 behind a bias of 1e6: float64 alone keeps only six digits of b - mean.
    affine = Affine.from_statistics([3.0], [0.0], [1e6], [7.0], EPSILON)
    folded = affine.apply(DoubleDouble.of(np.array([1e6 + 2.0**-30])))
    with localcontext() as context:
        context.prec = 80
        truth = Decimal(2) ** -30 * 3 / (Decimal(7) + Decimal(EPSILON)).sqrt()
        assert abs(exact(folded) / truth - 1) < Decimal("1e-15")
