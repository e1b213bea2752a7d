"""Group 9, continued: `BatchNormalization` of Keras 3."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import tensorflow as tf

from zoo import keras_models
from zoo.keras_models import Trained
from zoo.program import Saved


def convolutional(
    folder: Path,
    *,
    bn: dict[str, Any] | None = None,
    conv: Literal["plain", "grouped", "depthwise", "transposed"] = "plain",
    trained: Trained = "fit",
    call: bool | None = None,
    policy: str = "float32",
    rate: float = 1e-2,
    steps: int = 200,
    form: Literal["keras", "saved-model", "model-in-training"] = "keras",
) -> Saved:
    """Two convolutions.

    Args:
        folder: Where to save.
        bn: Parameters of the batch norms.
        conv: What the second convolution is.
        trained: How.
        call: `training` in the call of the batch norms; None leaves it to the model.
        policy: The precision.
        rate: Of learning.
        steps: Batches of training.
        form: A `.keras` file; what `model.export` writes; or the same of the model called with
            `training=True`.
    """
    keras.utils.set_random_seed(1)
    keras.mixed_precision.set_global_policy(policy)
    layers = keras.layers
    second = {
        "plain": lambda: layers.Conv2D(16, 3, 2, "same", use_bias=False),
        "grouped": lambda: layers.Conv2D(16, 3, 2, "same", groups=2, use_bias=False),
        "depthwise": lambda: layers.DepthwiseConv2D(3, 2, "same", use_bias=False),
        "transposed": lambda: layers.Conv2DTranspose(16, 3, 2, "same", use_bias=False),
    }
    options = {"momentum": 0.9, **(bn or {})}
    images = keras.Input((8, 8, 1), name="images")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False)(images)
    x = layers.ReLU()(layers.BatchNormalization(**options)(x, training=call))
    x = second[conv]()(x)
    x = layers.ReLU()(layers.BatchNormalization(**options)(x, training=call))
    model = keras.Model(images, layers.Dense(10, dtype="float32")(layers.Flatten()(x)))
    keras_models.train(keras, model, trained, rate=rate, steps=steps)
    match form:
        case "keras":
            model.save(folder / "model.keras")
            return keras_models.saved(folder, "model.keras", "keras", model)
        case "saved-model":
            model.export(str(folder / "saved_model"), verbose=False)
            return keras_models.saved(folder, "saved_model", "saved-model", model)
        case "model-in-training":
            called = tf.function(
                lambda images: model(images, training=True),
                input_signature=[tf.TensorSpec((None, 8, 8, 1), tf.float32, "images")],
            )
            tf.saved_model.save(model, str(folder / "saved_model"), signatures=called)
            return keras_models.saved(folder, "saved_model", "saved-model", model, training=True)
