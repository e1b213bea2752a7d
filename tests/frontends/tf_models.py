"""Small sources for tests of the TensorFlow front end, each built and saved by TensorFlow.

They run in a process of their own (`built`), as other tests turn TensorFlow 2 off in theirs. Every
network is: images (N, 8, 8, 3) -> convolution without bias -> batch norm -> relu -> mean -> dense,
and its statistics look trained.
"""

from __future__ import annotations

import atexit
import os
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np

from bnopt.runtime.process import Worker

SIZE, CHANNELS, CLASSES = 8, 6, 3
PARAMETERS = ("gamma", "beta", "moving_mean", "moving_variance")
QUIET = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}


def built(function: str, *args: object, **kwargs: object):
    """Call a function of this module in a process of its own."""
    return shared_worker().call(f"frontends.tf_models:{function}", *args, **kwargs)


@cache
def shared_worker() -> Worker:
    """A process that imports TensorFlow once for all tests."""
    worker = fresh_worker()
    atexit.register(worker.close)
    return worker


def fresh_worker() -> Worker:
    """A process that can call the functions of this module."""
    worker = Worker(timeout=500)
    environment = {**QUIET, "PYTHONPATH": str(Path(__file__).parents[1])}
    with mock.patch.dict(os.environ, environment):
        worker.call("frontends.tf_models:parameters")
    return worker


class SharedWorker:
    """Stands for `Worker` where a conversion need not have a process to itself."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout

    def __enter__(self) -> Worker:
        return shared_worker()

    def __exit__(self, *_: object) -> None: ...


def parameters(seed: int = 0) -> dict[str, np.ndarray]:
    """Trained-looking parameters of a batch norm, [CHANNELS] float32."""
    rng = np.random.default_rng(seed)
    low_high = {"gamma": (0.5, 1.5), "moving_variance": (0.3, 3.0)}
    return {
        name: rng.uniform(*low_high.get(name, (-1.0, 1.0)), CHANNELS).astype(np.float32)
        for name in PARAMETERS
    }


def modules_after_an_export(path: str, folder: str) -> list[str]:
    """Names of the modules that an export imports into its own process."""
    import sys

    from bnopt.frontends.tensorflow.run import convert

    convert(path, folder=Path(folder))
    return sorted(sys.modules)


# TensorFlow 1


def graph_1(
    *,
    fused: bool = True,
    resource: bool = False,
    training: bool = False,
    summarised: bool = False,
    fresh: bool = False,
):
    """A graph of TensorFlow 1 with its session, variables trained-looking or `fresh`.

    With `training`, it has labels, a loss, an optimizer, summaries and update ops as well; with
    `summarised`, also probabilities that nothing but a summary reads.
    """
    import tensorflow as tf

    tf1 = tf.compat.v1
    graph = tf1.Graph()
    with graph.as_default():
        tf1.set_random_seed(1)
        images = tf1.placeholder(tf.float32, [None, SIZE, SIZE, 3], "images")
        with tf1.variable_scope("net", use_resource=resource):
            kernel = tf1.get_variable("kernel", [3, 3, 3, CHANNELS])
            y = tf.nn.conv2d(images, kernel, 1, "SAME")
            with tf1.variable_scope("bn"):
                y, updates = _norm_1(y, fused=fused, training=training)
            weight = tf1.get_variable("weight", [CHANNELS, CLASSES])
        logits = tf.matmul(tf.reduce_mean(tf.nn.relu(y), [1, 2]), weight, name="logits")
        if training:
            labels = tf1.placeholder(tf.int64, [None], "labels")
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            loss = tf.reduce_mean(losses, name="loss")
            tf1.summary.scalar("loss", loss)
            if summarised:
                tf1.summary.histogram("p", tf.nn.softmax(logits, name="probabilities"))
            with tf.control_dependencies(updates):
                tf1.train.AdamOptimizer().minimize(loss, name="train")
        session = tf1.Session()
        session.run(tf1.global_variables_initializer())
        found = {v.op.name: v for v in tf1.global_variables()}
        for name, value in () if fresh else parameters().items():
            found[f"net/bn/{name}"].load(value, session)
    return graph, session


def _norm_1(y, *, fused: bool, training: bool):
    import tensorflow as tf

    tf1 = tf.compat.v1
    ones, zeros = tf1.ones_initializer(), tf1.zeros_initializer()
    starts = {"gamma": ones, "beta": zeros, "moving_mean": zeros, "moving_variance": ones}
    gamma, beta, mean, variance = (
        tf1.get_variable(
            name, [CHANNELS], initializer=starts[name], trainable=not name.startswith("moving")
        )
        for name in PARAMETERS
    )
    updates = []
    if training:
        batch_mean, batch_variance = tf.nn.moments(y, [0, 1, 2])
        updates = [
            tf1.assign_sub(mean, 0.1 * (mean - batch_mean)),
            tf1.assign_sub(variance, 0.1 * (variance - batch_variance)),
        ]
    if fused:
        y = tf1.nn.fused_batch_norm(
            y, gamma, beta, mean, variance, epsilon=1e-3, is_training=False
        )[0]
    else:
        y = tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)
    return y, updates


def saved_model_1(folder: str, *, signatures: tuple[str, ...] = ("serving_default",), **kwargs):
    """A SavedModel of TensorFlow 1, with variables."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    graph, session = graph_1(**kwargs)
    with graph.as_default(), session:
        images, logits = (graph.get_tensor_by_name(f"{name}:0") for name in ("images", "logits"))
        builder = tf1.saved_model.Builder(folder)
        signature = tf1.saved_model.predict_signature_def({"x": images}, {"scores": logits})
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map=dict.fromkeys(signatures, signature)
        )
        builder.save()
    return folder


