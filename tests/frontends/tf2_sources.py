"""Models of TensorFlow 2 and Keras, saved or as objects; called by `tf_models.built`."""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
from frontends.tf_models import CHANNELS, CLASSES, SIZE, parameters


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


def keras_model(world: str = "keras", *, groups: int = 1, fresh: bool = False, **norm: object):
    """A Keras model of Keras 3 (`keras`) or of `tf_keras`; `norm` are options of its batch norm."""
    import importlib

    keras = importlib.import_module(world)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3), name="photo"),
            layers.Conv2D(CHANNELS, 3, use_bias=False, name="conv", groups=groups),
            layers.BatchNormalization(name="bn", **norm),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES, name="scores"),
        ]
    )
    for name, value in () if fresh else parameters().items():
        getattr(model.get_layer("bn"), name).assign(value)
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


def keras_by_tensorflow(folder: str, *, renamed: bool = False):
    """A Keras 3 model that `tf.saved_model.save` saved, not Keras.

    With `renamed`, its graph of objects calls the variables otherwise than its checkpoint does.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import saved_model_pb2

    model = keras_model()
    photo = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="photo")
    serve = tf.function(lambda photo: model(photo, training=False), input_signature=[photo])
    tf.saved_model.save(model, folder, signatures=serve)
    if renamed:
        path = Path(folder) / "saved_model.pb"
        saved = saved_model_pb2.SavedModel.FromString(path.read_bytes())
        for node in saved.meta_graphs[0].object_graph_def.nodes:
            if node.HasField("variable"):
                node.variable.name += "_renamed"
        path.write_bytes(saved.SerializeToString())
    return folder


def served(folder: str, photo: np.ndarray) -> np.ndarray:
    """What TensorFlow 2 computes with a SavedModel."""
    import tensorflow as tf

    serve = tf.saved_model.load(folder).signatures["serving_default"]
    return serve(photo=tf.constant(photo))["output_0"].numpy()


def hard_wired(world: str, *, nested: bool):
    """A Keras model whose batch norm is told to train: in its graph, or by the layer around it."""
    import importlib

    layers = importlib.import_module(world).layers

    class Block(layers.Layer):
        def __init__(self):
            super().__init__(name="block")
            self.norm = layers.BatchNormalization(name="bn")

        def call(self, x):
            return self.norm(x, training=True)

    photo = layers.Input((SIZE, SIZE, 3), name="photo")
    y = layers.Conv2D(CHANNELS, 3, use_bias=False)(photo)
    y = Block()(y) if nested else layers.BatchNormalization(name="bn")(y, training=True)
    scores = layers.Dense(CLASSES, name="scores")(layers.GlobalAveragePooling2D()(y))
    return importlib.import_module(world).Model(photo, scores)


def converted_object(what: str, folder: str, **norm: object):
    """`convert` of a Python object, in the process that made it."""
    import tensorflow as tf

    from bnopt.frontends.tensorflow.run import convert

    model = keras_model("tf_keras" if what == "tf_keras" else "keras", **norm)
    source = subclassed(model) if what == "subclass" else model
    if what in ("function", "concrete"):
        spec = tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="x")
        source = tf.function(lambda x: model(x, training=False), input_signature=[spec])
        source = source.get_concrete_function() if what == "concrete" else source
    said = io.StringIO()
    with redirect_stdout(said):
        converted = convert(source, folder=Path(folder))
    assert not said.getvalue()
    return converted


def subclassed(model):
    """A model of a class of its own, which has been called once."""
    import keras

    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.model = model

        def call(self, photo):
            return self.model(photo)

    own = Own()
    own(np.zeros((1, SIZE, SIZE, 3), np.float32))
    return own


def converted_foreign_name(folder: str):
    """`convert` of a model whose input has a name that TensorFlow has not."""
    import keras

    from bnopt.frontends.tensorflow.run import convert

    layers = [keras.Input((4,), name="Bild ü 1"), keras.layers.Dense(3, name="scores")]
    return convert(keras.Sequential(layers), folder=Path(folder))


def converted_hard_wired(world: str, folder: str, *, nested: bool):
    """`convert` of a `hard_wired` model, in the process that made it."""
    from bnopt.frontends.tensorflow.run import convert

    return convert(hard_wired(world, nested=nested), folder=Path(folder))


def saved_switch(folder: str):
    """A SavedModel with the input `training`, under which the moving averages are updated."""
    import tensorflow as tf

    class Net(tf.Module):
        def __init__(self):
            super().__init__()
            values = {name: tf.Variable(value) for name, value in parameters().items()}
            self.mean, self.variance = values["moving_mean"], values["moving_variance"]

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, CHANNELS], tf.float32, name="x"),
                tf.TensorSpec([], tf.bool, name="training"),
            ]
        )
        def serve(self, x, training):
            if training:
                mean, variance = tf.nn.moments(x, [0])
                self.mean.assign(0.9 * self.mean + 0.1 * mean)
                self.variance.assign(0.9 * self.variance + 0.1 * variance)
            else:
                mean, variance = self.mean, self.variance
            return {"y": tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)}

    net = Net()
    tf.saved_model.save(net, folder, signatures=net.serve)
    return folder
