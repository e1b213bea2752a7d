"""What looks like a mistake and is none, and mistakes that look like none."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="needs TensorFlow")
pytest.importorskip("tf_keras", reason="needs tf-keras, for the layers that tf_slim calls")
pytest.importorskip("tf_slim", reason="needs tf_slim")

import tf1_programs as programs
import tf1_running as running
from tf1_running import C, Ends, conv

from bnopt.frontends.tensorflow import inspection

MODES = ["resource-v2", "ref-v1"]


def built(program: Any, mode: str = "resource-v2") -> running.Loaded:
    resource, flow = programs.MODES[mode]
    return running.built(program, resource=resource, control_flow_v2=flow)


def codes(loaded: running.Loaded, bound: dict[str, Any] | None = None) -> set[str]:
    found = {f.code for f in inspection.inspect(loaded, bound)[0]}
    return found - {"no-batch-norm"}


def statistics(tf: Any, mean: Any = 0.0, variance: Any = 1.0, second: str = "variance") -> Any:
    def made(name: str, start: Any) -> Any:
        start = np.broadcast_to(np.float32(start), C)
        return tf.compat.v1.get_variable(f"bn/{name}", initializer=start, trainable=False)

    return made("moving_mean", mean), made(f"moving_{second}", variance)


def normalized(tf: Any, y: Any, mean: Any, variance: Any) -> Any:
    return tf.nn.batch_normalization(y, mean, variance, None, None, 1e-3)


def averaged(tf: Any, pairs: Any, rate: Any = 0.1) -> list[Any]:
    return [tf.compat.v1.assign_sub(average, (average - now) * rate) for average, now in pairs]


@pytest.mark.parametrize("normal", [True, False])
def test_moments_of_weights_are_none_of_a_batch(normal: bool) -> None:
    def program(tf: Any, x: Any) -> Ends:
        w = tf.compat.v1.get_variable("w", (3, 3, 3, C))
        wanted = tf.cast(running.flag(tf, default=False), tf.float32)
        w = normalized(tf, w, *tf.nn.moments(w * (1.0 + wanted), [0, 1, 2]))
        y = tf.nn.conv2d(x, w, 1, "SAME")
        if not normal:
            y = normalized(tf, y, *tf.nn.moments(y, [0, 1, 2]))
        return Ends(tf.identity(y, "y"))

    assert codes(built(program)) == (set() if normal else {"training-mode"})


def test_a_batch_may_be_drawn_in_the_graph() -> None:
    def program(tf: Any, x: Any) -> Ends:
        y = conv(tf, tf.random.normal((2, 6, 6, 3)))
        return Ends(tf.identity(normalized(tf, y, *tf.nn.moments(y, [0, 1, 2])), "y"))

    assert codes(built(program)) == {"training-mode"}


@pytest.mark.parametrize("axes", [[-4, -3, -2], [-3, -2], [-1]])
@pytest.mark.parametrize("layer", ["conv", "dense", "input", "reshaped"])
def test_negative_axes_count_from_the_end(layer: str, axes: list[int]) -> None:
    def program(tf: Any, x: Any) -> Ends:
        y, along = x, axes
        if layer == "conv":
            y = tf.nn.relu(conv(tf, x))
        elif layer == "reshaped":
            y = tf.reshape(x, [-1, 6, 6, 3])
        elif layer == "dense":
            w = tf.compat.v1.get_variable("v", (108, C))
            y = tf.nn.relu(tf.matmul(tf.reshape(x, [-1, 108]), w))
            along = [-2] if len(axes) == 3 else [-1]
        mean = tf.reduce_mean(y, along, keepdims=True)
        variance = tf.reduce_mean(tf.square(y - mean), along, keepdims=True)
        return Ends(tf.identity(normalized(tf, y, mean, variance), "y"))

    assert codes(built(program)) == ({"training-mode"} if len(axes) == 3 else set())


@pytest.mark.parametrize("trained", [True, False])
def test_statistics_from_a_pretrained_initializer(trained: bool) -> None:
    start = (np.arange(C), np.arange(1, C + 1)) if trained else (0.5, 2.0)

    def program(tf: Any, x: Any) -> Ends:
        y = normalized(tf, conv(tf, x), *statistics(tf, *start))
        return Ends(tf.identity(y, "y"))

    assert codes(built(program)) == (set() if trained else {"never-updated"})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("factor", "told"), [(0.1, False), (1.0, True)])
def test_a_rate_that_the_flag_turns_on(factor: float, told: bool, mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        wanted, y = running.flag(tf), conv(tf, x)
        mean, variance = statistics(tf)
        now = tf.nn.moments(y, [0, 1, 2])
        rate = factor * tf.cast(wanted, tf.float32)
        updates = averaged(tf, zip((mean, variance), now, strict=True), rate)
        used = tf.cond(wanted, lambda: now, lambda: (tf.identity(mean), tf.identity(variance)))
        y = tf.identity(normalized(tf, y, *used), "y")
        return Ends(y, [running.minimize(tf, y), *updates], running.TRAIN, running.INFER)

    found = codes(built(program, mode)) - {"training-switch"}
    assert found == ({"decay-is-flag"} if told else set())


@pytest.mark.parametrize("mode", programs.MODES)
def test_a_flag_that_is_a_variable_is_as_it_was_saved(mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        wanted = tf.compat.v1.get_variable("is_training", initializer=True, trainable=False)
        y, (mean, variance) = conv(tf, x), statistics(tf)
        now = tf.nn.moments(y, [0, 1, 2])

        def train() -> Any:
            updates = averaged(tf, zip((mean, variance), now, strict=True))
            with tf.control_dependencies(updates):
                return [tf.identity(part) for part in now]

        used = tf.compat.v1.cond(wanted, train, lambda: [tf.identity(mean), tf.identity(variance)])
        y = tf.identity(normalized(tf, y, *used), "y")
        return Ends(y, [running.minimize(tf, y)])

    loaded = built(program, mode)
    assert codes(loaded) == {"training-mode", "updates-at-inference"}
    off = {**loaded.values, "is_training": np.array(False)}
    loaded = dataclasses.replace(loaded, values=off)
    assert codes(loaded) == set()
    assert "training-mode" in codes(loaded, {"is_training": True})


@pytest.mark.parametrize("form", ["std", "std-root", "pow", "pow-below", "learned"])
def test_other_ways_to_divide(form: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        y = conv(tf, x)
        if form == "learned":
            make = tf.compat.v1.get_variable
            start = tf.compat.v1.zeros_initializer
            mean, spread = (make(n, (C,), initializer=start()) for n in ("center", "spread"))
        else:
            mean, spread = statistics(tf, second="std" if form == "std" else "variance")
        ways = {
            "std-root": lambda: (y - mean) / (tf.sqrt(spread) + 1e-3),
            "pow": lambda: (y - mean) * (spread + 1e-3) ** -0.5,
            "pow-below": lambda: (y - mean) / (spread + 1e-3) ** 0.5,
        }
        return Ends(tf.identity(ways.get(form, lambda: (y - mean) / (spread + 1e-3))(), "y"))

    assert codes(built(program)) == (set() if form == "learned" else {"never-updated"})


def test_an_epsilon_twice_is_one_batch_norm() -> None:
    def program(tf: Any, x: Any) -> Ends:
        mean, variance = statistics(tf)
        y = (conv(tf, x) - mean) / (tf.sqrt(variance + 1e-3) + 1e-6)
        return Ends(tf.identity(y, "y"))

    from bnopt.frontends.tensorflow.dataflow.view import View

    assert len(View(built(program)).layers) == 1


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("moved", [True, False])
def test_a_batch_norm_in_a_loop_is_seen(moved: bool, mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        used = statistics(tf)

        def body(index: Any, y: Any) -> Any:
            return index + 1, tf.nn.relu(normalized(tf, y, *used))

        y = tf.while_loop(lambda i, _: i < 2, body, [tf.constant(0), conv(tf, x)])[1]
        return Ends(tf.identity(y, "y"))

    loaded = built(program, mode)
    if moved:
        values = {n: v + 0.5 if "moving" in n else v for n, v in loaded.values.items()}
        loaded = dataclasses.replace(loaded, values=values)
    found = {f.code for f in inspection.inspect(loaded)[0]}
    assert found == (set() if moved else {"never-updated"})


@pytest.mark.parametrize("mode", MODES)
def test_moments_of_one_sample_in_a_loop_over_samples(mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        def one(y: Any) -> Any:
            return normalized(tf, y, *tf.nn.moments(y, [0, 1]))

        return Ends(tf.identity(tf.map_fn(one, conv(tf, x)), "y"))

    assert codes(built(program, mode)) == set()


@pytest.mark.parametrize("kind", ["dropout", "shape", "data"])
def test_what_only_a_shape_or_a_draw_decides_is_no_switch(kind: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        v1 = tf.compat.v1
        y, used = conv(tf, x), statistics(tf, np.arange(C), 2.0)
        if kind == "dropout":
            rate = v1.placeholder(tf.float32, [], "rate")
            y = tf.nn.dropout(normalized(tf, y, *used), rate=rate)
        else:
            size = tf.shape(x)[0] if kind == "shape" else tf.cast(tf.reduce_sum(x), tf.int32)
            y = v1.cond(size > 1, lambda: normalized(tf, y, *used), lambda: tf.zeros_like(y))
        infer = {"rate:0": 0.0} if kind == "dropout" else {}
        return Ends(tf.identity(y, "y"), infer=infer)

    assert codes(built(program)) == set()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("joined", ["and", "or"])
@pytest.mark.parametrize("setting", [None, False, True])
def test_a_flag_that_settles_a_condition_with_data(setting: bool, joined: str, mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        flag, large = running.flag(tf), tf.shape(x)[0] > 1
        y, used = conv(tf, x), statistics(tf, np.arange(C), 2.0)
        joins = {"and": tf.logical_and(flag, large), "or": tf.logical_or(flag, large)}
        y = tf.compat.v1.cond(
            joins[joined],
            lambda: normalized(tf, y, *tf.nn.moments(y, [0, 1, 2])),
            lambda: normalized(tf, y, *used),
        )
        return Ends(tf.identity(y, "y"), infer=running.INFER)

    found = codes(built(program, mode), {} if setting is None else {"is_training": setting})
    right = setting is False and joined == "and"
    expected = "training-switch" if setting is None else "training-mode"
    assert found == (set() if right else {expected})


def test_a_choice_between_two_ways_of_inference_is_no_switch() -> None:
    def program(tf: Any, x: Any) -> Ends:
        y = conv(tf, x)
        domain = tf.compat.v1.placeholder(tf.int32, [], "domain")
        both = []
        for name in ("a", "b"):
            with tf.compat.v1.variable_scope(name):
                both.append(statistics(tf, np.arange(C), 2.0))
        y = tf.compat.v1.cond(
            domain > 0, lambda: normalized(tf, y, *both[0]), lambda: normalized(tf, y, *both[1])
        )
        return Ends(tf.identity(y, "y"), infer={"domain:0": 0})

    assert codes(built(program)) == set()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["shape", "data", "flag", "loop", "long-loop"])
def test_the_batch_under_what_nobody_sets_is_training_mode(kind: str, mode: str) -> None:
    def program(tf: Any, x: Any) -> Ends:
        v1 = tf.compat.v1
        y, used = conv(tf, x), statistics(tf, np.arange(C), 2.0)

        def trained() -> Any:
            return normalized(tf, y, *tf.nn.moments(y, [0, 1, 2]))

        if "loop" in kind:
            last = tf.shape(x)[1] if kind == "long-loop" else 2

            def body(index: Any, y: Any) -> Any:
                return index + 1, normalized(tf, y, *tf.nn.moments(y, [0, 1, 2]))

            y = v1.while_loop(lambda i, _: i < last, body, [tf.constant(0), y])[1]
            return Ends(tf.identity(y, "y"))
        choices = {
            "shape": lambda: tf.shape(x)[0] > 1,
            "data": lambda: tf.reduce_sum(x) > 0,
            "flag": lambda: v1.placeholder(tf.int32, (), "phase") > 0,
        }
        y = v1.cond(choices[kind](), trained, lambda: normalized(tf, y, *used))
        return Ends(tf.identity(y, "y"), infer={"phase:0": 0} if kind == "flag" else {})

    found = codes(built(program, mode))
    assert found == {"training-switch" if kind == "flag" else "training-mode"}


def test_layer_norm_is_no_batch_norm() -> None:
    import tf_keras

    def program(tf: Any, x: Any) -> Ends:
        y = running.slim().batch_norm(conv(tf, x), is_training=True, scope="bn")
        y = tf_keras.layers.LayerNormalization()(y)
        mean, variance = tf.nn.moments(y, [1, 2], keepdims=True)
        y = tf.nn.batch_normalization(y, mean, variance, None, None, 1e-3)
        return Ends(tf.identity(y, "y"))

    loaded = built(program)
    assert sum(n.op == "FusedBatchNormV3" for n in loaded.graph_def.node) == 2
    assert [(f.code, f.site) for f in inspection.inspect(loaded)[0]] == [("training-mode", "bn")]