def frozen_graph(path: str, **kwargs):
    """A frozen GraphDef, its variables constants."""
    import tensorflow as tf

    graph, session = graph_1(**kwargs)
    with session:
        frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["logits"]
        )
    Path(path).write_bytes(frozen.SerializeToString())
    return path


def unfrozen_graph(path: str):
    """A GraphDef that names variables and has no values."""
    graph, session = graph_1()
    with session:
        Path(path).write_bytes(graph.as_graph_def().SerializeToString())
    return path


def checkpoint(folder: str, *, only_trainable: bool = False, **kwargs):
    """A checkpoint with its meta graph, of a graph in training."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    graph, session = graph_1(training=True, **kwargs)
    with graph.as_default(), session:
        saved = tf1.trainable_variables() if only_trainable else None
        return tf1.train.Saver(saved).save(session, f"{folder}/model.ckpt", global_step=7)


def switched(path: str):
    """A frozen graph with `is_training`, a placeholder without default, that adds 1 if it is on."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default() as graph:
        images = tf1.placeholder(tf.float32, [None, 4], "images")
        switch = tf1.placeholder(tf.bool, [], "is_training")
        tf.where(switch, images + 1.0, images * 2.0, name="out")
    Path(path).write_bytes(graph.as_graph_def().SerializeToString())
    return path


def fixed_batch(path: str):
    """A frozen graph whose batch is 4."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default() as graph:
        tf.nn.relu(tf1.placeholder(tf.float32, [4, 5], "x"), name="y")
    Path(path).write_bytes(graph.as_graph_def().SerializeToString())
    return path


def twins(path: str):
    """A frozen graph of two convolutions with batch norms of the same numbers."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, SIZE, SIZE, 3], "x")
        for index in range(2):
            kernel = np.full([3, 3, x.shape[-1], CHANNELS], 0.1 + index, np.float32)
            x = tf.nn.conv2d(x, kernel, 1, "SAME")
            values = [tf.constant(value) for value in parameters().values()]
            x = tf1.nn.fused_batch_norm(x, *values, epsilon=1e-3, is_training=False)[0]
        tf.nn.relu(x, name="y")
    Path(path).write_bytes(graph.as_graph_def().SerializeToString())
    return path


