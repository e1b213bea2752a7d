"""What is seen of models that mix the samples of a batch, that do not, and that cannot be asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import conv_bn, model, normal, statistics

from bnopt.errors import DataError
from bnopt.evidence import Behaviour, OutputBehaviour
from bnopt.judge.behaviour import observe


@pytest.fixture
def see(tmp_path: Path):
    def run(proto: onnx.ModelProto, **options) -> Behaviour:
        path = tmp_path / "model.onnx"
        onnx.save(proto, path)
        return observe(path, **options)

    return run


def training(proto: onnx.ModelProto) -> onnx.ModelProto:
    node = next(node for node in proto.graph.node if node.op_type == "BatchNormalization")
    node.attribute.append(onnx.helper.make_attribute("training_mode", 1))
    node.output.extend(["running_mean", "running_var"])
    return proto


def only(seen: Behaviour) -> OutputBehaviour:
    (output,) = seen.outputs
    return output


def test_inference_mixes_nothing(see) -> None:
    steps = []
    seen = see(conv_bn(), progress=lambda *step: steps.append(step))
    output = only(seen)
    assert (seen.batch, seen.notes, output.name, output.per_sample) == (4, (), "y", True)
    assert 0 < output.noise < 1e-5
    assert output.alone < 1e-5
    assert output.neighbours < 1e-5
    assert output.spread > 0.1
    assert steps[0] == ("run", 0, 5)


def test_training_mode_mixes(see) -> None:
    output = only(see(training(conv_bn())))
    assert output.noise < 1e-5
    assert output.alone > 0.01
    assert output.neighbours > 0.1


def test_only_the_neighbours_tell_at_a_fixed_batch(see) -> None:
    proto = training(conv_bn())
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    seen = see(proto)
    output = only(seen)
    assert (seen.batch, output.per_sample, output.alone) == (3, True, None)
    assert output.neighbours > 0.1


def test_parameters_that_are_inputs_are_no_samples(see) -> None:
    # Two channels, and two samples: mean and variance are not along the batch.
    proto = model(
        """g (float[2,2,4,4] x, float[2] b, float[2] m, float[2] v) => (float[2,2,4,4] y) {
        s = Abs(v)  y = BatchNormalization(x, s, b, m, s) }"""
    )
    output = only(see(proto))
    assert output.per_sample
    assert output.neighbours < 1e-5


def test_a_batch_of_one_has_no_neighbours(see) -> None:
    proto = training(conv_bn())
    for value in (proto.graph.input[0], proto.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    seen = see(proto)
    output = only(seen)
    assert (seen.batch, output.alone, output.neighbours) == (1, None, None)
    assert output.spread > 0.01


def test_a_model_that_runs_at_batch_one_only(see) -> None:
    seen = see(
        model(
            "g (float[N,6] x) => (float[A,2] y) <int64[2] s = {1, 6}> { r = Reshape(x, s)"
            " y = MatMul(r, W) }",
            W=normal(6, 2),
        )
    )
    assert seen.batch == 1
    assert seen.notes == ("the model runs at batch size 1 only",)
    assert only(seen).per_sample


def test_a_model_that_draws_random_numbers(see) -> None:
    output = see(
        model("g (float[N,3] x) => (float[N,3] y) { r = RandomNormalLike(x)  y = Add(x, r) }")
    )
    assert "not the same twice" in output.notes[0]
    assert not only(output).per_sample


@pytest.mark.parametrize(
    ("graph", "per_sample"),
    [
        ("y = ReduceSum(x, first)", False),
        # Four numbers, as many as samples in the batch, are no batch.
        ("s = ReduceSum<keepdims = 0>(x, first)  y = Identity(s)", False),
        ("y = Transpose<perm = [1, 0]>(x)", False),
        ("y = Neg(x)", True),
    ],
)
def test_only_outputs_that_follow_the_batch_are_judged(see, graph, per_sample) -> None:
    proto = model(
        f"g (float[N,4] x) => (float[A,B] y) <int64[1] first = {{0}}> {{ {graph} }}",
    )
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    output = only(see(proto))
    assert output.per_sample is per_sample
    assert (output.alone is not None) is per_sample
    assert (output.neighbours is not None) is per_sample


LSTM = """g (float[{lead}] x) => (float[A,B,C,D] y) {{
    y = LSTM<hidden_size = 3>(x, W, R) }}"""


@pytest.mark.parametrize("lead", ["T,N,5", "?,?,5", "time,batch,5"])
def test_nothing_is_claimed_where_the_leading_axis_may_be_time(see, lead) -> None:
    proto = model(LSTM.format(lead=lead), W=normal(1, 12, 5), R=normal(1, 12, 3))
    seen = see(proto)
    output = only(seen)
    assert (output.per_sample, output.alone, output.neighbours) == (False, None, None)
    assert "nothing is said about the batch" in seen.notes[0]


def test_a_state_that_holds_the_batch_on_a_later_axis(see) -> None:
    # Batch first outside, time first inside: the samples of the state must move along.
    proto = model(
        """g (float[batch,6,5] x, float[1,batch,3] h, float[2] k) => (float[batch,3] y) {
        t = Transpose<perm = [1, 0, 2]>(x)
        a, b, c = LSTM<hidden_size = 3>(t, W, R, , , h, h)
        y = Squeeze(b, zero) }""",
        W=normal(1, 12, 5),
        R=normal(1, 12, 3),
        zero=np.array([0]),
    )
    output = only(see(proto))
    assert output.per_sample
    assert output.alone < 1e-5
    assert output.neighbours < 1e-5


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ("float[nodes,4] x, float[4] m", "'nodes' is not a batch"),
        ("float[L,4] x, float[L,L] m", "input 'm' has the leading dimension on two axes"),
    ],
)
def test_what_speaks_against_a_batch(see, inputs, why) -> None:
    proto = model(f"g ({inputs}) => (float[A,4] y) {{ z = Sum(m)  y = Softmax<axis = 0>(x) }}")
    seen = see(proto)
    assert why in seen.notes[0]
    assert not only(seen).per_sample


def test_a_softmax_over_the_batch_is_seen(see) -> None:
    output = only(see(model("g (float[N,4] x) => (float[N,4] y) { y = Softmax<axis = 0>(x) }")))
    assert output.alone > 0.1
    assert output.neighbours > 0.1


def test_a_constant_output_has_no_spread(see) -> None:
    proto = model(
        "g (float[N,4] x) => (float[N,4] y, float[N,4] z) { r = Relu(x)  n = Neg(r)"
        " a = Sub(n, one)  y = Relu(a)  z = Neg(x) }",
        one=np.ones(1, np.float32),
    )
    y, z = see(proto).outputs
    assert (y.per_sample, y.spread, z.per_sample) == (True, 0.0, True)
    assert z.spread > 0.1


def test_switches_are_fed_false(see) -> None:
    proto = model(
        """g (float[N,3] x, bool is_training, bool a, bool b, bool[1] c) => (float[N,3] y) {
        d = Or(is_training, a)  e = Or(b, c)  f = Or(d, e)
        y = If(f) <then_branch = t () => (float[N,3] p) { p = Softmax<axis = 0>(x) },
          else_branch = e () => (float[N,3] q) { q = Neg(x) }> }"""
    )
    seen = see(proto)
    assert seen.notes == ("fed False to is_training, a, b, c",)
    assert only(seen).neighbours == 0.0


@pytest.mark.parametrize(("leading", "per_sample"), [("A", True), ("4", False)])
def test_where_no_sample_runs_alone_the_declared_shape_counts(see, leading, per_sample) -> None:
    proto = model(
        f"g (float[N,6] x) => (float[{leading},6] y) <int64[2] s = {{4, 6}}>"
        " { y = Reshape(x, s) }"
    )
    seen = see(proto)
    assert seen.notes[0].startswith("the model does not run on one sample alone: ")
    assert only(seen).per_sample is per_sample
    assert only(seen).alone is None


def test_the_statistics_of_a_large_batch_are_not_those_of_a_sample(see) -> None:
    # 4096 positions of one distribution would have the same statistics in every sample.
    proto = model(
        "g (float[N,2,64,64] x) => (float[N,2,64,64] y) { y = BatchNormalization(x, g, b, m, v) }",
        **statistics(2),
    )
    assert only(see(training(proto))).alone > 0.05


def test_integers_are_no_floating_point_output(see) -> None:
    seen = see(model("g (float[N,3] x) => (int64[N,1] y) { y = ArgMax<axis = 1>(x) }"))
    assert seen.outputs == ()


def test_nan_and_nothing_are_noted(see) -> None:
    proto = model(
        """g (float[N,3] x) => (float[N,3] y, float[A,3] z) { y = Log(x)
        z = Slice(x, zero, zero, zero) }""",
        zero=np.array([0]),
    )
    seen = see(proto)
    assert [output.per_sample for output in seen.outputs] == [False, False]
    assert seen.notes == ("output 'y' is NaN on this input", "output 'z' is empty on this input")


def test_what_cannot_be_run_is_a_note(see) -> None:
    seen = see(model("g (float[N,3] x) => (float[N,3] y) { y = Custom(x) }"))
    assert seen.outputs == ()
    assert seen.notes[0].startswith("onnxruntime cannot run this model (")
    unshaped = model("g (float[N,3] x) => (float[N,3] y) { y = Neg(x) }")
    unshaped.graph.input[0].type.tensor_type.ClearField("shape")
    assert "declares no shape" in see(unshaped).notes[0]


def test_user_data(see, tmp_path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=normal(4, 3, 8, 8) * np.arange(1, 5, dtype=np.float32)[:, None, None, None])
    assert only(see(conv_bn(), data=path)).neighbours < 1e-5
    mixed = see(training(conv_bn()), data=path)
    assert mixed.batch == 4
    assert only(mixed).neighbours > 0.01
    assert only(mixed).alone > 0.01
    np.savez(path, z=normal(4, 3, 8, 8))
    with pytest.raises(DataError, match="unknown input z"):
        see(conv_bn(), data=path)


def test_one_sample_of_user_data_says_nothing(see, tmp_path) -> None:
    path = tmp_path / "d.npz"
    np.savez(path, x=normal(1, 3, 8, 8))
    seen = see(conv_bn(), data=path)
    assert "one sample only" in seen.notes[0]
    assert not only(seen).per_sample


def test_samples_of_the_same_distribution_in_a_fixed_batch_of_user_data(see, tmp_path) -> None:
    proto = model(
        "g (float[2,5] x) => (float[2,5] y) { y = BatchNormalization(x, g, b, m, v) }",
        **statistics(5),
    )
    path = tmp_path / "d.npz"
    np.savez(path, x=normal(6, 5))
    output = only(see(training(proto), data=path))
    assert output.alone is None
    assert output.neighbours > 0.1
