"""`bnopt.testing` and the pytest plugin."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from cli_models import conv_bn, write
from cli_runner import ROOT
from onnx import numpy_helper

from bnopt.errors import LoadError
from bnopt.testing import assert_equivalent

pytest_plugins = ["pytester"]

PLUGIN = ("-p", "bnopt.pytest_plugin", "-p", "no:cacheprovider")


@pytest.fixture
def plain_pytest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pytest of its own with this checkout's plugin and no other."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def off_by(channel: int, amount: float) -> onnx.ModelProto:
    """The model with one channel's shift off by `amount`."""
    model = conv_bn(gamma=1.0)
    beta = model.graph.initializer[2]
    values = numpy_helper.to_array(beta).copy()
    values[channel] += amount
    beta.CopyFrom(numpy_helper.from_array(values, beta.name))
    return model


def test_equal_models_of_different_kinds(tmp_path: Path) -> None:
    model = conv_bn()
    path = write(tmp_path / "m.onnx", model)
    assert_equivalent(path, model)
    assert_equivalent(str(path), path)


def test_message_names_output_channel_and_difference() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_equivalent(off_by(1, 0.0), off_by(1, 0.25))
    message = str(caught.value)
    assert "1 of 1 outputs differ" in message
    assert "output 'r0', channel 1, element [" in message
    assert "difference 0.25 > tolerance" in message
    assert "original " in message
    assert "candidate " in message
    assert "run: " in message


def test_given_tolerance_is_used() -> None:
    assert_equivalent(off_by(1, 0.0), off_by(1, 0.25), rtol=0, atol=0.3)
    with pytest.raises(AssertionError, match="difference"):
        assert_equivalent(off_by(1, 0.0), off_by(1, 0.25), rtol=0, atol=0.2)


def test_bad_input_is_no_assertion(tmp_path: Path) -> None:
    with pytest.raises(LoadError):
        assert_equivalent(tmp_path / "none.onnx", conv_bn())


@pytest.mark.usefixtures("plain_pytest")
def test_fixture_passes_and_fails(pytester: pytest.Pytester) -> None:
    write(pytester.path / "a.onnx", off_by(0, 0.0))
    write(pytester.path / "b.onnx", off_by(2, 0.5))
    pytester.makepyfile(
        """
        def test_same(bnopt_equivalence):
            bnopt_equivalence("a.onnx", "a.onnx")

        def test_other(bnopt_equivalence):
            bnopt_equivalence("a.onnx", "b.onnx")

        def test_tolerated(bnopt_equivalence):
            bnopt_equivalence("a.onnx", "b.onnx", rtol=0, atol=1)
        """
    )
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*output 'r0', channel 2, element*difference 0.5*"])


@pytest.mark.usefixtures("plain_pytest")
def test_provider_option(pytester: pytest.Pytester) -> None:
    write(pytester.path / "a.onnx", conv_bn())
    pytester.makepyfile(
        """
        def test_providers(bnopt_equivalence):
            assert bnopt_equivalence.keywords["providers"] == ("cpu", "cuda")
        """
    )
    options = ("--bnopt-provider", "cpu", "--bnopt-provider", "cuda")
    pytester.runpytest_subprocess(*PLUGIN, *options).assert_outcomes(passed=1)
    failed = pytester.runpytest_subprocess(*PLUGIN, "--bnopt-provider", "tpu")
    assert failed.ret == pytest.ExitCode.USAGE_ERROR
