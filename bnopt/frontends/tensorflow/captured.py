"""Values of variables that a SavedModel's functions capture and its own restore op leaves out.

`tf.saved_model.save` of a Keras 3 model writes every variable twice: once as the resource that its
functions capture, and once as a copy, which alone is restored (keras 3,
src/backend/tensorflow/core.py, `_export_to_saved_model_graph`). A session that loads it finds the
captured ones empty. `tf.saved_model.load` does not restore by that op but by objects:

    capture i of a function -> bound_inputs[i], a node of the object graph -> key in a checkpoint

Source: TensorFlow, core/protobuf/saved_object_graph.proto and trackable_object_graph.proto.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bnopt.frontends.tensorflow import graphs, library

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_VALUE = "VARIABLE_VALUE"
HELD = "variables_of_the_model"
"""What the root of a SavedModel that bnopt wrote calls the list of its variables."""


def read(path: Path, meta: Any, present: Collection[str]) -> dict[str, NDArray[Any]]:
    """Variable name -> value, for captured variables that have none yet.

    Args:
        path: The SavedModel's folder.
        meta: Its MetaGraphDef.
        present: Names of the variables that have values.
    """
    nodes = graphs.nodes_by_name(meta.graph_def)
    missing = {
        name: index
        for name, index in _captures(meta)
        if name not in present and name in nodes and nodes[name].op == "VarHandleOp"
    }
    if not missing:
        return {}
    tf = library.load("tensorflow")
    checkpoint = tf.train.load_checkpoint(str(path / "variables" / "variables"))
    stored = _stored(checkpoint)
    found: dict[str, NDArray[Any]] = {}
    for name, index in missing.items():
        variable = meta.object_graph_def.nodes[index].variable
        full_name, key = stored.get(index, ("", ""))
        if key and full_name == variable.name:
            found[name] = np.asarray(checkpoint.get_tensor(key))
    return found


def places(meta: Any) -> dict[str, int]:
    """Variable name -> its place in the list `HELD`; names alone may have been changed on saving.

    Args:
        meta: The MetaGraphDef of a SavedModel.
    """
    nodes = meta.object_graph_def.nodes
    children = {child.local_name: child.node_id for child in nodes[0].children} if nodes else {}
    if HELD not in children:
        return {}
    held = {
        child.node_id: int(child.local_name)
        for child in nodes[children[HELD]].children
        if child.local_name.isdigit()
    }
    return {name: held[index] for name, index in _captures(meta) if index in held}


def _captures(meta: Any) -> Iterator[tuple[str, int]]:
    """(node of the main graph, node of the object graph) for each capture of each call."""
    functions = meta.object_graph_def.concrete_functions
    for node in meta.graph_def.node:
        called = node.attr["f"].func.name if "f" in node.attr else ""
        if called not in functions:
            continue
        bound = functions[called].bound_inputs
        data = [text for text in node.input if not text.startswith("^")]
        # The captures come behind the arguments.
        captured = data[len(data) - len(bound) :]
        for text, index in zip(captured, bound, strict=False):
            yield graphs.node_name(text), int(index)


def _stored(checkpoint: Any) -> dict[int, tuple[str, str]]:
    """Node of the object graph -> (name of the variable, key in the checkpoint)."""
    proto = library.load("tensorflow.core.protobuf.trackable_object_graph_pb2")
    tree = proto.TrackableObjectGraph()
    tree.ParseFromString(checkpoint.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
    return {
        index: (attribute.full_name, attribute.checkpoint_key)
        for index, node in enumerate(tree.nodes)
        for attribute in node.attributes
        if attribute.name == _VALUE
    }
