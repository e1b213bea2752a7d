"""Group 7: a fully connected layer, a batch norm, a ReLU; the layer's bias does nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from zoo import graphs
from zoo.graphs import tf, tf1
from zoo.program import Kind, Saved
from zoo.slim import slim

Written = Literal["slim", "normalizer", "layers"]


def perceptron(
    folder: Path,
    *,
    written: Written = "slim",
    bias: bool = True,
    updates: bool = True,
    training: bool = False,
    fused: bool | None = None,
    form: Kind = "checkpoint",
) -> Saved:
    """Two hidden layers of 32.

    Args:
        folder: Where to save.
        written: `slim`: three calls, one after another. `normalizer`: the batch norm is the
            `normalizer_fn` of a slim layer. `layers`: three calls of tf.layers.
        bias: Whether the layers in front of batch norms have a bias, which these take away.
        updates: Whether update ops run.
        training: Whether the tower that is trained is saved.
        fused: Passed on to the batch norm.
        form: How it is saved.
    """
    images, labels = graphs.placeholders()

    def hidden(x: tf.Tensor, name: str, *, train: bool) -> tf.Tensor:
        bn = {"fused": fused, "reuse": not train}
        if written == "layers":
            x = tf1.layers.dense(x, 32, use_bias=bias, name=name, reuse=not train)
            options = {"momentum": 0.9, "training": train, "name": f"{name}_bn", **bn}
            return tf.nn.relu(tf1.layers.batch_normalization(x, **options))
        options = {"decay": 0.9, "is_training": train, "scope": f"{name}_bn", **bn}
        layer = {"scope": name, "reuse": not train}
        if written == "normalizer":
            norm = {"normalizer_fn": slim.batch_norm, "normalizer_params": options}
            return slim.fully_connected(x, 32, **layer, **norm)
        start = tf1.zeros_initializer() if bias else None
        x = slim.fully_connected(x, 32, activation_fn=None, biases_initializer=start, **layer)
        return slim.batch_norm(x, activation_fn=tf.nn.relu, **options)

    def tower(*, train: bool) -> tf.Tensor:
        with tf1.variable_scope("digits", reuse=not train):
            x = hidden(tf.reshape(images, [-1, 64]), "fc1", train=train)
            x = hidden(x, "fc2", train=train)
            return tf1.layers.dense(x, 10, name="logits", reuse=not train)

    logits = tower(train=True)
    loss = graphs.loss_of(logits, labels)
    train = graphs.minimize_after_updates(loss) if updates else graphs.minimize(loss)
    output = tf.identity(logits if training else tower(train=False), "output")
    with graphs.session() as running:
        graphs.fit(running, train, images, labels)
        return graphs.save(running, folder, form, images, output)
