"""`bnopt.calibrate`: what is written are the moments of the data, however the model came."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from batch_models import IN_CHAIN, IN_NODE, batch_model
from graphs import conv_bn, model, normal, run, statistics
from measuring import showing
from onnx import helper, numpy_helper

import bnopt
from bnopt.errors import DataError, RefusalError, UsageError

CHAIN = """g (float[N,3,9,9] x) => (float[N,5] z) {
    c = Conv(x, W) p = BatchNormalization(c, g, b, m, v) r = Relu(p)
    d = Conv(r, V) q = BatchNormalization(d, hg, hb, hm, hv) s = Relu(q)
    f = GlobalAveragePool(s) h = Flatten(f) i = MatMul(h, M)
    z = BatchNormalization(i, kg, kb, km, kv) }"""
INPUTS = ("c", "d", "i")


def chain(training: bool = False, opset: int = 17) -> onnx.ModelProto:
    text = CHAIN
    if training:
        text = text.replace("BatchNormalization(", "BatchNormalization<training_mode = 1>(")
    return model(
        text,
        opset,
        W=normal(4, 3, 3, 3),
        V=normal(6, 4, 3, 3),
        M=normal(6, 5),
        **statistics(4),
        **statistics(6, prefix="h", seed=1),
        **statistics(5, prefix="k", seed=2),
    )


X = normal(50, 3, 9, 9, seed=3) * 2 + 1


def stored(proto: onnx.ModelProto) -> list[tuple[np.ndarray, np.ndarray]]:
    values = {one.name: numpy_helper.to_array(one) for one in proto.graph.initializer}
    norms = [node for node in proto.graph.node if node.op_type == "BatchNormalization"]
    return [(values[node.input[3]], values[node.input[4]]) for node in norms]


def moments(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    rows = np.moveaxis(array.astype(np.float64), 1, 0).reshape(array.shape[1], -1)
    return rows.mean(axis=1), rows.var(axis=1)


def close(found, wanted, rtol: float = 2e-5) -> None:
    for (mean, variance), (true_mean, true_variance) in zip(found, wanted, strict=True):
        np.testing.assert_allclose(variance, true_variance, rtol=rtol)
        error = np.abs(mean - true_mean) / np.sqrt(true_variance)
        assert error.max() < rtol


def test_sequential_is_the_fixed_point_at_any_batch_size() -> None:
    results = []
    for size in (7, 50):
        result = bnopt.calibrate(chain(), {"x": X}, method="sequential", batch_size=size)
        seen = run(showing(result.model, *INPUTS), x=X)
        close(stored(result.model), [moments(one) for one in seen])
        assert [layer.depth for layer in result.layers] == [0, 1, 2]
        assert result.passes == 3
        assert result.samples == 50
        results.append(stored(result.model))
    close(*results, rtol=1e-5)
    again = bnopt.calibrate(result.model, {"x": X}, method="sequential", batch_size=50)
    for first, second in zip(stored(result.model), stored(again.model), strict=True):
        np.testing.assert_array_equal(first, second)


def test_precise_normalises_by_batches_as_training_does() -> None:
    result = bnopt.calibrate(chain(), {"x": X}, batch_size=20)
    assert result.passes == 1
    parts: list[list[np.ndarray]] = [[], [], []]
    for start in (0, 20, 40):
        values = batch_normalised(X[start : start + 20])
        for part, value in zip(parts, values, strict=True):
            part.append(value)
    close(stored(result.model), [moments(np.concatenate(part)) for part in parts])
    fixed = bnopt.calibrate(chain(), {"x": X}, method="sequential")
    # The first layer has nothing before it that could be noisy; the others differ.
    close(stored(result.model)[:1], stored(fixed.model)[:1])
    with pytest.raises(AssertionError):
        close(stored(result.model)[1:], stored(fixed.model)[1:], rtol=1e-3)


def batch_normalised(x: np.ndarray) -> list[np.ndarray]:
    """What the three batch norms get if each normalises by the moments of this batch."""
    proto = chain()
    for name, operands in zip(INPUTS, ("mv", ("hm", "hv"), ("km", "kv")), strict=True):
        mean, variance = moments(run(showing(proto, name), x=x)[0])
        for operand, numbers in zip(operands, (mean, variance), strict=True):
            one = next(one for one in proto.graph.initializer if one.name == operand)
            one.CopyFrom(numpy_helper.from_array(numbers.astype(np.float32), operand))
    return run(showing(proto, *INPUTS), x=x)


@pytest.mark.parametrize("method", ["precise", "sequential"])
def test_the_form_makes_no_difference(method) -> None:
    x = normal(40, 3, 8, 8)
    plain = conv_bn()
    training = conv_bn()
    training.graph.node[1].attribute.append(helper.make_attribute("training_mode", 1))
    training.graph.node[1].output.extend(["rm", "rv"])
    written = batch_model(IN_CHAIN.format(axes="0, 2, 3"))
    want = stored(bnopt.calibrate(plain, {"x": x}, method=method).model)
    for proto in (training, batch_model(IN_NODE), written):
        result = bnopt.calibrate(proto, {"x": x}, method=method)
        assert result.proof is not None
        assert result.proof.equivalent
        close(stored(result.model), want)
        assert bnopt.check(result.model, data={"x": x}).ok
        assert bnopt.fold(result.model).summary.folded == 1


def test_what_is_reported(tmp_path: Path) -> None:
    result = bnopt.calibrate(conv_bn(), {"x": X[:, :, :8, :8]}, output=tmp_path / "out.onnx")
    [layer] = result.layers
    assert layer.old_mean == tuple(map(float, statistics(4)["m"]))
    assert layer.count == 50 * 36
    mean, variance = moments(run(showing(conv_bn(), "c"), x=X[:, :, :8, :8])[0])
    old_mean, old_variance = statistics(4)["m"], statistics(4)["v"]
    new, old = np.sqrt(variance + 1e-5), np.sqrt(old_variance + 1e-5)
    np.testing.assert_allclose(layer.shift, (mean - old_mean) / new, rtol=1e-4)
    np.testing.assert_allclose(layer.ratio, old / new, rtol=1e-4)
    c = run(showing(conv_bn(), "c"), x=X[:, :, :8, :8])[0]
    shape = (1, 4, 1, 1)
    wrong = (c - old_mean.reshape(shape)) / old.reshape(shape)
    right = (c - mean.reshape(shape)) / new.reshape(shape)
    assert layer.off == pytest.approx(np.sqrt(((wrong - right) ** 2).mean()), rel=1e-4)
    assert result.output == tmp_path / "out.onnx"
    assert bnopt.check(result.output, data={"x": X[:, :, :8, :8]}).ok
    assert isinstance(result.model, onnx.ModelProto)
    assert result.save(tmp_path / "again.onnx").read_bytes() == result.output.read_bytes()


def test_the_argument_is_not_changed(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(chain(), path)
    before = path.read_bytes()
    bnopt.calibrate(path, {"x": X})
    assert path.read_bytes() == before
    graph = ir.from_proto(chain())
    text = ir.to_proto(graph).SerializeToString()
    assert isinstance(bnopt.calibrate(graph, {"x": X}).model, ir.Model)
    assert ir.to_proto(graph).SerializeToString() == text


def test_one_that_cannot_is_left_and_named() -> None:
    text = CHAIN.replace("r = Relu(p)", "l = Mul(p, G) j = Add(l, B) r = Relu(j)")
    text = text.replace("p = BatchNormalization(c, g, b, m, v)", "p = Relu(c)")
    proto = chain()
    changed = model(text, G=normal(1, 4, 1, 1), B=normal(1, 4, 1, 1))
    changed.graph.initializer.extend(proto.graph.initializer)
    result = bnopt.calibrate(changed, {"x": X}, method="sequential")
    assert [kept.reason for kept in result.kept] == ["merged-statistics"]
    assert len(result.layers) == 2


def test_a_function_is_inlined() -> None:
    text = "g (float[N,3,8,8] x) => (float[N,4,6,6] y) { c = Conv(x, W) y = l.norm(c, g, b, m, v) }"
    body = """<domain: "l", opset_import: ["": 17]> norm (c, g, b, m, v) => (y) {
        y = BatchNormalization(c, g, b, m, v) }"""
    proto = model(text, functions=body, domains=', "l": 1', W=normal(4, 3, 3, 3), **statistics(4))
    x = normal(40, 3, 8, 8)
    result = bnopt.calibrate(proto, {"x": x})
    close(stored(result.model), stored(bnopt.calibrate(conv_bn(), {"x": x}).model))
    assert "inlined" in result.notes[0]


def test_a_switch_is_bound() -> None:
    text = """g (float[N,3,8,8] x, bool t) => (float[N,4,6,6] y) { c = Conv(x, W) y = If(t) <
        then_branch = a () => (float[N,4,6,6] p) {
            p, q, r = BatchNormalization<training_mode = 1>(c, g, b, m, v) },
        else_branch = e () => (float[N,4,6,6] s) { s = BatchNormalization(c, g, b, m, v) }> }"""
    proto = model(text, W=normal(4, 3, 3, 3), **statistics(4))
    x = normal(40, 3, 8, 8)
    with pytest.raises(RefusalError, match="not-measurable"):
        bnopt.calibrate(proto, {"x": x, "t": np.array(False)})
    want = stored(bnopt.calibrate(conv_bn(), {"x": x}).model)
    for value in (False, True):
        result = bnopt.calibrate(proto, {"x": x}, set_inputs={"t": value})
        assert (result.proof is not None) == value
        close(stored(result.model), want)


def test_dropout_in_training_mode_is_switched_off() -> None:
    text = """g (float[N,3,8,8] x) => (float[N,4,6,6] y) { e = Dropout(x, r, t) c = Conv(e, W)
        y, p, q = BatchNormalization<training_mode = 1>(c, g, b, m, v) }"""
    constants = {"r": np.float32(0.5), "t": np.array(True)}
    proto = model(text, W=normal(4, 3, 3, 3), **statistics(4), **constants)
    x = normal(40, 3, 8, 8)
    result = bnopt.calibrate(proto, {"x": x})
    assert result.proof is not None
    assert result.proof.equivalent
    assert "Dropout" in " ".join(result.notes)
    close(stored(result.model), stored(bnopt.calibrate(conv_bn(), {"x": x}).model))


class Stop(KeyboardInterrupt):
    pass


@pytest.mark.parametrize("method", ["precise", "sequential"])
@pytest.mark.parametrize("after", [1, 2, 4])
def test_resume_goes_on_where_it_stopped(tmp_path: Path, method, after: int) -> None:
    partial = tmp_path / "partial"
    options = {"method": method, "batch_size": 3, "samples": 45, "seed": 5}
    whole = bnopt.calibrate(chain(), {"x": X}, **options)
    calls = 0

    def stop(stage: str, done: int, total: int) -> None:
        nonlocal calls
        calls += stage.startswith("measure")
        if calls > after:
            raise Stop

    with pytest.raises(Stop):
        bnopt.calibrate(
            chain(), {"x": X}, **options, resume=partial, output=tmp_path / "o.onnx", progress=stop
        )
    assert [path.name for path in tmp_path.iterdir()] == ["partial"]
    for other in ({"seed": 6}, {"samples": 44}, {"batch_size": 5}):
        with pytest.raises(UsageError, match="another run: its data"):
            bnopt.calibrate(chain(), {"x": X}, **{**options, **other}, resume=partial)
    with pytest.raises(UsageError, match="another run: its model"):
        bnopt.calibrate(chain(opset=16), {"x": X}, **options, resume=partial)
    result = bnopt.calibrate(chain(), {"x": X}, **options, resume=partial)
    assert result.resumed > 0
    assert not partial.exists()
    for first, second in zip(stored(whole.model), stored(result.model), strict=True):
        np.testing.assert_array_equal(first, second)


def test_partial_moments_stay_if_the_result_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(bnopt.BnoptError):
        bnopt.calibrate(
            conv_bn(),
            {"x": normal(8, 3, 8, 8)},
            output=tmp_path / "no" / "o.onnx",
            resume=tmp_path / "p",
        )
    assert (tmp_path / "p").exists()


DENSE = "g (float[N,4] x) => (float[N,4] y) { y = BatchNormalization(x, g, b, m, v) }"


@pytest.mark.parametrize(
    ("proto", "x", "message"),
    [
        (
            model("g (float[N,4] x) => (float[N,4] y) { y = Relu(x) }"),
            normal(8, 4),
            "no batch norm",
        ),
        (model(DENSE, **statistics(4)), np.full((8, 4), np.nan, np.float32), "not finite"),
        (model(DENSE, **statistics(4)), normal(1, 4), "one number"),
        (
            model(DENSE.replace("(x,", "<epsilon = 0.0>(x,"), **statistics(4)),
            np.ones((8, 4), np.float32),
            "constant in a channel",
        ),
    ],
)
@pytest.mark.parametrize("method", ["precise", "sequential"])
def test_refusals(proto, x, message, method, tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match=message):
        bnopt.calibrate(proto, {"x": x}, method=method, output=tmp_path / "out.onnx")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["precise", "sequential"])
def test_operators_that_are_too_old_to_run(method) -> None:
    text = DENSE.replace("(x,", "<is_test = 1>(x,")
    with pytest.raises(RefusalError, match="operator set 6 is older than 7"):
        bnopt.calibrate(model(text, 6, **statistics(4)), {"x": normal(8, 4)}, method=method)


@pytest.mark.parametrize("method", ["precise", "sequential"])
def test_tensors_without_numbers(method) -> None:
    text = "g (float[N,4,L] x) => (float[N,4,L] y) { y = BatchNormalization(x, g, b, m, v) }"
    proto = model(text, **statistics(4))
    with pytest.raises(RefusalError, match="is empty on this data"):
        bnopt.calibrate(proto, {"x": np.zeros((8, 4, 0), np.float32)}, method=method)


def test_statistics_that_do_not_fit_their_type() -> None:
    proto = model(DENSE, **statistics(4, np.float16))
    with pytest.raises(RefusalError, match="too large for statistics of type float16"):
        bnopt.calibrate(proto, {"x": normal(8, 4) * 1e6})


def test_batches_of_one_number_are_refused_by_precise() -> None:
    proto, x = model(DENSE, **statistics(4)), normal(8, 4)
    with pytest.raises(RefusalError, match="sequential"):
        bnopt.calibrate(proto, {"x": x}, batch_size=1)
    close(
        stored(bnopt.calibrate(proto, {"x": x}, batch_size=1, method="sequential").model),
        [moments(x)],
    )


def test_the_last_batch_is_not_left_alone() -> None:
    # 33 samples would be a batch of 32 and one of 1, which normalises to zero.
    result = bnopt.calibrate(chain(), {"x": X[:33]})
    assert result.batch_size == 17
    assert bnopt.calibrate(chain(), {"x": X[:33]}, batch_size=30).batch_size == 30


@pytest.mark.parametrize(
    "options",
    [{"method": "exact"}, {"engine": "spark"}, {"workers": 2}, {"scheduler": "tcp://a:1"}],
)
def test_arguments_that_make_no_sense(options) -> None:
    with pytest.raises(UsageError):
        bnopt.calibrate(conv_bn(), {"x": normal(8, 3, 8, 8)}, **options)


def test_data_that_does_not_fit() -> None:
    with pytest.raises(DataError, match="shape"):
        bnopt.calibrate(conv_bn(), {"x": normal(8, 3, 7, 8)})


def test_what_an_exporter_has_folded_is_said() -> None:
    text = """g (float[N,3,8,8] x) => (float[N,4,6,6] y) {
        y = Conv(x, W_weights_fused_bn, b_bias_fused_bn) }"""
    proto = model(text, W_weights_fused_bn=normal(4, 3, 3, 3), b_bias_fused_bn=normal(4))
    with pytest.raises(RefusalError, match="an exporter has folded 1 of them"):
        bnopt.calibrate(proto, {"x": normal(8, 3, 8, 8)})
    text = text.replace("y = Conv", "c = Conv").replace(
        " }", " y = BatchNormalization(c, g, b, m, v) }"
    )
    proto = model(
        text, W_weights_fused_bn=normal(4, 3, 3, 3), b_bias_fused_bn=normal(4), **statistics(4)
    )
    result = bnopt.calibrate(proto, {"x": normal(8, 3, 8, 8)})
    assert "folded into weights by an exporter, so not calibrated: 1" in result.notes
