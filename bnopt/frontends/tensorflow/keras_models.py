"""Keras models, of Keras 3 and of tf-keras, to a SavedModel of what they compute in inference."""

from __future__ import annotations

import io
import json
import re
import zipfile
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from bnopt.errors import LoadError
from bnopt.frontends.tensorflow import captured, library
from bnopt.frontends.tensorflow.loaded import Known

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

_AVERAGES = ("moving_mean", "moving_variance")
_PARAMETERS = ("gamma", "beta", *_AVERAGES)
_FOREIGN = re.compile(r"[^A-Za-z0-9_.\-/]")
_SURE = ("Zeros", "Ones", "Constant")


@dataclass(frozen=True, slots=True)
class Saved:
    """A SavedModel, and what Keras knew and it does not.

    Attributes:
        path: Its folder.
        known: What the layers know; None if no Keras model was saved.
    """

    path: Path
    known: Known | None


def open_file(path: Path, folder: Path) -> Saved:
    """Load a `.keras` or `.h5` file and save it as a SavedModel below a folder.

    Raises:
        LoadError: It holds no whole model, code that would run on loading, or classes that are
            not Keras's.
    """
    config, version = _zipped(path) if path.suffix.lower() == ".keras" else _hdf5(path)
    if any(_runs_code(part) for part in _walk(config)):
        raise LoadError(
            f"{path}: has a Lambda layer, whose Python code would run on loading; pass the model "
            "itself to bnopt.export, or save it as a SavedModel"
        )
    # Keras 3 reads most of what tf-keras wrote, but not all, and not always as it was.
    library.require(*(("tf_keras",) if version.startswith("2") else ("keras",)))
    keras = library.load("tf_keras" if version.startswith("2") else "keras")
    try:
        model = keras.models.load_model(str(path), compile=False)
    except Exception as error:
        if (foreign := next(filter(None, map(_foreign_class, _walk(config))), None)) is None:
            raise
        raise LoadError(
            f"{path}: '{foreign}' is no class of Keras, and code of your own is not run here; pass "
            "the model itself to bnopt.export, or save it as a SavedModel: model.export(FOLDER)"
        ) from error
    return save(model, folder)


def save(model: Any, folder: Path) -> Saved:
    """Save a Keras model's inference as a SavedModel.

    Args:
        model: Of Keras 3 (with TensorFlow as its backend) or of tf-keras; built.
        folder: Where to put `saved_model/`.
    """
    tf = library.load("tensorflow")
    path = folder / "saved_model"
    inputs = getattr(model, "inputs", None)
    if not inputs:
        # A subclass of Model: only it knows what it was called with.
        with redirect_stdout(io.StringIO()):
            model.export(str(path))
        return Saved(path, None)
    names = _unique([_plain(tensor.name) for tensor in inputs])
    # Each has its own order of the keys of a dict, in which `model.inputs` stand, too.
    is_old = any(base.__module__.startswith("tf_keras") for base in type(model).__mro__)
    tree = tf.nest if is_old else library.load("keras").tree
    outputs: list[str] = []

    def infer(*tensors: Any) -> dict[str, Any]:
        packed = tensors[0] if len(tensors) == 1 else tree.pack_sequence_as(model.input, tensors)
        results = tree.flatten(model(packed, training=False))
        outputs[:] = _outputs(model, len(results))
        return dict(zip(outputs, results, strict=True))

    function = _traced(infer, names, inputs, free="Sequential" in _classes(model))
    holder = tf.Module()
    # They come as a set.
    variables = sorted(function.graph.variables, key=lambda one: one.name)
    setattr(holder, captured.HELD, variables)
    tf.saved_model.save(holder, str(path), signatures=function)
    known = replace(_known(model, variables), inputs=tuple(names), outputs=tuple(outputs))
    return Saved(path, known)


