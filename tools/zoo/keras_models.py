"""What programs of both Keras have in common: training, and what a model is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from zoo.data import digits
from zoo.program import Kind, Saved

Trained = Literal["fit", "loop", "loop-without-training", "not"]

tf.config.threading.set_intra_op_parallelism_threads(1)
tf.config.threading.set_inter_op_parallelism_threads(1)


def train(keras: Any, model: Any, how: Trained, *, rate: float, steps: int) -> None:
    """Teach the model the digits.

    Args:
        keras: The module, Keras 3 or tf-keras.
        model: From images to logits.
        how: By `fit`; by a loop that calls `model(x, training=True)`; by one that forgets to say
            so; or not at all.
        rate: Adam's.
        steps: Batches.
    """
    optimizer = keras.optimizers.Adam(rate)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    if how == "not":
        return
    if how == "fit":
        model.compile(optimizer, loss)
        images, labels = zip(*digits().batches(steps), strict=True)
        options = {"batch_size": len(images[0]), "shuffle": False, "verbose": 0}
        model.fit(np.concatenate(images), np.concatenate(labels), **options)
        return
    called = {"training": True} if how == "loop" else {}

    @tf.function
    def step(images: tf.Tensor, labels: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            value = loss(labels, model(images, **called))
        weights = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(value, weights), weights, strict=True))

    optimizer.build(model.trainable_variables)
    for images, labels in digits().batches(steps):
        step(tf.constant(images), tf.constant(labels))


def saved(folder: Path, source: str, kind: Kind, model: Any, *, training: bool = False) -> Saved:
    """The record of a model that was saved, measured one image at a time."""
    data = digits()
    answer = tf.function(lambda images: model(images, training=training))
    logits = [answer(tf.constant(image[None]))[0] for image in data.test_x]
    return Saved(
        source=source,
        kind=kind,
        inputs=(),
        outputs=(),
        **data.write(folder, "images"),
        set_inputs={},
        accuracy=float((np.stack(logits).argmax(axis=-1) == data.test_y).mean()),
    )
