"""Sources for tests of the TensorFlow front end, each built and saved by TensorFlow.

They run in a process of their own (`built`), as other tests turn TensorFlow 2 off in theirs. Small
frozen graphs are here, programs of TensorFlow 1 in `tf1_sources`, and in `tf2_sources` those of
TensorFlow 2 and Keras. The networks of both are: images (N, 8, 8, 3) -> convolution without bias ->
batch norm -> relu -> mean -> dense, and their statistics look trained.
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
    """Call a function, `name` of this module or `module:name`, in a process of its own."""
    module, _, name = function.rpartition(":")
    return shared_worker().call(f"frontends.{module or 'tf_models'}:{name}", *args, **kwargs)


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
