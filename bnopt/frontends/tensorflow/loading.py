"""Each kind of source to the same thing: a graph with its variables, inputs and outputs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from bnopt.errors import BnoptError, LoadError
from bnopt.frontends.tensorflow import (
    captured,
    endpoints,
    graphs,
    keras_models,
    library,
    variables,
)
from bnopt.frontends.tensorflow.loaded import Loaded
from bnopt.runtime.messages import one_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from bnopt.frontends.tensorflow.detect import Source
    from bnopt.frontends.tensorflow.endpoints import Wanted


def load(source: Source, wanted: Wanted, folder: Path) -> Loaded:
    """Load a source, whatever its kind.

    Args:
        source: What and where.
        wanted: Signature, inputs and outputs that were asked for.
        folder: For files on the way from Keras.

    Raises:
        LoadError: It cannot be read.
        UsageError: Its signature, inputs or outputs are not given and not clear.
    """
    try:
        if source.kind == "keras":
            saved = keras_models.open_file(source.path, folder)
            loaded = _saved_model(saved.path, wanted)
            loaded.learn(saved.known, wanted)
            return loaded
        if source.kind == "saved-model":
            return _saved_model(source.path, wanted)
        if source.kind == "checkpoint":
            return _checkpoint(source.path, wanted)
        return _frozen(source.path, wanted)
    except (BnoptError, MemoryError):
        raise
    # TensorFlow's and Keras's loaders raise what they like, RuntimeError to UnicodeDecodeError.
    except Exception as error:
        raise LoadError(f"{source.path}: cannot be loaded ({one_line(error)})") from None


def _saved_model(path: Path, wanted: Wanted) -> Loaded:
    tf1 = library.load("tensorflow").compat.v1
    graph = tf1.Graph()
    with graph.as_default(), tf1.Session(config=library.session_config()) as session:
        tags = _tags(path)
        meta = tf1.saved_model.load(session, tags, str(path), clear_devices=True)
        graph_def = graph.as_graph_def()
        ends = endpoints.of_signature(graph, meta.signature_def, wanted)
        values = variables.read(graph, session)
    if left_out := captured.read(path, meta, values):
        values |= left_out
        ends.notes.append(
            f"{len(left_out)} variables that the SavedModel's own restore op leaves empty were "
            "read from its checkpoint; only tf.saved_model.load runs it as it is"
        )
    tensors = [*ends.inputs.values(), *ends.outputs.values()]
    if any("PartitionedCall" in node.op for node in graph_def.node):
        # TensorFlow 2: apart from the call, there are only the calls that save and restore.
        graph_def = graphs.subgraph(graph_def, [*tensors, *values])
        starts = None
    else:
        starts = variables.initial(graph)
    graph_def = graphs.bare(graphs.inline(graph_def, tensors))
    loaded = Loaded(graph_def, values, starts, ends.inputs, ends.outputs, ends.notes)
    loaded.places = captured.places(meta)
    return loaded


def _tags(path: Path) -> list[str]:
    """Tags of the graph that serves: that of `serve`, or the only one."""
    saved = library.load("tensorflow.core.protobuf.saved_model_pb2").SavedModel()
    saved.ParseFromString((path / "saved_model.pb").read_bytes())
    found = [list(meta.meta_info_def.tags) for meta in saved.meta_graphs]
    serving = [tags for tags in found if "serve" in tags]
    for chosen in ([tags for tags in found if tags == ["serve"]], serving, found):
        if len(chosen) == 1:
            return chosen[0]
    listed = ", ".join("+".join(tags) or "(none)" for tags in found) or "none"
    raise LoadError(f"{path}: no graph that is clearly the one to serve; tags: {listed}")


def _checkpoint(prefix: Path, wanted: Wanted) -> Loaded:
    tf1 = library.load("tensorflow").compat.v1
    graph = tf1.Graph()
    with graph.as_default(), tf1.Session(config=library.session_config()) as session:
        saver = tf1.train.import_meta_graph(f"{prefix}.meta", clear_devices=True)
        if saver is None:
            raise LoadError(f"{prefix}.meta: a graph without variables")
        saver.restore(session, str(prefix))
        graph_def = graphs.bare(graph.as_graph_def())
        ends = endpoints.of_graph(graph, wanted, trained=True)
        values = variables.read(graph, session)
    starts = variables.initial(graph)
    return Loaded(graph_def, values, starts, ends.inputs, ends.outputs, ends.notes)


def _frozen(path: Path, wanted: Wanted) -> Loaded:
    tf = library.load("tensorflow")
    graph_def = tf.compat.v1.GraphDef()
    graph_def.ParseFromString(path.read_bytes())
    if not graph_def.node:
        raise LoadError(f"{path}: not a graph of TensorFlow, or an empty one")
    graphs.bare(graph_def)
    unfrozen = [node.name for node in graph_def.node if node.op in graphs.VARIABLES]
    if unfrozen:
        raise LoadError(
            f"{path}: not frozen: it names variables ('{unfrozen[0]}' and {len(unfrozen) - 1} "
            "more) but has no values; give the checkpoint or a SavedModel"
        )
    graph = graphs.imported(graph_def)
    ends = endpoints.of_graph(graph, wanted, trained=False)
    tensors = [*ends.inputs.values(), *ends.outputs.values()]
    values = _former_variables(graph_def)
    graph_def = graphs.inline(graph_def, tensors)
    return Loaded(graph_def, values, None, ends.inputs, ends.outputs, ends.notes)


def _former_variables(graph_def: Any) -> dict[str, NDArray[Any]]:
    """Name -> value of constants that freezing made of variables: an Identity reads them."""
    nodes = graphs.nodes_by_name(graph_def)
    make = library.load("tensorflow").make_ndarray
    read = {graphs.node_name(node.input[0]) for node in graph_def.node if node.op == "Identity"}
    constants = [nodes[name] for name in read if name in nodes and nodes[name].op == "Const"]
    return {node.name: make(node.attr["value"].tensor) for node in constants}
