"""`--set-input` and `--lower`: what they do to a model, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from cli_models import write
from cli_runner import Done, bnopt
from graphs import model, normal, run, statistics

import bnopt as library
from bnopt.findings import Folded
from bnopt.judge import compare_models
from bnopt.passes import FoldBatchNorm

F = "float[N,4,6,6]"
STATS = "g, b, m, v"
TEXT = f"""g (float[N,3,6,6] x, bool training, float[N,4,1,1] s) => ({F} y) {{
    c = Conv(x, W)
    n = If (training) <
        then_branch = t () => ({F} p) {{
            p, pm, pv = BatchNormalization<training_mode = 1>(c, {STATS}) }},
        else_branch = e () => ({F} q) {{ q = BatchNormalization(c, {STATS}) }}>
    y = Mul(n, s)
}}"""


def proto(**default: np.ndarray) -> onnx.ModelProto:
    return model(TEXT, W=normal(4, 3, 1, 1), **statistics(4), **default)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return write(tmp_path / "net.onnx", proto())


def refused(done: Done, says: str) -> None:
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1, done.err
    assert says in done.err
    assert done.out == ""


def test_fold(net: Path) -> None:
    done = bnopt("fold", net, "--set-input", "training=false", "--json")
    assert done.code == 0, done
    report = done.json()
    assert report["findings"] == [], "the branch in training mode is gone"
    assert report["summary"] == {"found": 1, "folded": 1, "merged": 0, "lowered": 0, "kept": 0}
    assert report["validation"]["equivalent"] is True
    assert "input 'training' bound to false and removed" in report["notes"]
    result = onnx.load(net.with_name("net.folded.onnx"))
    assert [node.op_type for node in result.graph.node] == ["Conv", "Mul"]
    assert [value.name for value in result.graph.input] == ["x", "s"]
    feeds = {"x": normal(2, 3, 6, 6), "s": normal(2, 4, 1, 1)}
    (old,) = run(proto(), training=np.array(False), **feeds)
    (new,) = run(result, **feeds)
    np.testing.assert_allclose(new, old, rtol=1e-4, atol=1e-5)


def test_without_it_the_switch_is_reported_and_stays(net: Path) -> None:
    done = bnopt("fold", net, "--json")
    assert done.code == 0
    report = done.json()
    (finding,) = report["findings"]
    assert (finding["code"], finding["severity"]) == ("training-switch", "warning")
    assert "--set-input training=false" in finding["fix"]
    reasons = {site["reason"] for site in report["sites"]}
    assert "training-mode" in reasons, "what stands behind the switch is kept as it is"


def test_the_other_value(net: Path) -> None:
    done = bnopt("fold", net, "--set-input", "training=true", "--json")
    assert done.code == 1
    assert [finding["code"] for finding in done.json()["findings"]] == ["training-mode"]
    assert not net.with_name("net.folded.onnx").exists()


def test_dry_run_and_inspect_say_what_would_be_bound(net: Path) -> None:
    for command in (("fold", net, "--dry-run"), ("inspect", net)):
        done = bnopt(*command, "--set-input", "training=false")
        assert done.code == 0, done
        assert "would fold" in done.out
        assert "note: input 'training' bound to false and removed" in done.out
        assert "If replaced by the branch it takes then: 'n'" in done.out.replace("\n", " ")
    assert [entry.name for entry in net.parent.iterdir()] == ["net.onnx"]


def test_several_inputs_and_spaces(net: Path) -> None:
    text = f"g (float[N,3,6,6] x, float[2,1] k, int64 i) => ({F} y) {{"
    text += f"c = Conv(x, W) y = BatchNormalization(c, {STATS}) }}"
    write(net, model(text, W=normal(4, 3, 1, 1), **statistics(4)))
    settings = ("--set-input", "k=[[1.5], [2]]", "--set-input", "i= 3")
    done = bnopt("fold", net, *settings, "--json")
    assert done.code == 0, done
    result = onnx.load(net.with_name("net.folded.onnx"))
    assert [value.name for value in result.graph.input] == ["x"]


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        (["training"], "'training' is not NAME=VALUE"),
        (["=1"], "'=1' is not NAME=VALUE"),
        (["training="], "'training=' is not NAME=VALUE"),
        (["training=false", "training=true"], "the input 'training' is set twice"),
        (["is_training=false"], "the model has no such input, only 'x', 'training', 's'"),
        (["training=perhaps"], "cannot set the input 'training' to 'perhaps'"),
        (["training=true,false"], "its shape (2) does not fit the declared ()"),
        (["x=1"], "does not fit the declared (?, 3, 6, 6)"),
    ],
)
def test_refused(net: Path, setting: list[str], says: str) -> None:
    options = [word for text in setting for word in ("--set-input", text)]
    refused(bnopt("fold", net, *options), says)
    assert [entry.name for entry in net.parent.iterdir()] == ["net.onnx"]


def test_inspect_refuses_likewise(net: Path) -> None:
    refused(bnopt("inspect", net, "--set-input", "training=2"), "expected true or false")


def test_lower_knows_its_values(net: Path) -> None:
    refused(bnopt("fold", net, "--lower", "away"), "'away' is not one of")


def test_a_wrong_value_would_not_pass_the_judge(tmp_path: Path) -> None:
    """The original is run on the value that was set, so a fold of the other branch is caught."""
    text = f"""g (float[N,3,6,6] x, bool k) => ({F} y) {{
        c = Conv(x, W)
        y = If (k) <then_branch = t () => ({F} p) {{ p = BatchNormalization(c, {STATS}) }},
                    else_branch = e () => ({F} q) {{ q = Neg(c) }}>
    }}"""
    original = model(text, W=normal(4, 3, 1, 1), **statistics(4))
    wrong = library.fold(original, set_inputs={"k": False}, validate=False).model
    right = library.fold(original, set_inputs={"k": True}, validate=False).model
    verdict = compare_models(
        write(tmp_path / "right.onnx", right), write(tmp_path / "wrong.onnx", wrong)
    )
    assert verdict.equivalent is False


def test_api_takes_python_values_and_leaves_its_argument_alone() -> None:
    original = proto(training=np.array(True))
    before = original.SerializeToString()
    result = library.fold(original, set_inputs={"training": np.bool_(False)})
    assert [type(site.decision) for site in result.sites] == [Folded]
    assert result.validation is not None
    assert result.validation.equivalent
    assert original.SerializeToString() == before
    inspected = library.inspect(original, set_inputs={"training": False})
    assert inspected.sites == result.sites
    assert original.SerializeToString() == before


def test_data_must_not_hold_the_bound_input(net: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=normal(2, 3, 6, 6), s=normal(2, 4, 1, 1))
    settings = ("--set-input", "training=false", "--data", tmp_path / "data.npz", "--json")
    done = bnopt("fold", net, *settings)
    assert done.code == 0, done
    assert done.json()["validation"]["equivalent"] is True


def test_external_data_stays_where_it_is(net: Path) -> None:
    big = proto()
    onnx.save(big, net, save_as_external_data=True, location="net.bin", size_threshold=0)
    before = (net.read_bytes(), net.with_name("net.bin").read_bytes())
    done = bnopt("fold", net, "--set-input", "training=false", "--json")
    assert done.code == 0, done
    assert done.json()["validation"]["equivalent"] is True
    assert (net.read_bytes(), net.with_name("net.bin").read_bytes()) == before


def test_pass() -> None:
    graph = ir.from_proto(proto())
    result = FoldBatchNorm(set_inputs={"training": "false"})(graph)
    assert result.modified
    assert [node.op_type for node in graph.graph] == ["Conv", "Mul"]
    assert not FoldBatchNorm()(graph).modified


FORMS = [
    "slim_ph_fused",
    "slim_ph_nonfused",
    "slim_ph_nonfused_updnone",
    "slim_ph_renorm",
    "slim_ph_zero_debias",
    "slim_pwd_fused",
    "slim_pwd_nonfused",
    "stefano_conv_placeholder",
    "stefano_mlp_pwd",
    "v1layers_ph",
    "v2_placeholder_mlp",
    "v2_placeholder_nonfused",
    "v2_pwd",
]


@pytest.mark.forms
@pytest.mark.parametrize("variant", ["", "__noopt"])
@pytest.mark.parametrize("case", FORMS)
def test_tensorflow_forms(shared_dir: Path, case: str, variant: str) -> None:
    """What is left gives what TensorFlow gives with is_training=False."""
    folder = shared_dir / "forms" / "tensorflow"
    path = folder / f"{case}{variant}.onnx"
    if not path.exists():
        pytest.skip(f"no {path.name} beside the checkout")
    (name,) = (v.name for v in onnx.load(path).graph.input if "is_training" in v.name)
    result = library.fold(path, set_inputs={name: False}, validate=False)
    assert "If" not in result.node_counts.after
    with np.load(folder / f"{case}.npz") as arrays:
        assert not arrays.get("in__is_training:0", np.array(False)).any()
        x, expected = arrays["in__x:0"], arrays["out__output"]
    (actual,) = run(ir.to_proto(result.model), **{"x:0": x})
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