def _traced(infer: Any, names: list[str], inputs: list[Any], *, free: bool) -> Any:
    """A concrete function of `infer`, with a free batch if the model has one or can have one.

    A Sequential without an Input takes the batch that it was fitted with for its shape.
    """
    tf = library.load("tensorflow")

    def traced(shapes: list[Any]) -> Any:
        specs = [
            tf.TensorSpec(shape, tensor.dtype, name=name)
            for shape, tensor, name in zip(shapes, inputs, names, strict=True)
        ]
        return tf.function(infer, input_signature=specs).get_concrete_function()

    shapes = [tensor.shape for tensor in inputs]
    if free:
        # What counts on the size of its batch cannot be traced without.
        with suppress(Exception):
            return traced([(None, *tuple(shape)[1:]) for shape in shapes])
    return traced(shapes)


def _zipped(path: Path) -> tuple[object, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            metadata = json.loads(archive.read("metadata.json"))
            return json.loads(archive.read("config.json")), str(metadata.get("keras_version", ""))
    except (zipfile.BadZipFile, KeyError, ValueError):
        raise LoadError(f"{path}: not a Keras model, or a damaged one") from None


def _hdf5(path: Path) -> tuple[object, str]:
    with library.load("h5py").File(path, "r") as file:
        text = file.attrs.get("model_config")
        version = str(file.attrs.get("keras_version", "2"))
    if text is None:
        raise LoadError(f"{path}: weights without their model; save the whole model")
    return json.loads(text), version


def _walk(config: object) -> Iterator[dict[str, object]]:
    stack = [config]
    while stack:
        part = stack.pop()
        if isinstance(part, dict):
            found = cast("dict[str, object]", part)
            yield found
            stack += found.values()
        elif isinstance(part, list):
            stack += cast("list[object]", part)


def _runs_code(part: dict[str, object]) -> bool:
    return part.get("class_name") in ("Lambda", "__lambda__")


def _foreign_class(part: dict[str, object]) -> str | None:
    """The class of an object in a model's configuration, if it is not of Keras itself."""
    name, module = part.get("class_name"), part.get("module")
    if not isinstance(name, str) or "config" not in part:
        return None
    if part.get("registered_name") and not str(module).startswith(("keras", "tf_keras")):
        return name
    # As tf-keras names what was registered.
    return name.partition(">")[2] or None


def _outputs(model: Any, count: int) -> list[str]:
    names = list(getattr(model, "output_names", None) or ())
    if not names and count == 1 and getattr(model, "layers", None):
        # A Sequential of Keras 3, which other models call by its last layer as well.
        names = [model.layers[-1].name]
    if len(names) != count:
        names = [f"output_{index}" for index in range(count)]
    return _unique([_plain(str(name)) for name in names])


def _plain(name: str) -> str:
    """A name of a tensor as TensorFlow takes it for an argument of a signature."""
    return _FOREIGN.sub("_", name.partition(":")[0])


def _unique(names: list[str]) -> list[str]:
    """The same names, those that were there before with a number behind."""
    taken: list[str] = []
    for name in names:
        fresh, number = name, 0
        while fresh in taken:
            number += 1
            fresh = f"{name}_{number}"
        taken.append(fresh)
    return taken


def _known(model: Any, variables: Sequence[Any]) -> Known:
    places = {id(variable): place for place, variable in enumerate(variables)}
    starts: dict[int, NDArray[Any]] = {}
    rates: dict[int, float] = {}
    layers = getattr(model, "_flatten_layers", None)
    for layer in layers() if layers is not None else ():
        # What others mean by momentum nobody knows.
        momentum = layer.momentum if "BatchNormalization" in _classes(layer) else None
        for parameter in _PARAMETERS:
            variable = getattr(layer, parameter, None)
            # Keras 3 wraps TensorFlow's variable; elsewhere `value` is a method.
            inner = getattr(variable, "value", variable)
            place = places.get(id(variable if callable(inner) else inner))
            if variable is None or place is None:
                continue
            initializer: Any = getattr(layer, f"{parameter}_initializer", None)
            if type(initializer).__name__ in _SURE:
                value = initializer(tuple(variable.shape), dtype=variable.dtype)
                starts[place] = np.asarray(value)
            if parameter in _AVERAGES and isinstance(momentum, int | float):
                rates[place] = 1.0 - momentum
    return Known(starts, rates)


def _classes(part: Any) -> list[str]:
    """Names of the classes of Keras that an object is of."""
    bases = type(part).__mro__
    return [base.__name__ for base in bases if base.__module__.startswith(("keras", "tf_keras"))]