def unknown_operator(path: str):
    """A frozen graph with an operator that ONNX has not."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 5], "x")
        tf.identity(tf.math.bessel_i0e(x), name="y")
    Path(path).write_bytes(graph.as_graph_def().SerializeToString())
    return path


def folded_constants() -> dict[str, str]:
    """Node name -> operator of what `constants.fold` leaves of a graph with all that matters."""
    import tensorflow as tf

    from bnopt.frontends.tensorflow import constants

    tf1 = tf.compat.v1
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [3], "x")
        numbers = tf.constant([1.0, 4.0, 9.0], name="numbers")
        tf.sqrt(numbers, name="result")
        with tf.control_dependencies([tf.no_op("before"), tf.square(numbers)]):
            root = tf.sqrt(numbers, name="inner") + 1.0
            controlled = tf.abs(x, name="controlled")
        with tf.control_dependencies([controlled]):
            late = tf.exp(numbers, name="late")
        drawn = tf.exp(tf1.random_uniform([3], name="drawn"), name="of_drawn")
        large = tf.fill([1001, 1000], 2.0, name="large")
        tf.add_n([controlled * root, late, drawn, x * tf.reduce_mean(large * x[0])], name="y")
    folded = constants.fold(graph.as_graph_def(), ["y:0", "result:0"])
    assert not [node.name for node in folded.node if "^before" in node.input]
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf.import_graph_def(folded, name="")
        session.run(["y:0", "result:0"], {"x:0": np.ones(3)})
    return {node.name: node.op for node in folded.node}


# TensorFlow 2 and Keras


def saved_model_2(folder: str, *, several: bool = False, **inner: object):
    """A SavedModel of TensorFlow 2; `inner` are options of the function of its batch norm."""
    import tensorflow as tf

    net = tf.Module()
    net.kernel = tf.Variable(tf.random.stateless_normal([3, 3, 3, CHANNELS], [1, 2]), name="kernel")
    for name, value in parameters().items():
        setattr(net, name, tf.Variable(value, name=f"bn/{name}"))
    signature = [tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="x")]

    @tf.function(**inner)
    def norm(y):
        return tf.nn.batch_normalization(
            y, net.moving_mean, net.moving_variance, net.beta, net.gamma, 1e-3
        )

    @tf.function(input_signature=signature)
    def serve(x):
        return {"scores": tf.nn.relu(norm(tf.nn.conv2d(x, net.kernel, 1, "SAME")))}

    signatures = {"first": serve, "second": serve} if several else serve
    tf.saved_model.save(net, folder, signatures=signatures)
    return folder


def keras_model(world: str = "keras", *, groups: int = 1, fresh: bool = False):
    """A Keras model of Keras 3 (`keras`) or of `tf_keras`."""
    import importlib

    keras = importlib.import_module(world)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3), name="photo"),
            layers.Conv2D(CHANNELS, 3, use_bias=False, name="conv", groups=groups),
            layers.BatchNormalization(name="bn"),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, name="scores"),
        ]
    )
    norm = model.get_layer("bn")
    for name, value in () if fresh else parameters().items():
        getattr(norm, name).assign(value)
    return model


def keras_file(path: str, world: str = "keras", **kwargs):
    """A `.keras` or `.h5` file."""
    keras_model(world, **kwargs).save(path)
    return path


def keras_lambda(path: str):
    """A file whose Lambda layer is Python code."""
    import tf_keras

    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Lambda(lambda x: x + 1)])
    model.save(path)
    return path


def converted_object(what: str, folder: str):
    """`convert` of a Python object, in the process that made it."""
    import tensorflow as tf

    from bnopt.frontends.tensorflow.run import convert

    model = keras_model("tf_keras" if what == "tf_keras" else "keras")
    source = model
    if what in ("function", "concrete"):
        spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="x")
        source = tf.function(lambda x: model(x, training=False), input_signature=[spec])
        source = source.get_concrete_function() if what == "concrete" else source
    return convert(source, folder=Path(folder))
