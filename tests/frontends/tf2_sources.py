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


def converted_two_ways(world: str, folder: str, kind: str):
    """A model of two inputs and two outputs, and what Keras itself answers to its first reference.

    Args:
        world: `keras` or `tf_keras`.
        folder: For the export.
        kind: How the inputs and outputs are held: `list`, `dict` or `ordered`.
    """
    import importlib
    from collections import OrderedDict

    from bnopt.frontends.tensorflow.run import convert

    keras = importlib.import_module(world)
    layers = keras.layers
    zeta, alpha = (layers.Input((4,), name=name) for name in ("zeta", "alpha"))
    first, second = (
        layers.Dense(3, name=name)(layers.BatchNormalization()(layers.Dense(5)(photo)))
        for name, photo in (("price", zeta), ("age", alpha))
    )
    pack = {"list": list, "dict": dict, "ordered": OrderedDict}[kind]
    if kind == "list":
        model = keras.Model([zeta, alpha], [first, second])
    else:
        model = keras.Model(
            pack([("zeta", zeta), ("alpha", alpha)]), pack([("price", first), ("age", second)])
        )
    for weight in model.weights:
        weight.assign(np.random.default_rng(len(weight.shape)).uniform(0.5, 2, weight.shape))
    converted = convert(model, folder=Path(folder))
    feeds = converted.references[0].feeds
    given = (
        [feeds["zeta"], feeds["alpha"]] if kind == "list" else pack((n, feeds[n]) for n in feeds)
    )
    said = model(given, training=False)
    named = zip(("price", "age"), said, strict=True) if kind == "list" else said.items()
    return converted, {name: np.asarray(value) for name, value in named}


def converted_fitted(world: str, folder: str):
    """A Sequential that learned its shape from the data it was fitted with, 32 at a time."""
    import importlib

    from bnopt.frontends.tensorflow.run import convert

    keras = importlib.import_module(world)
    layers = keras.layers
    model = keras.Sequential([layers.Dense(5), layers.BatchNormalization(), layers.Dense(2)])
    model.compile("sgd", "mse")
    data = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
    model.fit(data, data[:, :2], batch_size=32, epochs=200, verbose=0)
    return convert(model, folder=Path(folder))


def converted_layer_norm(folder: str):
    """A tf-keras model with a layer norm beside its batch norm."""
    import tf_keras as keras

    from bnopt.frontends.tensorflow.run import convert

    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4,), name="photo"),
            layers.Dense(5),
            layers.BatchNormalization(),
            layers.LayerNormalization(),
            layers.Dense(CLASSES, name="scores"),
        ]
    )
    for weight in model.weights:
        weight.assign(np.random.default_rng(7).uniform(0.5, 2, weight.shape))
    return convert(model, folder=Path(folder))


def converted_own_momentum(folder: str):
    """A layer of one's own whose momentum is the weight of the new batch, as in PyTorch."""
    import keras

    from bnopt.frontends.tensorflow.run import convert

    class Own(keras.layers.Layer):
        momentum = 0.1

        def build(self, shape):
            for name in ("moving_mean", "moving_variance"):
                start = keras.initializers.Constant(0.7)
                weight = self.add_weight(
                    name=name, shape=shape[-1:], initializer=start, trainable=False
                )
                setattr(self, name, weight)
                weight.assign(np.linspace(0.5, 1.5, shape[-1]))

        def call(self, x):
            return (x - self.moving_mean) / keras.ops.sqrt(self.moving_variance + 1e-3)

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(5), Own(name="bn")])
    return convert(model, folder=Path(folder))


def converted_shared(folder: str, *, never: int | None = None):
    """A tower that is called with two inputs; or two towers whose layers have the same names.

    Args:
        folder: For the export.
        never: Which of two towers has statistics that still are what they started from, 3 and 1.
    """
    import keras

    from bnopt.frontends.tensorflow.run import convert

    layers = keras.layers

    def tower(name, moved):
        start = keras.initializers.Constant(3.0)
        norm = layers.BatchNormalization(moving_mean_initializer=start, name="bn")
        photo = keras.Input((4,))
        # The layers of a functional model are not called by its name.
        made = keras.Model(photo, norm(layers.Dense(5)(photo)), name=name)
        for value in norm.weights if moved else ():
            value.assign(np.linspace(0.5, 1.5, 5))
        return made

    inputs = [layers.Input((4,), name=name) for name in ("left", "right")]
    if never is None:
        towers = [tower("tower", moved=True)] * 2
    else:
        towers = [tower(f"tower_{number}", moved=number != never) for number in range(2)]
    results = [made(one) for made, one in zip(towers, inputs, strict=True)]
    model = keras.Model(inputs, layers.Subtract(name="apart")(results))
    return convert(model, folder=Path(folder))


def keras_own_class(path: str):
    """A file with a layer of one's own."""
    import keras

    @keras.saving.register_keras_serializable("mine")
    class Scale(keras.layers.Layer):
        def call(self, x):
            return x * 2

    keras.Sequential([keras.Input((4,)), Scale(), keras.layers.Dense(2)]).save(path)
    return path


def forgotten_classes():
    """Forget the classes that were registered here, as another process never knew them."""
    import keras

    keras.saving.get_custom_objects().clear()
