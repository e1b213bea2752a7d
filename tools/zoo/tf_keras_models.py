"""Group 9, continued: tf-keras, which was tf.keras up to TensorFlow 2.15."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
import tf_keras as keras

from zoo import keras_models
from zoo.keras_models import Trained
from zoo.program import Saved


def convolutional(
    folder: Path,
    *,
    bn: dict[str, Any] | None = None,
    synchronized: bool = False,
    trained: Trained = "fit",
    call: bool | None = None,
    policy: str = "float32",
    rate: float = 1e-2,
    steps: int = 200,
    form: Literal["h5", "saved-model", "model-in-training"] = "h5",
) -> Saved:
    """Two convolutions.

    Args:
        folder: Where to save.
        bn: Parameters of the batch norms.
        synchronized: Whether they are `SyncBatchNormalization`, trained by a strategy.
        trained: How.
        call: `training` in the call of the batch norms; None leaves it to the model.
        policy: The precision.
        rate: Of learning.
        steps: Batches of training.
        form: An `.h5` file; a SavedModel; or one of the model called with `training=True`.
    """
    keras.utils.set_random_seed(1)
    keras.mixed_precision.set_global_policy(policy)
    layers = keras.layers
    norm = layers.BatchNormalization
    if synchronized:
        norm = layers.experimental.SyncBatchNormalization
    options = {"momentum": 0.9, **(bn or {})}
    strategy = tf.distribute.MirroredStrategy() if synchronized else tf.distribute.get_strategy()
    with strategy.scope():
        images = keras.Input((8, 8, 1), name="images")
        x = layers.Conv2D(8, 3, padding="same", use_bias=False)(images)
        x = layers.ReLU()(norm(**options)(x, training=call))
        x = layers.Conv2D(16, 3, 2, "same", use_bias=False)(x)
        x = layers.ReLU()(norm(**options)(x, training=call))
        model = keras.Model(images, layers.Dense(10, dtype="float32")(layers.Flatten()(x)))
        keras_models.train(keras, model, trained, rate=rate, steps=steps)
    match form:
        case "h5":
            model.save(folder / "model.h5", save_format="h5")
            return keras_models.saved(folder, "model.h5", "keras", model)
        case "saved-model":
            model.save(folder / "saved_model", save_format="tf")
            return keras_models.saved(folder, "saved_model", "saved-model", model)
        case "model-in-training":
            called = tf.function(
                lambda images: model(images, training=True),
                input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, "images")],
            )
            tf.saved_model.save(model, str(folder / "saved_model"), signatures=called)
            return keras_models.saved(folder, "saved_model", "saved-model", model, training=True)
