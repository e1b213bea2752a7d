"""`bnopt export`: what the command adds to the library; a refusal on every way out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from cli_runner import bnopt
from frontends.tf_models import SIZE, built
from report_records import export_result, source_finding

from bnopt.cli import main
from bnopt.cli.emit import emit_refusal
from bnopt.errors import RefusalError

needs_tensorflow = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("tensorflow", "tf2onnx")),
    reason="needs bnopt[tensorflow]",
)


@pytest.mark.parametrize("as_json", [False, True])
def test_refusal_prints_and_writes_what_was_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    page = tmp_path / "r.html"
    result = export_result(findings=(source_finding(),), output=None)
    error = RefusalError("it was \x1b not", result=result)
    assert emit_refusal(error, as_json=as_json, html=page) == 1
    text = page.read_text(encoding="utf-8")
    assert "Stopped, nothing written" in text
    assert "it was \\x1b not" in text
    done = capsys.readouterr()
    assert done.err == "bnopt: it was \\x1b not\n"
    assert ('"code": "refused"' if as_json else "not exported") in done.out


def test_refusal_of_which_nothing_is_known_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RefusalError, match="at once"):
        emit_refusal(RefusalError("at once"), as_json=False, html=tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def refused(done: tuple[int, str, str], says: str) -> None:
    """Exit code 2, one line on stderr, nothing on stdout."""
    code, out, err = done
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert says in err


def export(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["export", *map(str, arguments)])
    done = capsys.readouterr()
    return code, done.out, done.err


@pytest.mark.parametrize(
    ("source", "page", "says"),
    [
        ("m.keras", "no/r.html", "no such folder"),
        ("m.keras", "folder", "is a folder"),
        ("m.keras", "m.keras", "--html would replace the model"),
        ("m.keras", "out.onnx", "--html would replace the model"),
        ("saved", "saved/saved_model.pb", "is part of"),
        ("saved", "saved/variables/variables.index", "is part of"),
        ("run/model.ckpt.meta", "run/model.ckpt.index", "is part of"),
        ("run/model.ckpt.meta", "run/model.ckpt.data-00000-of-00001", "is part of"),
        ("run/model.ckpt", "run/model.ckpt.meta", "is part of"),
        ("run", "run/checkpoint", "is part of"),
    ],
)
def test_page_replaces_no_model(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    page: str,
    says: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in (
        "m.keras", "folder/x", "saved/saved_model.pb", "saved/variables/variables.index",
        "run/checkpoint", "run/model.ckpt.meta", "run/model.ckpt.index",
        "run/model.ckpt.data-00000-of-00001",
    ):  # fmt: skip
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    refused(export(capsys, source, "-o", "out.onnx", "--html", page), says)
    assert not Path("out.onnx").exists()
    path = Path(page)
    assert not path.is_file() or path.read_text() == page


@pytest.mark.parametrize(
    ("source", "page"),
    [
        ("saved", "saved/r.html"),
        ("saved", "saved/new.txt"),
        ("saved", "r.index"),
        ("run/model.ckpt", "run/model.ckpt.html"),
        ("run/model.ckpt", "run/model.ckpt-1.index"),
        ("run/model.ckpt", "model.ckpt.index"),
        ("run/[ab].ckpt", "run/a.ckpt.index"),
    ],
)
def test_page_may_stand_beside_or_replace_a_page(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    source: str,
    page: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("saved", "run"):
        Path(folder).mkdir()
    for name in ("saved/r.html", "run/a.ckpt.index", "model.ckpt.index", "run/model.ckpt-1.index"):
        Path(name).write_text("old")
    code, _, err = export(capsys, source, "-o", "out.onnx", "--html", page)
    # Nothing there is a model, which is the next thing that it looks at.
    assert code == 2
    assert "--html" not in err
    assert "internal" not in err


@needs_tensorflow
@pytest.mark.slow
def test_page_of_an_export_and_of_a_refused_one(tmp_path: Path) -> None:
    import keras

    image = keras.Input((8, 8, 3), name="image")
    hidden = keras.layers.Conv2D(4, 3)(image)
    normal = keras.layers.BatchNormalization(name="bn")
    model = keras.Model(image, keras.layers.Dense(5)(keras.layers.Flatten()(normal(hidden))))
    path, page, out = tmp_path / "m.keras", tmp_path / "r.html", tmp_path / "out.onnx"
    model.save(path)
    done = bnopt("export", path, "-o", out, "--html", page)
    assert done.code == 1, done
    text = page.read_text(encoding="utf-8")
    assert "Stopped, nothing written" in text
    assert "never-updated" in text
    assert not out.exists()
    random = np.random.default_rng(0)
    normal.set_weights([random.uniform(0.5, 2, 4).astype(np.float32) for _ in range(4)])
    model.save(path)
    done = bnopt("export", path, "-o", out, "--html", page)
    assert done.code == 0, done
    text = page.read_text(encoding="utf-8")
    assert "Exported; folded 1 of 1 batch norm; agrees with tensorflow" in text
    assert "Variables of batch norms" in text
    assert "moving_variance" in text
    assert out.exists()


@needs_tensorflow
@pytest.mark.slow
def test_the_command_that_is_named_repairs(tmp_path: Path) -> None:
    source = Path(built("tf1_sources:checkpoint", str(tmp_path), fresh=True)).name
    ends = ("--output-name", "logits")
    refused = bnopt("export", source, "-o", "out.onnx", *ends, cwd=tmp_path)
    assert refused.code == 1, refused
    assert "error never-updated" in refused.out
    assert "run the update ops with the train op" in refused.err
    command = " ".join(refused.out.split("next: ")[1].split())
    assert command == f"bnopt export {source} -o model.onnx --training-mode eval --data D"
    images = np.random.default_rng(0).normal(3, 2, (64, SIZE, SIZE, 3)).astype(np.float32)
    np.savez(tmp_path / "D.npz", images=images)
    arguments = command.replace(" D", " D.npz").split()[1:]
    done = bnopt(*arguments, *ends, cwd=tmp_path)
    assert done.code == 0, done
    assert "error (repaired) never-updated" in done.out
    assert (tmp_path / "model.onnx").exists()
    # The batch norm is in the weights, and nothing is left to check.
    assert "next:" not in done.out


@needs_tensorflow
@pytest.mark.slow
def test_keras_is_warned_of_a_repair(tmp_path: Path) -> None:
    source = built("tf2_sources:keras_file", str(tmp_path / "m.keras"), fresh=True)
    refused = bnopt("export", source, "-o", "out.onnx", cwd=tmp_path)
    assert refused.code == 1, refused
    assert "next: bnopt explain never-updated" in refused.out
    assert "train it with training=True" in refused.err
    assert "make the model worse" in refused.err
    assert "update ops" not in refused.out + refused.err
    photo = np.random.default_rng(0).normal(3, 2, (64, SIZE, SIZE, 3)).astype(np.float32)
    np.savez(tmp_path / "D.npz", photo=photo)
    repair = ("--training-mode", "eval", "--data", "D.npz", "--json")
    done = bnopt("export", source, "-o", "out.onnx", *repair, cwd=tmp_path)
    assert done.code == 0, done
    report = done.json()
    told = [(one["code"], one["severity"], one["repaired"]) for one in report["findings"]]
    assert told[0] == ("never-updated", "error", True)
    assert any("compare the accuracy" in note for note in report["notes"])
    names = [one["name"].rpartition("/")[2] for one in report["variables"]]
    assert names == ["gamma", "beta", "moving_mean", "moving_variance"]


@needs_tensorflow
@pytest.mark.slow
def test_a_graph_without_update_ops_does_not_tell_whose_they_were(tmp_path: Path) -> None:
    source = built("tf1_sources:saved_model_1", str(tmp_path / "saved"), fresh=True)
    refused = bnopt("export", source, "-o", "out.onnx", cwd=tmp_path)
    assert refused.code == 1, refused
    assert "Keras: training=True; TensorFlow 1: the update ops" in refused.err
    assert "make the model worse" in refused.err
