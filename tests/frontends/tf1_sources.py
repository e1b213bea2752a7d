"""Programs of TensorFlow 1, saved in each of its ways; called by `tf_models.built`."""

from __future__ import annotations

from pathlib import Path

from frontends.tf_models import CHANNELS, CLASSES, PARAMETERS, SIZE, parameters


def graph_1(
    *,
    fused: bool = True,
    resource: bool = False,
    training: bool = False,
    summarised: bool = False,
    fresh: bool = False,
):
    """A graph of TensorFlow 1 with its session, variables trained-looking or `fresh`.

    With `training`, it has labels, a loss, an optimizer, summaries and update ops as well; with
    `summarised`, also probabilities that nothing but a summary reads.
    """
    import tensorflow as tf

    tf1 = tf.compat.v1
    graph = tf1.Graph()
    with graph.as_default():
        tf1.set_random_seed(1)
        images = tf1.placeholder(tf.float32, [None, SIZE, SIZE, 3], "images")
        with tf1.variable_scope("net", use_resource=resource):
            kernel = tf1.get_variable("kernel", [3, 3, 3, CHANNELS])
            y = tf.nn.conv2d(images, kernel, 1, "SAME")
            with tf1.variable_scope("bn"):
                y, updates = _norm_1(y, fused=fused, training=training)
            weight = tf1.get_variable("weight", [CHANNELS, CLASSES])
        logits = tf.matmul(tf.reduce_mean(tf.nn.relu(y), [1, 2]), weight, name="logits")
        if training:
            labels = tf1.placeholder(tf.int64, [None], "labels")
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
            loss = tf.reduce_mean(losses, name="loss")
            tf1.summary.scalar("loss", loss)
            if summarised:
                tf1.summary.histogram("p", tf.nn.softmax(logits, name="probabilities"))
            with tf.control_dependencies(updates):
                tf1.train.AdamOptimizer().minimize(loss, name="train")
        session = tf1.Session()
        session.run(tf1.global_variables_initializer())
        found = {v.op.name: v for v in tf1.global_variables()}
        for name, value in () if fresh else parameters().items():
            found[f"net/bn/{name}"].load(value, session)
    return graph, session


def _norm_1(y, *, fused: bool, training: bool):
    import tensorflow as tf

    tf1 = tf.compat.v1
    ones, zeros = tf1.ones_initializer(), tf1.zeros_initializer()
    starts = {"gamma": ones, "beta": zeros, "moving_mean": zeros, "moving_variance": ones}
    gamma, beta, mean, variance = (
        tf1.get_variable(
            name, [CHANNELS], initializer=starts[name], trainable=not name.startswith("moving")
        )
        for name in PARAMETERS
    )
    updates = []
    if training:
        batch_mean, batch_variance = tf.nn.moments(y, [0, 1, 2])
        updates = [
            tf1.assign_sub(mean, 0.1 * (mean - batch_mean)),
            tf1.assign_sub(variance, 0.1 * (variance - batch_variance)),
        ]
    if fused:
        y = tf1.nn.fused_batch_norm(
            y, gamma, beta, mean, variance, epsilon=1e-3, is_training=False
        )[0]
    else:
        y = tf.nn.batch_normalization(y, mean, variance, beta, gamma, 1e-3)
    return y, updates


def saved_model_1(folder: str, *, signatures: tuple[str, ...] = ("serving_default",), **kwargs):
    """A SavedModel of TensorFlow 1, with variables."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    graph, session = graph_1(**kwargs)
    with graph.as_default(), session:
        images, logits = (graph.get_tensor_by_name(f"{name}:0") for name in ("images", "logits"))
        builder = tf1.saved_model.Builder(folder)
        signature = tf1.saved_model.predict_signature_def({"x": images}, {"scores": logits})
        builder.add_meta_graph_and_variables(
            session, ["serve"], signature_def_map=dict.fromkeys(signatures, signature)
        )
        builder.save()
    return folder


def frozen_graph(path: str, **kwargs):
    """A frozen GraphDef, its variables constants."""
    import tensorflow as tf

    graph, session = graph_1(**kwargs)
    with session:
        frozen = tf.compat.v1.graph_util.convert_variables_to_constants(
            session, graph.as_graph_def(), ["logits"]
        )
    Path(path).write_bytes(frozen.SerializeToString())
    return path


def unfrozen_graph(path: str):
    """A GraphDef that names variables and has no values."""
    graph, session = graph_1()
    with session:
        Path(path).write_bytes(graph.as_graph_def().SerializeToString())
    return path


def checkpoint(folder: str, *, only_trainable: bool = False, **kwargs):
    """A checkpoint with its meta graph, of a graph in training."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    graph, session = graph_1(training=True, **kwargs)
    with graph.as_default(), session:
        saved = tf1.trainable_variables() if only_trainable else None
        return tf1.train.Saver(saved).save(session, f"{folder}/model.ckpt", global_step=7)


def flag_in_a_variable(folder: str, *, value: bool, resource: bool):
    """A checkpoint of a graph whose switch between training and inference is a variable."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    if not resource:
        # A function of TensorFlow 2's conditionals cannot write to a reference variable.
        tf1.disable_control_flow_v2()
    with tf1.Graph().as_default(), tf1.variable_scope("net", use_resource=resource):
        x = tf1.placeholder(tf.float32, [None, CHANNELS], "x")
        flag = tf1.get_variable("is_training", initializer=True, trainable=False)
        found = {
            name: tf1.get_variable(name, initializer=array, trainable=False)
            for name, array in parameters().items()
        }
        mean, variance = found["moving_mean"], found["moving_variance"]

        def training():
            batch = tf.nn.moments(x, [0])
            pairs = zip((mean, variance), batch, strict=True)
            updates = [tf1.assign_sub(one, (one - new) * 0.1) for one, new in pairs]
            with tf.control_dependencies(updates):
                return [tf.identity(one) for one in batch]

        def inference():
            return [tf.identity(mean), tf.identity(variance)]

        statistics = tf1.cond(flag, training, inference)
        tf1.enable_control_flow_v2()
        y = tf.nn.batch_normalization(x, *statistics, found["beta"], found["gamma"], 1e-3)
        tf.identity(y, name="y")
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            flag.load(value, session)
            mean.load(mean.eval(session) + 0.5, session)
            return tf1.train.Saver().save(session, f"{folder}/model.ckpt") + ".meta"


def unused_input(folder: str):
    """A SavedModel with a signature of which one input decides nothing."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf1.Graph().as_default(), tf1.Session() as session:
        x, unused = (tf1.placeholder(tf.float32, [None, 3], name) for name in ("x", "unused"))
        switch = tf1.placeholder(tf.bool, name="is_training")
        y = tf.where(switch, x + 1.0, x * 2.0)
        ends = {"x": x, "unused": unused, "is_training": switch}
        tf1.saved_model.simple_save(session, folder, ends, {"y": y})
    return folder
