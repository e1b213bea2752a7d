"""The judge on a GPU; skipped where there is none."""

from __future__ import annotations

import onnx
import pytest
from graphs import conv_bn

from bnopt.errors import ProviderError
from bnopt.judge import compare_models
from bnopt.runtime.process import Worker

pytestmark = pytest.mark.cuda


@pytest.fixture(scope="module", autouse=True)
def gpu(tmp_path_factory):
    path = tmp_path_factory.mktemp("probe") / "probe.onnx"
    onnx.save(conv_bn(), path)
    try:
        with Worker(timeout=120) as worker:
            worker.call("bnopt.runtime.session:run", str(path), [], provider="cuda")
    except ProviderError as error:
        pytest.skip(error.message)


def test_the_gpu_ran_the_model(tmp_path):
    path = tmp_path / "m.onnx"
    onnx.save(conv_bn(), path)
    verdict = compare_models(path, path, providers=["cpu", "cuda"])
    assert verdict.equivalent is True
    proof = verdict.providers[1]
    assert (proof.name, proof.session_provider) == ("cuda", "CUDAExecutionProvider")
    assert dict(proof.assignment).get("CUDAExecutionProvider", 0) > 0


def test_tf32_is_off(tmp_path):
    # With TF32 the error would be about 1e-3 of the output.
    path = tmp_path / "m.onnx"
    onnx.save(conv_bn(), path)
    (output,) = compare_models(path, path, providers=["cuda"]).outputs
    assert output.max_rel < 1e-5
