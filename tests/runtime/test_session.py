from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx.parser
import pytest

from bnopt.errors import ExecutionError, LoadError, ProviderError
from bnopt.runtime.interface import TensorInfo, read_interface
from bnopt.runtime.process import Worker


@pytest.fixture(scope="module")
def worker():
    with Worker(timeout=60) as worker:
        yield worker


@pytest.fixture
def save(tmp_path):
    def write(text: str, ir_version: int = 8, opset: int = 17) -> str:
        head = f'<ir_version: {ir_version}, opset_import: ["": {opset}]>'
        path = tmp_path / "model.onnx"
        onnx.save(onnx.parser.parse_model(head + text), path)
        return str(path)

    return write


def test_outputs_provider_and_assignment(worker, save):
    path = save("g (float[N] x) => (float[N] y, int64[1] n) { y = Neg(x)  n = Shape(x) }")
    x = np.array([1.0, -2.0], np.float32)
    done = worker.call("bnopt.runtime.session:run", path, [{"x": x}, {"x": x[:1]}])
    np.testing.assert_array_equal(done.outputs[0]["y"], -x)
    assert done.outputs[1]["n"].tolist() == [1]
    assert done.session_provider == "CPUExecutionProvider"
    if done.assignment:
        assert done.assignment == (("CPUExecutionProvider", 2),)


def test_bfloat16_and_float8_go_in_and_out(worker, save):
    path = save(
        "g (bfloat16[3] x) => (bfloat16[3] y, float[3] z, float8e4m3fn[3] w)"
        " { y = Identity(x)  z = Cast<to=1>(x)  w = Cast<to=17>(z) }",
        ir_version=10,
        opset=19,
    )
    x = np.array([1.0, -2.5, 3.0], ml_dtypes.bfloat16)
    (out,) = worker.call("bnopt.runtime.session:run", path, [{"x": x}]).outputs
    assert out["y"].dtype == ml_dtypes.bfloat16
    assert out["w"].dtype == ml_dtypes.float8_e4m3fn
    for name in "yzw":
        assert out[name].astype(np.float64).tolist() == [1.0, -2.5, 3.0]


def test_a_sequence_is_flattened(worker, save):
    path = save("g (float[4] x) => (seq(float[N]) y) { y = SplitToSequence<axis=0>(x) }")
    feed = {"x": np.arange(4, dtype=np.float32)}
    (out,) = worker.call("bnopt.runtime.session:run", path, [feed]).outputs
    assert list(out) == ["y[0]", "y[1]", "y[2]", "y[3]"]


def test_an_absent_provider_is_an_error(worker, save):
    path = save("g (float[N] x) => (float[N] y) { y = Neg(x) }")
    available = worker.call("onnxruntime:get_available_providers")
    if "CUDAExecutionProvider" in available:
        pytest.skip("this onnxruntime has CUDA; tests/validate/test_cuda.py looks at it")
    with pytest.raises(ProviderError, match="no CUDA"):
        worker.call("bnopt.runtime.session:run", path, [], provider="cuda")


def test_first_runnable_feed(worker, save):
    path = save(
        "g (float[A,B] x) => (float[2,N] y) <float[2,3] w = {1,2,3,4,5,6}> { y=MatMul(w,x)}"
    )
    feeds = [{"x": np.zeros((size, 2), np.float32)} for size in (5, 4, 3)]
    assert worker.call("bnopt.runtime.session:first_runnable", path, feeds) == 2
    with pytest.raises(ExecutionError, match=r"model\.onnx: .*MatMul"):
        worker.call("bnopt.runtime.session:first_runnable", path, feeds[:2], task="model.onnx")


def test_interface(save):
    path = save(
        "g (float[N, 3, ?] x, int64[2] k, float[3] w) => (float y)"
        " <float[3] w = {1,2,3}> { c = ReduceMean<keepdims=0>(x)  y = If<then_branch = t () =>"
        " (float o) { o = Abs(c) }, else_branch = e () => (float o) { o = Neg(c) }>(b) }"
    )
    found = read_interface(path)
    assert found.inputs == (
        TensorInfo("x", "float", ("N", 3, None)),
        TensorInfo("k", "int64", (2,)),
    )
    assert found.overridable == ("w",)
    assert found.outputs == (TensorInfo("y", "float", ()),)
    assert found.op_types == {"ReduceMean", "If", "Abs", "Neg"}
    assert found.weight_bytes == 12


@pytest.mark.parametrize("content", [None, b"not a model", b""])
def test_what_is_no_model_is_a_load_error(tmp_path, content):
    path = tmp_path / "x.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(LoadError, match=r"x\.onnx"):
        read_interface(path)
    with pytest.raises(LoadError, match="not a file"):
        read_interface(tmp_path)
