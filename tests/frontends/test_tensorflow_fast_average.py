"""Moving averages of TensorFlow 1 programs that hold little more than the last batch."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow")
pytest.importorskip("tf_keras", reason="needs tf-keras, for the layers that tf_slim calls")
pytest.importorskip("tf_slim", reason="needs tf_slim")

import tf1_running as running

from bnopt.frontends.tensorflow import inspection

FAST = ("fast-average", "warning", "bn")


def found(program: Any, *, bound: bool = True, **options: Any) -> list[Any]:
    """Findings of a program, whose flag the export sets to inference if it is `bound`."""
    loaded = running.built(program, **options)
    findings = inspection.inspect(loaded, {"is_training": False} if bound else {})[0]
    return [(one.code, one.severity, one.site) for one in findings]


def slim(decay: Any, *, run: bool = True, **options: Any) -> Any:
    def program(tf: Any, x: Any) -> running.Ends:
        v1 = tf.compat.v1
        rate = decay if isinstance(decay, float) else v1.placeholder_with_default(0.01, [])
        mode = running.flag(tf)
        y = running.conv(tf, x)
        y = running.slim().batch_norm(y, is_training=mode, decay=rate, scope="bn", **options)
        y = tf.identity(y, "y")
        with tf.control_dependencies(v1.get_collection(v1.GraphKeys.UPDATE_OPS) if run else []):
            step = running.minimize(tf, y)
        return running.Ends(y, [step], running.TRAIN, running.INFER)

    return program


def layers(momentum: float) -> Any:
    def program(tf: Any, x: Any) -> running.Ends:
        v1 = tf.compat.v1
        normalize = running.legacy_layers("normalization").batch_normalization
        y = normalize(running.conv(tf, x), training=running.flag(tf), momentum=momentum, name="bn")
        y = tf.identity(y, "y")
        step = tf.group(running.minimize(tf, y), *v1.get_collection(v1.GraphKeys.UPDATE_OPS))
        return running.Ends(y, [step], running.TRAIN, running.INFER)

    return program


def by_hand(mean_decay: Any, variance_decay: Any, weights_decay: float = 0.99) -> Any:
    def program(tf: Any, x: Any) -> running.Ends:
        v1 = tf.compat.v1
        x = running.conv(tf, x)
        mean, variance = (
            v1.get_variable(f"bn/{name}", [running.C], initializer=start, trainable=False)
            for name, start in (
                ("mean", v1.zeros_initializer()), ("variance", v1.ones_initializer())
            )
        )  # fmt: skip
        of_batch = tf.nn.moments(x, [0, 1, 2])
        decays = [
            tf.where(running.flag(tf, True), *decay) if isinstance(decay, tuple) else decay
            for decay in (mean_decay, variance_decay)
        ]
        updates = [
            v1.assign_sub(variable, (variable - new) * (1 - decay))
            for variable, new, decay in zip((mean, variance), of_batch, decays, strict=True)
        ]
        y = tf.identity(tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3), "y")
        step = running.minimize(tf, y)
        with tf.control_dependencies([step]):
            weights = v1.train.ExponentialMovingAverage(weights_decay)
            step = tf.group(weights.apply(v1.trainable_variables()), *updates)
        return running.Ends(y, [step])

    return program


@pytest.mark.parametrize("bound", [True, False])
@pytest.mark.parametrize("control_flow_v2", [True, False])
@pytest.mark.parametrize("fused", [True, False])
def test_slim(fused: bool, control_flow_v2: bool, bound: bool) -> None:
    options = {"control_flow_v2": control_flow_v2, "bound": bound}
    assert FAST in found(slim(0.01, fused=fused), **options)
    assert FAST not in found(slim(0.99, fused=fused), **options)


@pytest.mark.parametrize(("decay", "told"), [(0.5, True), (0.51, False)])
def test_half_is_fast(decay: float, told: bool) -> None:
    assert found(slim(decay)) == ([FAST] if told else [])


@pytest.mark.parametrize("momentum", [0.1, 0.01])
def test_keras_with_pytorchs_momentum(momentum: float) -> None:
    assert found(layers(momentum)) == [FAST]
    assert found(layers(1 - momentum)) == []


def test_one_of_two_statistics_is_enough() -> None:
    loaded = running.built(by_hand(0.9, 0.2))
    (finding,) = inspection.inspect(loaded)[0]
    assert (finding.code, finding.site) == ("fast-average", "bn")
    assert finding.evidence == {"rates": {"bn/variance": pytest.approx(0.8)}}
    assert "'bn/variance' holds little more than the last batch: 0.8 of it" in finding.message
    assert "a decay of 0.2" in finding.message


@pytest.mark.parametrize("other", [0.9, 0.3])
def test_a_decay_that_is_chosen_is_as_slow_as_it_can_be(other: float) -> None:
    told = [FAST] if other == 0.3 else []
    assert found(by_hand((0.2, other), 0.9)) == told
    assert found(by_hand((other, 0.2), 0.9)) == told


def test_averages_of_something_else_are_none_of_its_business() -> None:
    assert found(by_hand(0.9, 0.9, weights_decay=0.01)) == []


def test_a_decay_of_0_is_another_mistake() -> None:
    assert FAST not in found(slim(0.0))


def test_a_rate_that_is_fed_is_not_known() -> None:
    assert found(slim("fed")) == []


def test_statistics_that_never_moved_are_told_of_once() -> None:
    assert {code for code, _, _ in found(slim(0.01, run=False))} == {
        "updates-not-run",
        "never-updated",
    }
