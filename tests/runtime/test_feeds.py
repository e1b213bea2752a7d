from __future__ import annotations

import numpy as np
import pytest

from bnopt.errors import DataError
from bnopt.runtime.feeds import MAGNITUDES, Sizes, batch_symbol, fixed_batch, generate, ladder
from bnopt.runtime.interface import TensorInfo

IMAGE = TensorInfo("x", "float", ("N", 3, "H", "H"))


def test_the_same_seed_gives_the_same_feed():
    one, same, other = (generate([IMAGE], seed=seed)["x"] for seed in (7, 7, 8))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()


def test_symbols_are_bound_once():
    mask = TensorInfo("m", "float", (None, "H"))
    feed = generate([IMAGE, mask], batch=3, sizes=Sizes(symbol=5))
    assert feed["x"].shape == (3, 3, 5, 5)
    assert feed["m"].shape == (3, 5)


@pytest.mark.parametrize("magnitude", MAGNITUDES)
def test_magnitudes(magnitude):
    x = generate([IMAGE], magnitude=magnitude)["x"]
    spread = {
        "normal x1": 1.0,
        "uniform [0, 1)": 12**-0.5,
        "normal x30": 30.0,
        "normal x0.03": 0.03,
    }[magnitude]
    assert x.std() == pytest.approx(spread, rel=0.05)
    assert (x.min() < 0) == ("normal" in magnitude)


@pytest.mark.parametrize(
    ("dtype", "numpy_name", "low", "high"),
    [
        ("int64", "int64", 0, 9),
        ("uint8", "uint8", 0, 255),
        ("int8", "int8", 0, 127),
        ("bool", "bool", 0, 1),
    ],
)
def test_integers_are_small_and_not_negative(dtype, numpy_name, low, high):
    x = generate([TensorInfo("x", dtype, (4000,))])["x"]
    assert x.dtype == numpy_name
    assert (int(x.min()), int(x.max())) == (low, high)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "double"])
def test_other_floats_keep_their_dtype(dtype):
    name = {"double": "float64"}.get(dtype, dtype)
    assert str(generate([TensorInfo("x", dtype, (2,))])["x"].dtype) == name


@pytest.mark.parametrize(
    ("info", "reason"),
    [
        (TensorInfo("x", "string", (2,)), "of string"),
        (TensorInfo("x", "sequence", None), "no shape"),
        (TensorInfo("x", "float", None), "no shape"),
    ],
)
def test_what_cannot_be_made_up_is_refused(info, reason):
    with pytest.raises(DataError, match=rf"input 'x'.*{reason}|{reason}"):
        generate([info])


def test_batch_symbol_and_fixed_batch():
    assert batch_symbol([IMAGE]) == "N"
    assert batch_symbol([TensorInfo("x", "float", (None, 3))]) is not None
    assert batch_symbol([TensorInfo("x", "float", (4, 3)), TensorInfo("s", "float", ())]) is None
    assert fixed_batch([TensorInfo("s", "float", ()), TensorInfo("x", "float", (4, 3))]) == 4


def test_the_ladder_varies_only_what_is_open():
    assert len(list(ladder([TensorInfo("x", "float", ("N", 3, 8, 8))]))) == 1
    sizes = list(ladder([TensorInfo("x", "float", ("N", "C", "H", "W"))]))
    assert sizes[0].channels == 3
    assert {rung.channels for rung in sizes} == {3, 1, None}
    assert {rung.int_high for rung in ladder([TensorInfo("i", "int64", ("N", 3))])} == {10, 2}
