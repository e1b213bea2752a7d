"""Measuring layers that are called more than once: at which depth, by whom, and where it fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import model, normal, run, statistics
from measuring import showing
from siamese import (
    BN,
    FEEDS,
    UNTRAINED,
    assert_read,
    read,
    siamese,
)

import bnopt
from bnopt.errors import RefusalError

METHODS = pytest.mark.parametrize("method", ["precise", "sequential"])


def test_a_second_run_moves_nothing() -> None:
    once = bnopt.calibrate(siamese(), FEEDS, method="sequential").model
    again = bnopt.calibrate(once, FEEDS, method="sequential").model
    for one, other in zip(read(once), read(again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_small_variance_on_a_large_mean() -> None:
    text = f"""g (float[N,4] p, float[M,4] q) => (float[N,4] i, float[M,4] j) {{
        i = {BN}(p, g, b, m, v) j = {BN}(q, g, b, m, v) }}"""
    p, q = normal(40, 4) + np.float32(4000), normal(60, 4, seed=2) + np.float32(4002)
    proto = model(text, **statistics(4))
    found = read(bnopt.calibrate(proto, [{"p": p, "q": q}], method="sequential").model)
    for one in found:
        assert_read(one, p, q)


TWICE = f"""g (float[N,4] x) => (float[N,4] y) {{
    i = MatMul(x, W) j = {BN}(i, g, b, m, v) r = Relu(j) k = MatMul(r, W)
    y = {BN}(k, g, b, m, v) }}"""


def twice(**numbers: np.ndarray) -> onnx.ModelProto:
    return model(TWICE, W=normal(4, 4), **{**UNTRAINED, **numbers})


def test_a_layer_behind_itself() -> None:
    x = normal(40, 4)
    proto = twice()
    result = bnopt.calibrate(proto, {"x": x}, batch_size=40)
    # Each call normalises by its own batch, as in training.
    first = x @ normal(4, 4)
    second = np.maximum((first - first.mean(0)) / np.sqrt(first.var(0) + 1e-5), 0) @ normal(4, 4)
    for found in read(result.model):
        assert_read(found, first, second)
    assert [layer.depth for layer in result.layers] == [0, 1]


def test_sequential_refuses_a_layer_behind_itself(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match=r"'j' and 'y' are calls of one layer.* method precise"):
        bnopt.calibrate(
            twice(), {"x": normal(40, 4)}, method="sequential", output=tmp_path / "o.onnx"
        )
    assert list(tmp_path.iterdir()) == []


def test_sequential_names_the_layer_that_stands_behind_itself() -> None:
    """Not those that only stand behind it."""
    text = TWICE.replace("x) =>", "x, float[N,4] z) =>").replace("y) {", "o, float[N,4] s) {")
    text = text.replace("i = ", f"o = {BN}(z, hg, hb, hm, hv) i = ")
    text = text.replace(" }", f" s = {BN}(y, hg, hb, hm, hv) }}")
    proto = model(text, W=normal(4, 4), **statistics(4), **statistics(4, prefix="h", seed=1))
    feeds = {"x": normal(40, 4), "z": normal(40, 4, seed=2)}
    with pytest.raises(RefusalError, match="'j' and 'y' are calls"):
        bnopt.calibrate(proto, feeds, method="sequential")


CROSSED = f"""g (float[N,4] x, float[N,4] y) => (float[N,4] k, float[N,4] l) {{
    a = {BN}(x, g, b, m, v) i = Relu(a) k = {BN}(i, hg, hb, hm, hv)
    c = {BN}(y, hg, hb, hm, hv) j = Relu(c) l = {BN}(j, g, b, m, v) }}"""


def test_sequential_refuses_layers_that_wait_for_each_other() -> None:
    proto = model(CROSSED, **statistics(4), **statistics(4, prefix="h", seed=1))
    feeds = {"x": normal(40, 4), "y": normal(40, 4, seed=2) + 1}
    with pytest.raises(RefusalError, match="are calls of one layer"):
        bnopt.calibrate(proto, feeds, method="sequential")
    assert len(bnopt.calibrate(proto, feeds).layers) == 4


def test_calls_at_different_depths() -> None:
    """The earlier call waits for the later one, and what is behind the earlier one for both."""
    text = f"""g (float[N,4] x, float[N,4] y) => (float[N,4] o, float[N,4] l) {{
        k = {BN}(y, hg, hb, hm, hv) j = Relu(k)
        l = {BN}(j, g, b, m, v)
        i = {BN}(x, g, b, m, v) n = Relu(i)
        o = {BN}(n, kg, kb, km, kv) }}"""
    numbers = {**statistics(4), **statistics(4, prefix="h", seed=1)}
    proto = model(text, **numbers, **statistics(4, prefix="k", seed=2))
    feeds = {"x": normal(40, 4), "y": normal(40, 4, seed=2) + 1}
    result = bnopt.calibrate(proto, feeds, method="sequential", batch_size=7)
    assert {layer.name: layer.depth for layer in result.layers} == {"k": 0, "l": 1, "i": 1, "o": 2}
    assert result.passes == 3
    j, n = run(showing(result.model, "j", "n"), **feeds)
    first, later, earlier, last = read(result.model)
    assert_read(first, feeds["y"])
    assert_read(later, j, feeds["x"])
    assert_read(earlier, j, feeds["x"])
    assert_read(last, n)


class Stop(KeyboardInterrupt):
    pass


@METHODS
def test_resume(tmp_path: Path, method) -> None:
    proto, partial = siamese(), tmp_path / "partial"
    options = {"method": method, "batch_size": 3}
    whole = bnopt.calibrate(proto, FEEDS, **options)

    def stop(stage: str, done: int, total: int) -> None:
        if stage.startswith("measure") and done:
            raise Stop

    with pytest.raises(Stop):
        bnopt.calibrate(proto, FEEDS, **options, resume=partial, progress=stop)
    result = bnopt.calibrate(proto, FEEDS, **options, resume=partial)
    assert result.resumed > 0
    for one, other in zip(read(whole.model), read(result.model), strict=True):
        np.testing.assert_array_equal(one, other)


def test_on_dask() -> None:
    pytest.importorskip("distributed", reason="needs dask")
    there = bnopt.calibrate(siamese(), FEEDS, batch_size=3, engine="dask", workers=2)
    here = bnopt.calibrate(siamese(), FEEDS, batch_size=3)
    assert here.layers == there.layers
    assert any("called 2 times" in note for note in there.notes)


DENSE = f"""g (float[N,4] p, float[N,4] q) => (float[N,4] z) {{
    i = {BN}(p, g, b, m, v) j = {BN}(q, g, b, m, v) z = Sub(i, j) }}"""


def test_one_number_for_each_call_and_batch() -> None:
    """Two calls have two numbers in a batch, but each normalises its own to zero."""
    feeds = {"p": normal(8, 4), "q": normal(8, 4, seed=2)}
    with pytest.raises(RefusalError, match="'i' is one number for each channel and batch"):
        bnopt.calibrate(model(DENSE, **statistics(4)), feeds, batch_size=1)


def test_the_call_whose_input_is_not_finite_is_named() -> None:
    feeds = {"p": normal(8, 4), "q": np.full((8, 4), np.inf, np.float32)}
    with pytest.raises(RefusalError, match="the input of 'j' is not finite"):
        bnopt.calibrate(model(DENSE, **statistics(4)), feeds)


def test_a_call_without_any_number_counts_nothing() -> None:
    text = DENSE.replace("float[N,4] q", "float[N,4,L] q").replace(
        "float[N,4] z", "float[N,4] i, float[N,4,L] j"
    )
    proto = model(text.replace("z = Sub(i, j)", ""), **statistics(4))
    p = normal(8, 4)
    feeds = {"p": p, "q": np.zeros((8, 4, 0), np.float32)}
    for found in read(bnopt.calibrate(proto, feeds, method="sequential").model):
        assert_read(found, p)
