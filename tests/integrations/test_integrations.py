"""The examples of docs/integrations/, run as a reader would run them."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest
import yaml
from cli_models import conv_bn, write
from cli_runner import environment

import bnopt
from bnopt import precommit

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "integrations"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keras_model(**options: object):
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="image"),
            layers.Conv2D(4, 3, use_bias=False),
            layers.BatchNormalization(**options),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(5),
        ]
    )
    norm = model.layers[1]
    random = np.random.default_rng(0)
    norm.set_weights([random.uniform(0.5, 2, 4).astype(np.float32) for _ in range(4)])
    return model


def answers(path: Path, x: np.ndarray) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(path)
    return session.run(None, {session.get_inputs()[0].name: x})[0]


def test_tf2onnx_pipeline(tmp_path: Path) -> None:
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
    model = keras_model()
    example("tf2onnx_pipeline").convert(model, tmp_path / "out.onnx")
    x = np.random.default_rng(1).normal(size=(3, 8, 8, 3)).astype(np.float32)
    found = answers(tmp_path / "out.onnx", x)
    np.testing.assert_allclose(found, model(x, training=False), rtol=1e-4, atol=1e-4)
    nodes = {node.op_type for node in onnx.load(tmp_path / "out.onnx").graph.node}
    assert "BatchNormalization" not in nodes


def test_tf2onnx_pipeline_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
    model = keras_model()
    norm = model.layers[1]
    gamma, beta, mean, variance = norm.get_weights()
    norm.set_weights([gamma * 0 + 1, beta * 0, mean * 0, variance * 0 + 1])
    with pytest.raises(SystemExit, match="is not written"):
        example("tf2onnx_pipeline").convert(model, tmp_path / "out.onnx")
    assert capsys.readouterr().out.startswith("error never-updated ")
    assert list(tmp_path.iterdir()) == []
    # Trained, it goes through, and what is printed is all that shows.
    norm.set_weights([gamma, beta, mean * 0, variance * 0 + 1])
    example("tf2onnx_pipeline").convert(model, tmp_path / "out.onnx")
    assert capsys.readouterr().out.startswith("info unrecoverable ")


def test_keras_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tf2onnx", reason="tf2onnx is not installed")
    keras_model().save(tmp_path / "model.keras")
    import keras

    model = keras.models.load_model(tmp_path / "model.keras")
    x = np.random.default_rng(1).normal(size=(200, 8, 8, 3)).astype(np.float32)
    np.savez(tmp_path / "samples.npz", image=x)
    result = example("keras_export").export(model, tmp_path / "samples.npz", tmp_path / "out.onnx")
    assert (tmp_path / "out.onnx").exists()
    # Keras has folded it already; its statistics are random, and that shows in the data.
    assert result.summary.found == 0
    assert "unusual-output" in capsys.readouterr().out
    found, expected = answers(tmp_path / "out.onnx", x[:4]), model(x[:4], training=False)
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-4, atol=1e-4)


def test_pytest_suite(tmp_path: Path) -> None:
    trained = write(tmp_path / "model.onnx", conv_bn(blocks=2))
    shipped = tmp_path / "shipped.onnx"
    bnopt.fold(trained, output=shipped)
    other = write(tmp_path / "other.onnx", conv_bn(blocks=2, gamma=1.6))
    for model, code in ((shipped, 0), (other, 1)):
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p",
             "bnopt.pytest_plugin", str(EXAMPLES / "test_equivalence.py"), "--rootdir", tmp_path],
            env={**environment(), "TRAINED_MODEL": str(trained), "SHIPPED_MODEL": str(model),
                 "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr


def test_workflow(tmp_path: Path) -> None:
    steps = yaml.safe_load((EXAMPLES / "bnopt.yml").read_text(encoding="utf-8"))["jobs"]["check"]
    script = next(step["run"] for step in steps["steps"] if "Check" in step.get("name", ""))
    binaries = tmp_path / "bin"
    binaries.mkdir()
    command = binaries / "bnopt"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m bnopt "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    repository = tmp_path / "repository"
    repository.mkdir()
    write(repository / "good.onnx", conv_bn())
    for training, code in ((False, 0), (True, 1)):
        if training:
            write(repository / "bad.onnx", conv_bn(training=True))
        for arguments in (["init", "-q"], ["add", "."]):
            subprocess.run(["git", *arguments], cwd=repository, check=True)
        done = subprocess.run(
            ["bash", "-e", "-c", script],
            cwd=repository,
            env={**environment(), "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert ("::error" in done.stdout) == training
        assert (repository / "good.onnx.sarif").exists()


def test_hook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = write(tmp_path / "good.onnx", conv_bn())
    bad = write(tmp_path / "bad.onnx", conv_bn(training=True))
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    assert precommit.main([]) == 0
    assert precommit.main([str(good)]) == 0
    assert capsys.readouterr().out == ""
    assert precommit.main([str(good), str(bad)]) == 1
    line = capsys.readouterr().out
    assert line.startswith(f"{bad}: error training-mode")
    assert line.count("\n") == 1
    assert precommit.main([str(bad), "--allow", "training-mode"]) == 0
    assert precommit.main([str(tmp_path / "broken.onnx"), str(bad)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_hook_is_what_the_configuration_calls() -> None:
    [hook] = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    assert hook["entry"] == "python -m bnopt.precommit"
    used = yaml.safe_load((EXAMPLES / "pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert used["repos"][0]["hooks"] == [{"id": hook["id"]}]
