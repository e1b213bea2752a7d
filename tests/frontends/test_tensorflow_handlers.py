"""Batch norms that tf2onnx gets wrong or writes out: our handlers, against TensorFlow's numbers."""

from __future__ import annotations

import collections
import importlib.util

import numpy as np
import onnx
import pytest
from frontends.tf_batch_norms import EPSILON
from frontends.tf_models import CHANNELS, SIZE, parameters, shared_worker

from bnopt.errors import ExecutionError

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("tensorflow", "tf2onnx")),
        reason="needs bnopt[tensorflow]",
    ),
]

IMAGES = (SIZE, SIZE, CHANNELS)
SHAPES = {
    "images": {"shape": IMAGES},
    "channels first": {"shape": (CHANNELS, SIZE, SIZE), "axis": 1},
    "vectors": {"shape": (CHANNELS,)},
    "sequences": {"shape": (5, CHANNELS)},
    "volumes": {"shape": (2, SIZE, SIZE, CHANNELS)},
    "one channel": {"shape": (SIZE, SIZE, 1), "channels": 1},
    "no gamma": {"shape": IMAGES, "without": ("gamma",)},
    "no beta": {"shape": IMAGES, "without": ("beta",)},
    "neither": {"shape": IMAGES, "without": ("gamma", "beta")},
}
FUSED = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")


def built(function: str, *args: object, **kwargs: object):
    return shared_worker().call(f"frontends.tf_batch_norms:{function}", *args, **kwargs)


@pytest.fixture
def convert(tmp_path):
    """Builds a graph of one batch norm in TensorFlow, and compares its ONNX model with it."""

    def converted(build: str, *, tolerance: float = 1e-5, **settings: object) -> onnx.ModelProto:
        path = tmp_path / "model.onnx"
        pairs = built("converted", build, str(path), **settings)
        assert [expected.shape[0] for expected, _ in pairs] == [1, 8]
        for expected, found in pairs:
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
        return onnx.load(path)

    return converted


def operators(model: onnx.ModelProto) -> collections.Counter[str]:
    return collections.Counter(node.op_type for node in model.graph.node)


def batch_norm(model: onnx.ModelProto) -> onnx.NodeProto:
    (node,) = [node for node in model.graph.node if node.op_type == "BatchNormalization"]
    return node


def constant_operands(model: onnx.ModelProto) -> list[bool]:
    """Whether scale, offset, mean and variance are initializers."""
    names = {tensor.name for tensor in model.graph.initializer}
    return [name in names for name in batch_norm(model).input[1:]]


@pytest.mark.parametrize("scaled", [True, False])
def test_global_normalization_is_an_ordinary_batch_norm(convert, scaled):
    model = convert("global", scale_after_normalization=scaled)
    assert operators(model) == {"BatchNormalization": 1, "Transpose": 2}
    assert constant_operands(model) == [True] * 4
    (epsilon,) = [a.f for a in batch_norm(model).attribute if a.name == "epsilon"]
    assert epsilon == np.float32(0.02)
    scale = {tensor.name: tensor for tensor in model.graph.initializer}[batch_norm(model).input[1]]
    assert scale.dims == [CHANNELS]
    assert (onnx.numpy_helper.to_array(scale) == 1).all() == (not scaled)


@pytest.mark.parametrize("factor", [1.0, 0.1])
@pytest.mark.parametrize("operator", FUSED)
def test_training_mode_uses_the_statistics_of_the_batch(convert, operator, factor):
    model = convert("fused", operator=operator, is_training=True, exponential_avg_factor=factor)
    assert constant_operands(model) == [True, True, False, False]
    assert len(batch_norm(model).output) == 1
    assert operators(model)["ReduceMean"] == 2


def test_training_mode_channels_first(convert):
    model = convert(
        "fused", is_training=True, exponential_avg_factor=0.1, shape=(CHANNELS, SIZE, SIZE)
    )
    assert "Transpose" not in operators(model)


def test_training_mode_in_three_dimensions(convert):
    shape = (2, SIZE, SIZE, CHANNELS)
    convert("fused", is_training=True, exponential_avg_factor=0.1, shape=shape)


