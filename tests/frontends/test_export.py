"""`bnopt.export` and `bnopt export`: from a source to a written model, or why not."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from cli_runner import bnopt
from frontends.tf_models import built, shared_worker
from graphs import conv_bn, model, normal, run
from report_records import INFO, export_result, source_finding

import bnopt as library
from bnopt import io
from bnopt.errors import DependencyError, LoadError, UsageError
from bnopt.evidence import Agreement
from bnopt.findings import Finding, Severity
from bnopt.frontends.records import Variable, none_ever_moved
from bnopt.gates import unsaid
from bnopt.graph.types import half_outputs
from bnopt.judge.agreement import _compare, agreement
from bnopt.report import json, terminal
from bnopt.results import ExportResult, Timings
from bnopt.source import Source

needs_tensorflow = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("tensorflow", "tf2onnx")),
    reason="needs bnopt[tensorflow]",
)


def written(folder: Path) -> Path:
    with io.stage(Source(conv_bn()).model, folder / "m.onnx") as staged:
        return staged.commit()


def test_agreement_is_measured_per_batch_and_output(tmp_path: Path) -> None:
    path = written(tmp_path)
    x = normal(8, 3, 8, 8)
    y = run(conv_bn(), x=x)[0]
    off = y + np.float32(0.01) * np.abs(y).max()
    references = [(1, {"x": x[:1]}, {"y": y[:1]}), (8, {"x": x}, {"y": off})]
    good, bad = agreement(path, references)
    assert (good.batch, good.output, good.ok) == (1, "y", True)
    assert good.max_rel < 1e-5
    assert (bad.batch, bad.ok) == (8, False)
    assert bad.max_rel == pytest.approx(0.01, rel=0.05)
    assert agreement(path, references, half=["y"])[1].ok


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_differs(tmp_path: Path, value: float) -> None:
    x = normal(1, 3, 8, 8)
    y = run(conv_bn(), x=x)[0]
    y[0, 0, 0, 0] = value
    [one] = agreement(written(tmp_path), [(1, {"x": x}, {"y": y})])
    assert not one.ok


@pytest.mark.parametrize(("wanted", "ok"), [([7, 21840], True), ([6, 21840], False)])
def test_whole_numbers_are_the_same_or_differ(wanted: list[int], ok: bool) -> None:
    found = np.array([7, 21840])
    for dtype in (np.int64, np.uint16):
        assert _compare(1, "y", found.astype(dtype), np.array(wanted, dtype), half=True).ok is ok


@pytest.mark.parametrize(("wanted", "ok"), [([b"cat", b"dog"], True), ([b"cat", b"cow"], False)])
def test_texts_are_the_same_or_differ(wanted: list[bytes], ok: bool) -> None:
    found = np.array(["cat", "dog"], object)
    assert _compare(1, "y", found, np.array(wanted, object), half=False).ok is ok


def test_only_what_half_precision_reaches_is_allowed_its_rounding() -> None:
    text = """g (float[N,4] x) => (float[N,4] y, float[N,4] z, float[N,4] u) {
        h = Cast<to = 10>(x)
        y = Cast<to = 1>(h)
        z = Relu(x)
        u = Add(z, y)
    }"""
    assert half_outputs(ir.from_proto(model(text))) == {"y", "u"}
    body = """g (float[N,4] x, bool c) => (float[N,4] y, float[N,4] z) {{
        y = If(c) <
            then_branch = t () => (float[N,4] a) {{ {} }},
            else_branch = e () => (float[N,4] b) {{ b = Relu(x) }}
        >
        z = Relu(x)
    }}"""
    inside = body.format("h = Cast<to = 10>(x) a = Cast<to = 1>(h)")
    assert half_outputs(ir.from_proto(model(inside))) == {"y"}
    assert half_outputs(ir.from_proto(model(body.format("a = Neg(x)")))) == set()


def test_another_shape_differs(tmp_path: Path) -> None:
    x = normal(1, 3, 8, 8)
    y = run(conv_bn(), x=x)[0]
    [one] = agreement(written(tmp_path), [(1, {"x": x}, {"y": y[:, :2]})])
    assert not one.ok


def record(**changes: object) -> ExportResult:
    made = {
        "model": None, "source": "run/model.ckpt.meta", "kind": "checkpoint",
        "framework": "tensorflow 2.21.0, tf2onnx 1.17.0", "info": INFO, "variables": (),
        "findings": (), "fold": None,
        "agreement": (Agreement(8, "y", 1e-6, 1e-7, 1e-3, True),), "notes": ("a note",),
        "timings": Timings(load=1.0), "output": Path("out.onnx"),
    }  # fmt: skip
    return ExportResult(**{**made, **changes})


def shown(result: ExportResult, **options: bool) -> str:
    import io as streams

    file = streams.StringIO()
    terminal.show(terminal.text(result, **options), file)
    return file.getvalue()


def test_report() -> None:
    text = shown(record())
    assert "agrees with tensorflow" in text
    assert "wrote out.onnx" in text
    assert "bnopt check out.onnx --data D" in text
    finding = Finding("decay-is-flag", "error", "bn[red]\x1b", "wrong", "right")
    bad = record(
        findings=(finding,) * 9, output=None, agreement=(Agreement(1, "y", 1.0, 1.0, 0.1, False),)
    )
    text = shown(bad, stopped=True)
    assert "not exported" in text
    assert "DIFFERS" in text
    assert "bn[red]" in text
    assert "\x1b" not in text
    assert "1 more" in text
    assert "bnopt explain decay-is-flag" in text
    report = json.report(bad)
    assert report["command"] == "export"
    assert not report["ok"]
    assert report["from"] == "checkpoint"
    assert report["findings"][0]["code"] == "decay-is-flag"
    assert json.report(record())["ok"]
    json.dumps(report)


def test_arguments_that_make_no_sense(tmp_path: Path) -> None:
    for options, words in (
        ({"output": tmp_path / "o.pb"}, "end in .onnx"),
        ({"output": tmp_path / "no" / "o.onnx"}, "no such folder"),
        ({"example_inputs": (1,)}, "torch.nn.Module"),
    ):
        with pytest.raises(UsageError, match=words):
            library.export(tmp_path / "m.keras", **options)
    with pytest.raises(LoadError):
        library.export(tmp_path / "missing.keras")


def test_command_on_bad_input(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("no model", encoding="utf-8")
    for source in ("missing", "text.txt"):
        done = bnopt("export", source, "-o", "out.onnx", cwd=tmp_path)
        assert done.code == 2
        assert done.out == ""
        assert len(done.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]


@pytest.mark.skipif(importlib.util.find_spec("tensorflow") is not None, reason="TensorFlow is here")
def test_tensorflow_is_missing(tmp_path: Path) -> None:
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"")
    with pytest.raises(DependencyError, match=r"bnopt\[tensorflow\]"):
        library.export(folder)


@needs_tensorflow
@pytest.mark.slow
def test_from_a_keras_file_to_a_folded_model(tmp_path: Path) -> None:
    import keras

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(4, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(5, name="answer"),
        ]
    )
    random = np.random.default_rng(0)
    model.layers[1].set_weights([random.uniform(0.5, 2, 4).astype(np.float32) for _ in range(4)])
    path = tmp_path / "m.keras"
    model.save(path)
    done = bnopt("export", path, "-o", tmp_path / "out.onnx", "--json")
    assert done.code == 0, done.err
    report = done.json()
    assert report["ok"]
    assert (report["summary"]["found"], report["summary"]["folded"]) == (1, 1)
    assert [one["batch"] for one in report["agreement"]] == [1, 8]
    x = random.normal(size=(3, 8, 8, 3)).astype(np.float32)
    import onnxruntime

    session = onnxruntime.InferenceSession(tmp_path / "out.onnx")
    found = session.run(None, {session.get_inputs()[0].name: x})[0]
    np.testing.assert_allclose(found, model(x, training=False), rtol=1e-4, atol=1e-4)


@needs_tensorflow
@pytest.mark.slow
@pytest.mark.parametrize(("text", "factor"), [("false", 2), ("False", 2), ("0", 2), ("true", 1)])
def test_a_switch_is_set_by_text(tmp_path: Path, text: str, factor: int) -> None:
    # bool("false") is True: the training branch would be taken, and agree with itself.
    path = built("switched", str(tmp_path / "graph.pb"))
    out = tmp_path / "out.onnx"
    settings = ("--set-input", f"is_training={text}", "--no-fold")
    done = bnopt("export", path, "-o", out, *settings)
    assert done.code == 0, done.err
    images = normal(5, 4)
    [found] = run(onnx.load(out), images=images)
    np.testing.assert_array_equal(found, images * factor + (factor == 1))


@pytest.mark.parametrize(("severity", "kept"), [("info", 2), ("warning", 1), ("error", 0)])
def test_a_warning_of_the_source_hides_no_error(severity: Severity, kept: int) -> None:
    result = export_result(findings=(source_finding(severity, code="non-finite"),))
    grave, mild = (source_finding(one, code="non-finite") for one in ("error", "warning"))
    assert len(unsaid((grave, mild), result.findings)) == kept
    other = source_finding("info", code="zero-gamma")
    assert unsaid((other,), result.findings) == [other]


@needs_tensorflow
@pytest.mark.slow
def test_a_training_graph_is_refused_unfolded_too(tmp_path: Path) -> None:
    path = shared_worker().call("frontends.tf_batch_norms:training", str(tmp_path / "graph.pb"))
    out = tmp_path / "out.onnx"
    for options in ((), ("--no-fold",), ("--no-fold", "--training-mode", "eval")):
        refused = bnopt("export", path, "-o", out, *options)
        assert refused.code == 1, options
        assert "training-mode" in refused.out + refused.err
        assert not out.exists()
    assert bnopt("export", path, "-o", out, "--no-fold", "--allow", "training-mode").code == 0
    assert out.exists()


@pytest.mark.parametrize(
    ("moved", "never"),
    [({}, True), ({"bn1/moving_mean"}, False), ({"bn0/moving_variance", "bn1/moving_mean"}, False)],
)
def test_all_statistics_have_to_be_initial(moved: set[str], never: bool) -> None:
    # The assumption is one about the whole model.
    roles = ("moving_mean", "moving_variance", "gamma")
    variables = [
        Variable(f"bn{layer}/{role}", role, (4,), f"bn{layer}/{role}" not in moved, 0.0, 1.0)
        for layer in range(2)
        for role in roles
    ]
    assert none_ever_moved(variables) is never


@pytest.mark.parametrize("initial", [None, False])
def test_what_is_not_known_may_have_moved(initial: bool | None) -> None:
    known = Variable("bn/moving_mean", "moving_mean", (4,), True, 0.0, 0.0)
    assert none_ever_moved([known])
    for role in ("moving_variance", "shadow"):
        assert not none_ever_moved([known, Variable("x", role, (4,), initial, 0.0, 1.0)])
    assert not none_ever_moved([Variable("bn/gamma", "gamma", (4,), True, 1.0, 1.0)])
