"""`bnopt.calibrate` compares what it wrote in the place of batch norms with the original."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from batch_models import IN_CHAIN, batch_model
from graphs import conv_bn, model, normal, statistics

import bnopt
from bnopt.calibration import statistics as writing
from bnopt.calibration.insert import insert
from bnopt.errors import ValidationError

X = normal(40, 3, 8, 8)
MERGED = "s = Mul(c, S) y = Add(s, B)"
WITH_CONSTANTS = """t = Add(V, e) o = Sqrt(t) d = Sub(c, M) n = Div(d, o) s = Mul(n, G)
    y = Add(s, B)"""
AFTER_TRAINING_MODE = """p, q, u = BatchNormalization<training_mode = 1>(c, g, b, m, v)
    r = Relu(p) s = Mul(r, S) y = Add(s, B)"""


def written_out(body: str) -> onnx.ModelProto:
    """A batch norm made of constants: exported untrained, or as a frozen graph has it."""
    numbers = {name.upper(): each.reshape(1, 4, 1, 1) for name, each in statistics(4).items()}
    numbers |= statistics(4) | {"e": np.array(1e-3, np.float32), "W": normal(4, 3, 3, 3)}
    numbers["S"] = np.full((1, 4, 1, 1), 1 / np.sqrt(1.001), np.float32)
    text = f"g (float[N,3,8,8] x) => (float[N,4,6,6] y) {{ c = Conv(x, W) {body} }}"
    return model(text, **numbers)


def test_nothing_is_compared_where_nothing_was_rewritten() -> None:
    assert bnopt.calibrate(conv_bn(), {"x": X}).proof is None


@pytest.mark.parametrize("body", [MERGED, WITH_CONSTANTS, AFTER_TRAINING_MODE])
def test_what_was_made_of_constants_is_compared(body: str) -> None:
    result = bnopt.calibrate(written_out(body), {"x": X})
    assert result.kept == ()
    assert result.proof is not None
    assert result.proof.equivalent
    assert bnopt.calibrate(written_out(body), {"x": X}, validate=False).proof is None


def test_a_wrong_rewrite_is_not_written(tmp_path: Path, monkeypatch) -> None:
    store = writing.store

    def wrong(slot, found):
        return store(
            slot, found if found is None else type(found)(found.count, found.mean, found.m2 * 1.1)
        )

    monkeypatch.setattr("bnopt.calibration.methods.store", wrong)
    proto = batch_model(IN_CHAIN.format(axes="0, 2, 3"))
    with pytest.raises(ValidationError, match="do not reproduce the original"):
        bnopt.calibrate(proto, {"x": X}, output=tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []
    bnopt.calibrate(proto, {"x": X}, output=tmp_path / "out.onnx", validate=False)


@pytest.mark.parametrize(
    ("body", "module"),
    [(MERGED, "merged"), (WITH_CONSTANTS, "written_out"), (AFTER_TRAINING_MODE, "merged")],
    ids=["merged", "constants", "after training mode"],
)
def test_constants_as_another_batch_norm_are_not_written(
    tmp_path: Path, monkeypatch, body: str, module: str
) -> None:
    proto = written_out(body)
    before = proto.SerializeToString()

    def wrong(*given, gamma, **rest):
        return insert(*given, gamma=gamma * 1.01, **rest)

    monkeypatch.setattr(f"bnopt.calibration.{module}.insert", wrong)
    with pytest.raises(ValidationError, match="do not reproduce the original") as caught:
        bnopt.calibrate(proto, {"x": X}, output=tmp_path / "out.onnx")
    assert caught.value.validation is not None
    assert caught.value.validation.equivalent is False
    assert list(tmp_path.iterdir()) == []
    assert proto.SerializeToString() == before
    bnopt.calibrate(proto, {"x": X}, output=tmp_path / "out.onnx", validate=False)
