"""Group 9: tf.layers, Keras 3, tf-keras."""

from __future__ import annotations

from zoo.program import Family

_LAYERS = Family(9, "tf_layers:convolutional", "layers")
_KERAS = Family(9, "keras3:convolutional", "keras")
_LEGACY = Family(9, "tf_keras_models:convolutional", "tf-keras")
_HALF = ("barely-updated", "stale-statistics")
_SLOW = {"bn": {"momentum": 0.999}, "steps": 60}

KERAS = (
    _LAYERS.right("saved-model", "tf.layers"),
    _LAYERS.right("separate", "restored into a graph for inference", separate=True),
    _LAYERS.right("frozen", "frozen", form="frozen-graph"),
    _LAYERS.right("plain", "not fused", bn={"fused": False}, form="checkpoint"),
    _LAYERS.right("switch", "`training` a placeholder, default False", switch=True),
    _LAYERS.right("renorm", "`renorm=True`", bn={"renorm": True}, form="checkpoint"),
    _LAYERS.wrong("never", "UPDATE_OPS never run", "never-updated", updates=False),
    _LAYERS.wrong("training", "`training=True` exported", "batch-statistics", training=True),
    _KERAS.right("file", "Keras 3, `.keras`"),
    _KERAS.right("export", "Keras 3, `model.export`", form="saved-model"),
    _KERAS.right("loop", "a training loop of one's own", trained="loop"),
    _KERAS.right("sync", "`synchronized=True`", bn={"synchronized": True}),
    _KERAS.right("noscale", "`scale=False`", bn={"scale": False}),
    _KERAS.right("grouped", "grouped convolution", conv="grouped"),
    _KERAS.right("depthwise", "depthwise convolution", conv="depthwise"),
    _KERAS.right("transposed", "transposed convolution", conv="transposed"),
    _KERAS.right("mixed", "mixed precision", policy="mixed_float16"),
    # Where training itself used the mean 0 and variance 1, the weights fit these: statistics from
    # data would be the wrong ones, and nothing but another training repairs it.
    _KERAS.wrong(
        "loop-never",
        "a loop without `training=True`",
        "never-updated",
        repair="none",
        trained="loop-without-training",
    ),
    _KERAS.wrong("not", "exported before training", "never-updated", repair="none", trained="not"),
    _KERAS.wrong("slow", "momentum 0.999, 60 steps", *_HALF, **_SLOW),
    _KERAS.right("training-call", "`training=True` in a functional model, overridden", call=True),
    _KERAS.wrong(
        "training-export",
        "`model(x, training=True)` exported",
        "batch-statistics",
        form="model-in-training",
    ),
    _LEGACY.right("h5", "tf-keras, `.h5`"),
    _LEGACY.right("saved-model", "tf-keras, SavedModel", form="saved-model"),
    _LEGACY.right("renorm", "`renorm=True`", bn={"renorm": True}),
    _LEGACY.right("plain", "not fused", bn={"fused": False}),
    _LEGACY.right("sync", "SyncBatchNormalization", synchronized=True, form="saved-model"),
    _LEGACY.right("mixed", "mixed precision", policy="mixed_float16"),
    _LEGACY.wrong(
        "not-trainable",
        "`trainable=False` from the start",
        "never-updated",
        repair="none",
        bn={"trainable": False},
    ),
    _LEGACY.wrong(
        "loop-never",
        "a loop without `training=True`",
        "never-updated",
        repair="none",
        trained="loop-without-training",
        form="saved-model",
    ),
    _LEGACY.wrong("slow", "momentum 0.999, 60 steps", *_HALF, **_SLOW),
    _LEGACY.wrong(
        "training-export",
        "`model(x, training=True)` exported",
        "batch-statistics",
        form="model-in-training",
    ),
)
