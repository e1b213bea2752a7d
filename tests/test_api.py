"""The public functions, whole: load, plan, apply, prove, write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from graphs import conv_bn, model, normal, operators, run, statistics

import bnopt
from bnopt import errors, passes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "model.onnx"
    onnx.save(conv_bn(), target)
    return target


def test_a_path_is_folded_proven_and_written(path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    result = bnopt.fold(path, output=tmp_path / "out.onnx")
    assert path.read_bytes() == before
    assert result.output == tmp_path / "out.onnx"
    assert result.summary.found == result.summary.folded == 1
    assert result.validation is not None
    assert result.validation.equivalent is True
    assert result.validation.oracle == "float64+onnxruntime"
    assert result.node_counts.before == {"BatchNormalization": 1, "Conv": 1}
    assert result.node_counts.after == {"Conv": 1}
    assert isinstance(result.model, ir.Model)
    assert operators(onnx.load(tmp_path / "out.onnx")) == ["Conv"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx", "out.onnx"]


def test_without_output_nothing_is_written(path: Path, tmp_path: Path) -> None:
    result = bnopt.fold(path)
    assert result.output is None
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    saved = result.save(tmp_path / "later.onnx")
    assert operators(onnx.load(saved)) == ["Conv"]


@pytest.mark.parametrize("kind", ["proto", "ir"])
def test_the_kind_given_comes_back_and_the_argument_is_unchanged(kind: str) -> None:
    proto = conv_bn()
    before = proto.SerializeToString()
    given = proto if kind == "proto" else ir.from_proto(proto)
    result = bnopt.fold(given)
    assert type(result.model) is type(given)
    assert proto.SerializeToString() == before
    if isinstance(given, ir.Model):
        assert [n.op_type for n in given.graph] == ["Conv", "BatchNormalization"]
    out = result.model if kind == "proto" else ir.to_proto(result.model)
    x = normal(2, 3, 8, 8)
    np.testing.assert_allclose(run(out, x=x)[0], run(proto, x=x)[0], rtol=1e-4, atol=1e-5)


def test_in_place(path: Path) -> None:
    result = bnopt.fold(path, in_place=True)
    assert result.output == path
    assert operators(onnx.load(path)) == ["Conv"]


def test_a_second_fold_writes_the_same_bytes(path: Path, tmp_path: Path) -> None:
    first = bnopt.fold(path, output=tmp_path / "1.onnx")
    second = bnopt.fold(tmp_path / "1.onnx", output=tmp_path / "2.onnx")
    assert first.summary.folded == 1
    assert second.summary.found == 0
    assert second.validation is None
    assert (tmp_path / "1.onnx").read_bytes() == (tmp_path / "2.onnx").read_bytes()


def test_dry_run(path: Path, tmp_path: Path) -> None:
    result = bnopt.fold(path, output=tmp_path / "out.onnx", dry_run=True)
    assert result.dry_run
    assert result.summary.folded == 1
    assert result.validation is None
    assert result.output is None
    assert not (tmp_path / "out.onnx").exists()


def test_inspect_says_what_fold_would_do(path: Path) -> None:
    found, done = bnopt.inspect(path), bnopt.fold(path)
    assert found.sites == done.sites
    assert found.info == done.info
    assert found.info.opset == {"ai.onnx": 17}


def broken() -> onnx.ModelProto:
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] z) {
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
        d = Conv(y, V)
        z = BatchNormalization(d, hg, hb, hm, hv)
    }"""
    weights = {**statistics(4), **statistics(4, prefix="h"), "V": normal(4, 4, 1, 1)}
    weights["v"] = np.array([1, np.nan, 1, 1], np.float32)
    return model(text, W=normal(4, 3, 1, 1), **weights)


def test_an_error_finding_stops_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(broken(), path)
    with pytest.raises(bnopt.RefusalError) as caught:
        bnopt.fold(path, output=tmp_path / "out.onnx")
    assert [f.code for f in caught.value.findings] == ["non-finite"]
    assert caught.value.result.summary.found == 2
    assert "--allow non-finite" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize("allow", [["non-finite"], ["all"]])
def test_allowed_findings_do_not_stop_it(allow: list[str]) -> None:
    result = bnopt.fold(broken(), allow=allow, validate=False)
    assert result.summary.folded == 1
    assert result.summary.kept == 1


def test_what_fails_validation_is_not_written(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = passes.apply

    def spoil(work: ir.Model, plan: passes.Plan) -> tuple[str, ...]:
        notes = real(work, plan)
        bias = work.graph.initializers["c.bias"]
        assert bias.const_value is not None
        bias.const_value = ir.tensor(bias.const_value.numpy() + np.float32(1e-3), name="c.bias")
        return notes

    monkeypatch.setattr(passes, "apply", spoil)
    with pytest.raises(errors.ValidationError) as caught:
        bnopt.fold(path, output=tmp_path / "out.onnx")
    assert caught.value.validation is not None
    assert caught.value.validation.equivalent is False
    assert "'y'" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_output_over_the_input_needs_in_place(path: Path) -> None:
    with pytest.raises(errors.UsageError, match="in-place"):
        bnopt.fold(path, output=path)


def test_in_place_needs_a_path() -> None:
    with pytest.raises(errors.UsageError):
        bnopt.fold(conv_bn(), in_place=True)


def test_validate_tells_models_apart(path: Path) -> None:
    other = conv_bn(**{**statistics(4), "b": statistics(4)["b"] + np.float32(1e-3)})
    assert bnopt.validate(path, path).equivalent is True
    assert bnopt.validate(conv_bn(), other).equivalent is False


def test_a_model_no_runtime_here_can_run_is_folded_and_the_report_says_so() -> None:
    """onnxruntime's CPU provider has no bfloat16 Conv."""
    import ml_dtypes

    result = bnopt.fold(conv_bn("bfloat16", np.dtype(ml_dtypes.bfloat16), opset=22))
    assert result.summary.folded == 1
    assert result.validation is not None
    assert result.validation.oracle == "float64"
    assert result.validation.equivalent is True
    assert any("onnxruntime" in note for note in result.validation.notes)


def test_an_unknown_operator_is_folded_around_and_not_proven() -> None:
    text = """g (float[N,3,6,6] x) => (float[N,4,6,6] z) {
        c = Conv(x, W)
        y = BatchNormalization(c, g, b, m, v)
        z = u.Strange(y)
    }"""
    proto = model(text, domains=', "u": 1', W=normal(4, 3, 1, 1), **statistics(4))
    result = bnopt.fold(proto)
    assert result.summary.folded == 1
    assert result.validation is not None
    assert result.validation.equivalent is None
    assert result.validation.oracle == "none"


def test_an_unknown_provider() -> None:
    with pytest.raises(errors.UsageError):
        bnopt.fold(conv_bn(), providers=["tpu"])