def test_training_mode_in_half_precision_computes_in_single(convert):
    model = convert(
        "fused", is_training=True, exponential_avg_factor=0.1, half=True, tolerance=4e-3
    )
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = [*graph.input, *graph.output, *graph.value_info]
    halves = {v.name for v in values if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT16}
    # onnxruntime's CPU computes in single precision anyway, so numbers cannot tell.
    readers = {node.op_type for node in graph.node if halves & set(node.input)}
    assert readers <= {"Cast", "Transpose", "Identity"}


@pytest.mark.parametrize("operator", FUSED)
@pytest.mark.parametrize("half", [False, True])
def test_inference_mode_is_left_to_tf2onnx(convert, operator, half):
    if half and operator == "FusedBatchNorm":
        pytest.skip("TensorFlow has it in single precision only")
    model = convert("fused", operator=operator, is_training=False, half=half, tolerance=4e-3)
    assert constant_operands(model) == [True] * 4
    assert "ReduceMean" not in operators(model)


def test_statistics_that_are_read_are_refused(tmp_path):
    with pytest.raises(ExecutionError, match=r"in training mode whose batch statistics are read"):
        built(
            "converted",
            "fused",
            str(tmp_path / "model.onnx"),
            is_training=True,
            exponential_avg_factor=0.1,
            reads_statistics=True,
        )


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32"])
def test_whole_numbers_are_divided_downwards(convert, dtype):
    model = convert("division", dtype=dtype, tolerance=0 if dtype != "float32" else 1e-5)
    assert ("Mod" in operators(model)) == (dtype != "float32")


@pytest.mark.parametrize("what", ["a logarithm", "far", "near"])
def test_inputs_of_the_references_are_such_that_outputs_vary(what):
    outputs, notes = built("reference_of", what)
    assert notes == []
    for output in outputs:
        assert np.isfinite(output).all()
        assert np.ptp(output) > 0


def test_outputs_that_say_nothing_are_told():
    outputs, [note] = built("reference_of", "dead")
    assert not any(output.any() for output in outputs)
    assert note.startswith("output 'y' is not finite, or one number everywhere")


def test_sums_of_the_references_are_exact():
    found, exact = built("large_mean_reference")
    np.testing.assert_allclose(found, exact, rtol=1e-6)


def test_a_cpu_runs_channels_first_for_the_references():
    images, kernel, output = built("channels_first_reference")
    expected = np.einsum("nchw,cd->ndhw", images, kernel)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("what", SHAPES)
def test_statistics_stay(convert, what):
    settings = SHAPES[what]
    model = convert("written_out", **settings)
    moves = operators(model)
    assert moves.pop("BatchNormalization") == 1
    moved = {} if what in ("channels first", "vectors") else {"Transpose": 2}
    assert moves == ({"Reshape": 2} if what == "one channel" else moved)
    assert constant_operands(model) == [True] * 4
    node = batch_norm(model)
    assert [a.f for a in node.attribute if a.name == "epsilon"] == [np.float32(EPSILON)]
    tensors = {
        tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer
    }
    channels = settings.get("channels", CHANNELS)
    absent = {"gamma": np.ones(channels), "beta": np.zeros(channels)}
    for role, name in zip(parameters(), node.input[1:], strict=True):
        expected = parameters()[role][:channels]
        if role in settings.get("without", ()):
            expected = absent[role]
        np.testing.assert_array_equal(tensors[name], expected)


@pytest.mark.parametrize(
    "what",
    [
        "double",
        "half",
        "epsilon per channel",
        "along rows",
        "along columns",
        "one channel",
        "unknown channels",
        "another inverse",
        "shift of images",
        "no epsilon",
        "plain constants",
        "sign",
    ],
)
def test_what_is_none_is_left_alone(convert, what):
    model = convert("decoy", what=what, tolerance=4e-3 if what == "half" else 1e-5)
    assert "BatchNormalization" not in operators(model)


@pytest.mark.parametrize(
    ("rank", "of_constants", "found"),
    [(2, 1, True), (2, 2, True), (2, 3, False), (1, 1, False), (None, 1, False)],
)
def test_ranks_that_a_batch_norm_has(rank, of_constants, found):
    assert ("IdentityN" in built("operators_of_rank", rank, of_constants)) == found
