"""Group 3: `batch_norm` of contrib and slim over its parameters, as a normalizer of layers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from zoo import graphs
from zoo.graphs import tf, tf1
from zoo.program import Kind, Saved
from zoo.slim import slim

Options = Mapping[str, Any]
COLLECTION = "statistics"
Weights = tf.Tensor | None


def network(
    images: tf.Tensor,
    is_training: bool | tf.Tensor,
    bn: Options,
    *,
    reuse: bool | None = None,
    convolution_format: str = "NHWC",
) -> tf.Tensor:
    """Logits (N, 10); two convolutions and a dense layer, each with a batch norm."""
    with (
        tf1.variable_scope("digits", reuse=reuse),
        slim.arg_scope([slim.batch_norm], is_training=is_training, **bn),
        slim.arg_scope([slim.conv2d, slim.fully_connected], normalizer_fn=slim.batch_norm),
        slim.arg_scope([slim.conv2d], data_format=convolution_format),
    ):
        x = slim.conv2d(images, 8, 3, scope="conv1")
        x = slim.conv2d(x, 16, 3, stride=2, scope="conv2")
        x = slim.fully_connected(slim.flatten(x), 32, scope="hidden")
        return slim.fully_connected(x, 10, activation_fn=None, normalizer_fn=None, scope="logits")


def two_towers(
    folder: Path,
    *,
    bn: Options | None = None,
    inference: Options | None = None,
    updates: Literal["run", "in-place", "own", "forgotten"] = "run",
    exported: Literal["inference", "training"] = "inference",
    extra: Literal["weights", "adjustment"] | None = None,
    reuse: bool = True,
    steps: int = graphs.STEPS,
    form: Kind = "checkpoint",
) -> Saved:
    """`is_training` is a bool: a tower that is trained, and one that shares its variables.

    Args:
        folder: Where to save.
        bn: Parameters of both towers.
        inference: Those of the tower for inference that differ.
        updates: What becomes of the update ops: run with the train op, made part of the graph
            (`updates_collections=None`), run from a collection of their own, or forgotten.
        exported: Which tower is saved as the output.
        extra: A parameter of the tower that is trained.
        reuse: Whether the second tower shares the variables of the first.
        steps: Batches of training.
        form: How it is saved.
    """
    images, labels = graphs.placeholders()
    bn = {"decay": 0.9, **(bn or {})}
    if updates == "in-place":
        bn["updates_collections"] = None
    elif updates == "own":
        bn["updates_collections"] = COLLECTION
    trained = dict(bn)
    if extra == "weights":
        # Images with much ink count more; any weight of an example would do.
        trained["batch_weights"] = tf.reduce_mean(images, [1, 2, 3]) + 0.1
    elif extra == "adjustment":
        trained["adjustment"] = jitter
    logits = network(images, is_training=True, bn=trained)
    answer = network(images, is_training=False, bn={**bn, **(inference or {})}, reuse=reuse)
    collection = COLLECTION if updates == "own" else tf1.GraphKeys.UPDATE_OPS
    loss = graphs.loss_of(logits, labels)
    with tf.control_dependencies([] if updates == "forgotten" else tf1.get_collection(collection)):
        train = graphs.minimize(loss)
    output = tf.identity(answer if exported == "inference" else logits, "output")
    with graphs.session() as running:
        graphs.fit(running, train, images, labels, steps=steps)
        return graphs.save(running, folder, form, images, output)


def jitter(shape: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale and shift of normalised values in training, drawn anew for each channel and step."""
    return (
        tf.random.uniform(shape[-1:], 0.93, 1.07),
        tf.random.uniform(shape[-1:], -0.1, 0.1),
    )
