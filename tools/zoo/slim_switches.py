"""Group 3, continued: `is_training` as a tensor, names and `reuse`, the layout NCHW."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from zoo import graphs
from zoo.graphs import tf, tf1
from zoo.program import Kind, Saved
from zoo.slim import slim
from zoo.slim_params import Options, network


def switch(
    folder: Path,
    *,
    default: bool | None = None,
    constant: bool | None = None,
    bn: Options | None = None,
    form: Kind = "checkpoint",
) -> Saved:
    """`is_training` is a tensor, and the one network is for training and inference.

    Args:
        folder: Where to save.
        default: What the placeholder holds if it is not fed; None for one without a default.
        constant: Freeze a copy of the graph in which the placeholder is this constant.
        bn: Parameters of the batch norms.
        form: How it is saved.
    """
    images, labels = graphs.placeholders()
    if default is None:
        is_training = tf1.placeholder(tf.bool, [], "is_training")
    else:
        is_training = tf1.placeholder_with_default(default, [], "is_training")
    logits = network(images, is_training, {"decay": 0.9, **(bn or {})})
    train = graphs.minimize_after_updates(graphs.loss_of(logits, labels))
    output = tf.identity(logits, "output")
    with graphs.session() as running:
        graphs.fit(running, train, images, labels, also={is_training: True})
        if constant is None:
            return graphs.save(running, folder, form, images, output, switch=is_training)
        tf1.train.Saver().save(running, str(folder / "training.ckpt"))
    with tf.Graph().as_default():
        images = tf1.placeholder(tf.float32, [None, 8, 8, 1], "images")
        fixed = {"images:0": images, "is_training:0": tf.constant(constant, name="is_training")}
        saver = tf1.train.import_meta_graph(str(folder / "training.ckpt.meta"), input_map=fixed)
        output = tf1.get_default_graph().get_tensor_by_name("output:0")
        with graphs.session() as running:
            saver.restore(running, str(folder / "training.ckpt"))
            return graphs.save(running, folder, form, images, output)


def bare_calls(
    folder: Path,
    *,
    second: Literal["named", "numbered", "positional"],
    form: Kind = "checkpoint",
) -> Saved:
    """Batch norm is called by hand between the layers, in a function that makes both towers.

    Args:
        folder: Where to save.
        second: How the tower for inference finds the variables of the batch norms: by their
            `scope` and `reuse`; not at all, so that they get numbers of their own; or by scope,
            but `is_training` is passed by position, where `decay` stands.
        form: How it is saved.
    """
    images, labels = graphs.placeholders()
    options = {"decay": 0.9, "scale": True}

    def norm(x: tf.Tensor, name: str, *, training: bool) -> tf.Tensor:
        if second == "positional":
            shared = {"updates_collections": None, "scope": name, "reuse": not training}
            return tf.nn.relu(slim.batch_norm(x, training, scale=True, **shared))
        named = {"scope": name, "reuse": not training} if second == "named" else {}
        return tf.nn.relu(slim.batch_norm(x, is_training=training, **named, **options))

    def tower(*, training: bool) -> tf.Tensor:
        layers = slim.arg_scope(
            [slim.conv2d, slim.fully_connected],
            activation_fn=None,
            biases_initializer=None,
            reuse=not training,
        )
        with layers:
            x = norm(slim.conv2d(images, 8, 3, scope="conv1"), "bn1", training=training)
            x = norm(slim.conv2d(x, 16, 3, stride=2, scope="conv2"), "bn2", training=training)
            return slim.fully_connected(slim.flatten(x), 10, scope="logits")

    train = graphs.minimize_after_updates(graphs.loss_of(tower(training=True), labels))
    output = tf.identity(tower(training=False), "output")
    with graphs.session() as running:
        graphs.fit(running, train, images, labels)
        return graphs.save(running, folder, form, images, output)


def channels_first(
    folder: Path,
    *,
    convolutions: bool,
    fused: bool = True,
    exported: Literal["inference", "training"] = "inference",
    form: Kind = "checkpoint",
) -> Saved:
    """`data_format="NCHW"`, of the batch norms only, or of the convolutions, too.

    TensorFlow has no such convolutions on the CPU. A session runs them all the same if grappler may
    turn the layout; only a node that is fetched is then left as it was.
    """
    images, labels = graphs.placeholders()
    options = {"decay": 0.9, "data_format": "NCHW", "fused": fused, "scale": True}

    def tower(*, training: bool) -> tf.Tensor:
        if convolutions:
            x = tf.transpose(images, [0, 3, 1, 2])
            first = {"reuse": not training, "convolution_format": "NCHW"}
            return network(x, training, options, **first)
        with (
            tf1.variable_scope("digits", reuse=not training),
            slim.arg_scope([slim.batch_norm], is_training=training, **options),
            slim.arg_scope([slim.conv2d], normalizer_fn=_turned),
        ):
            x = slim.conv2d(images, 8, 3, scope="conv1")
            x = slim.conv2d(x, 16, 3, stride=2, scope="conv2")
            return slim.fully_connected(slim.flatten(x), 10, activation_fn=None, scope="logits")

    logits, answer = tower(training=True), tower(training=False)
    train = graphs.minimize_after_updates(graphs.loss_of(logits, labels))
    output = tf.identity(answer if exported == "inference" else logits, "output")
    config = tf1.ConfigProto()
    config.graph_options.rewrite_options.cpu_layout_conversion = RewriterConfig.NCHW_TO_NHWC
    with graphs.session(config) as running:
        graphs.fit(running, train, images, labels)
        return graphs.save(running, folder, form, images, output)


def _turned(x: tf.Tensor) -> tf.Tensor:
    """A batch norm of channels first, between convolutions of channels last."""
    return tf.transpose(slim.batch_norm(tf.transpose(x, [0, 3, 1, 2])), [0, 2, 3, 1])
