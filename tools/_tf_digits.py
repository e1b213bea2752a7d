"""A small network of TensorFlow 1 that reads digits, trained step by step and exported.

It is written as such code is written: `tf.layers.batch_normalization` keeps moving averages by
update ops, the train op depends on them, and a second tower that shares the variables is what is
frozen. TensorFlow of today still has these layers where `tf-keras` is installed.

The data are the 1 797 handwritten digits of 8 x 8 pixels inside scikit-learn (UCI "Optical
Recognition of Handwritten Digits", Alpaydin & Kaynak 1998), scaled to 0-1.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

os.environ["TF_USE_LEGACY_KERAS"] = "1"  # what tf.layers is made of; read by the import below
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import onnx
import tensorflow as tf
from _tf_scripts import Script, Tower
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tf2onnx.tfonnx import process_tf_graph

tf1 = tf.compat.v1
tf1.disable_v2_behavior()
tf1.logging.set_verbosity(tf1.logging.ERROR)
warnings.filterwarnings("ignore", message=r".*`tf\.layers\.", category=UserWarning)

INPUT, SWITCH, OUTPUT = "image", "is_training", "logits"
TRAINED, OWN = "trained_logits", "inference"
BATCH = 32
EPSILON = 1e-3
OPSET = 17
SCRIPT = Script()
SPLIT_SEED = 7
TEST_IMAGES = 360


@dataclass(frozen=True)
class Digits:
    """Images (N, 8, 8, 1) float32 with values from 0 to 1, and their labels (N,) int64."""

    train_x: np.ndarray
    train_y: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray

    @staticmethod
    def load() -> Digits:
        """The same split every time: 1 437 to train on, 360 to test on."""
        images, labels = load_digits(return_X_y=True)
        images = (images / 16.0).astype(np.float32).reshape(-1, 8, 8, 1)
        train_x, test_x, train_y, test_y = train_test_split(
            images, labels, test_size=TEST_IMAGES, random_state=SPLIT_SEED, stratify=labels
        )
        return Digits(train_x, train_y.astype(np.int64), test_x, test_y.astype(np.int64))


@dataclass(frozen=True)
class Moments:
    """Mean and variance, each [C] float32, for every batch norm, in the order of the network."""

    means: tuple[np.ndarray, ...]
    variances: tuple[np.ndarray, ...]

    def error(self, exact: Moments) -> float:
        """How far these statistics put normalised values off, in standard deviations.

        A value x with the exact moments (m, v) becomes (x - m') / s' instead of (x - m) / s, where
        s = sqrt(v + epsilon). The mean square of the difference is

            (m - m')^2 / s'^2  +  v (1 / s' - 1 / s)^2

        Returns:
            Its root over the channels of a batch norm, for the one where it is largest.
        """
        worst = 0.0
        for mean, variance, true_mean, true_variance in zip(
            self.means, self.variances, exact.means, exact.variances, strict=True
        ):
            stored, true = np.sqrt(variance + EPSILON), np.sqrt(true_variance + EPSILON)
            square = ((true_mean - mean) / stored) ** 2
            square += true_variance * (1 / stored - 1 / true) ** 2
            worst = max(worst, float(np.sqrt(square.mean())))
        return worst


class Network:
    """A digit reader in training.

    Args:
        data: What to train and test on.
        decay: `momentum` of the batch norms: the share that a moving average keeps at each step.
        seed: Of the initial weights and of the order of the images.
        learning_rate: Adam's, constant.
        batch: Images in a batch.
        script: How the code is written. Only its `fused`, `affine` and `switch` may change the
            weights that a seed trains.
    """

    def __init__(
        self,
        data: Digits,
        *,
        decay: float,
        seed: int,
        learning_rate: float = 1e-3,
        batch: int = BATCH,
        script: Script = SCRIPT,
    ) -> None:
        self.data = data
        self.steps = 0
        self._batch = batch
        self._script = script
        self._random = np.random.default_rng(seed)
        self._order = np.zeros(0, np.int64)
        self._graph = tf.Graph()
        with self._graph.as_default():
            tf1.set_random_seed(seed)
            self._images = tf1.placeholder(tf.float32, [None, 8, 8, 1], INPUT)
            self._labels = tf1.placeholder(tf.int64, [None])
            self._training = tf1.placeholder(tf.bool, [], SWITCH) if script.switch else True
            logits, normalised = _tower(self._images, script, training=self._training, decay=decay)
            self._weights = tf1.trainable_variables()
            self._moments = [tf.nn.moments(x, list(range(x.shape.rank - 1))) for x in normalised]
            answers, self._inner = _tower(self._images, script, training=False, decay=decay)
            self._logits = tf.identity(answers, OUTPUT)
            tf.identity(logits, TRAINED)
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=self._labels, logits=logits)
            )
            updates = tf1.get_collection(tf1.GraphKeys.UPDATE_OPS) if script.updates else []
            with tf.control_dependencies(updates):
                self._train = tf1.train.AdamOptimizer(learning_rate).minimize(loss)
            variables = tf1.global_variables(f"digits/{OWN}/" if script.own_norms else None)
            self._means = [v for v in variables if v.name.endswith("moving_mean:0")]
            self._variances = [v for v in variables if v.name.endswith("moving_variance:0")]
            # One thread: sums in a fixed order, so that a seed trains the same network again.
            threads = {"intra_op_parallelism_threads": 1, "inter_op_parallelism_threads": 1}
            self._session = tf1.Session(config=tf1.ConfigProto(**threads))
            self._session.run(tf1.global_variables_initializer())

    def train_to(self, steps: int) -> None:
        """Train until `steps` batches have been seen since the start."""
        for _ in range(steps - self.steps):
            if len(self._order) < self._batch:
                self._order = self._random.permutation(len(self.data.train_x))
            chosen, self._order = self._order[: self._batch], self._order[self._batch :]
            images, labels = self.data.train_x[chosen], self.data.train_y[chosen]
            self._session.run(self._train, {**self._fed(images), self._labels: labels})
        self.steps = max(self.steps, steps)

    def weights(self) -> dict[str, np.ndarray]:
        """All that is trained, by the names of its variables."""
        return self._session.run({variable.name: variable for variable in self._weights})

    def moving(self) -> Moments:
        """The moving averages of the tower for inference as they are now."""
        means, variances = self._session.run([self._means, self._variances])
        return Moments(tuple(means), tuple(variances))

    def exact(self) -> Moments:
        """What the weights of now deserve: moments over all training images as one batch."""
        found = self._session.run(self._moments, self._fed(self.data.train_x))
        return Moments(*(tuple(column) for column in zip(*found, strict=True)))

    def settled(self, images: np.ndarray) -> Moments:
        """Moments of what the tower for inference normalises, those of one layer after another.

        Each layer is measured with those before it settled, so that the moments fit each other
        also where this tower has not the gammas and betas of the trained one.
        """
        found = self.moving()
        for place, inner in enumerate(self._inner):
            with self._holding(found):
                x = self._session.run(inner, {self._images: images})
            numbers = x.reshape(-1, x.shape[-1]).astype(np.float64)
            means, variances = list(found.means), list(found.variances)
            means[place], variances[place] = numbers.mean(axis=0), numbers.var(axis=0)
            found = Moments(tuple(means), tuple(variances))
        return found

    def accuracy(self, statistics: Moments | None = None) -> float:
        """Share of test images read right in inference mode.

        Args:
            statistics: To normalise with, in place of the moving averages.
        """
        with self._holding(statistics):
            answers = self._session.run(self._logits, {self._images: self.data.test_x})
        return float((answers.argmax(axis=1) == self.data.test_y).mean())

    def export(
        self, path: Path, *, statistics: Moments | None = None, tower: Tower = "inference"
    ) -> None:
        """Freeze a tower and write it as ONNX, a fused batch norm as one node.

        Neither TensorFlow's grappler nor tf2onnx's optimizers run: both fold batch norms into
        convolutions, and bury what is wrong with them.

        Args:
            path: Where to.
            statistics: To export in place of the moving averages.
            tower: Which one; that which is trained has a switch as its second input if the script
                says so.
        """
        inputs = [INPUT, SWITCH] if tower == "trained" and self._script.switch else [INPUT]
        output = TRAINED if tower == "trained" else OUTPUT
        with self._holding(statistics):
            frozen = tf1.graph_util.convert_variables_to_constants(
                self._session, self._graph.as_graph_def(), [output]
            )
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(frozen, name="")
            converted = process_tf_graph(
                graph,
                opset=OPSET,
                input_names=[f"{name}:0" for name in inputs],
                output_names=[f"{output}:0"],
                tensors_to_rename={**{f"{name}:0": name for name in inputs}, f"{output}:0": OUTPUT},
            )
        onnx.save(converted.make_model("digits"), path)

    def _fed(self, images: np.ndarray) -> dict[tf.Tensor, object]:
        """What the trained tower is fed in training."""
        feed: dict[tf.Tensor, object] = {self._images: images}
        return {**feed, self._training: True} if self._script.switch else feed

    @contextmanager
    def _holding(self, statistics: Moments | None) -> Iterator[None]:
        """With other moving averages in the tower for inference."""
        kept = self.moving()
        try:
            self._store(statistics or kept)
            yield
        finally:
            self._store(kept)

    def _store(self, statistics: Moments) -> None:
        variables = [*self._means, *self._variances]
        for variable, value in zip(
            variables, [*statistics.means, *statistics.variances], strict=True
        ):
            variable.load(value, self._session)


def _tower(
    images: tf.Tensor, script: Script, *, training: bool | tf.Tensor, decay: float
) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """Logits (N, 10), and what each batch norm normalises; a second tower shares the variables."""
    normalised: list[tf.Tensor] = []
    options = {
        "training": training,
        "momentum": decay,
        "epsilon": EPSILON,
        "fused": script.fused,
        "center": script.affine,
        "scale": script.affine,
    }
    own = script.own_norms and training is False

    def norm(x: tf.Tensor, name: str) -> tf.Tensor:
        normalised.append(x)
        with _scope(OWN) if own else nullcontext():
            return tf.nn.relu(tf1.layers.batch_normalization(x, name=name, **options))

    def conv(x: tf.Tensor, channels: int, stride: int, name: str) -> tf.Tensor:
        layer = tf1.layers.conv2d
        y = layer(x, channels, 3, stride, "same", use_bias=False, name=name)
        return norm(y, f"{name}_bn")

    with _scope("digits"):
        x = conv(images, 16, 1, "conv1")
        x = conv(x, 16, 2, "conv2")
        x = conv(x, 32, 1, "conv3")
        x = tf1.layers.dense(tf1.layers.flatten(x), 32, use_bias=False, name="dense")
        # As an image of one pixel: only then is the fused kernel, and so one node, used.
        x = norm(tf.reshape(x, [-1, 1, 1, 32]), "dense_bn")
        return tf1.layers.dense(tf.reshape(x, [-1, 32]), 10, name="output"), normalised


def _scope(name: str) -> AbstractContextManager[object]:
    return tf1.variable_scope(name, reuse=tf1.AUTO_REUSE)
