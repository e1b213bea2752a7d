"""Models that are Python objects of TensorFlow or Keras: saved, so that a child can load them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bnopt.errors import LoadError, UsageError
from bnopt.frontends.tensorflow import keras_models, library
from bnopt.runtime.messages import one_line

if TYPE_CHECKING:
    from pathlib import Path

_WORLDS = ("tensorflow", "keras", "tf_keras")


def is_tensorflow(source: object) -> bool:
    """Whether an object is of a class of TensorFlow or Keras; nothing is imported for that."""
    return any(base.__module__.partition(".")[0] in _WORLDS for base in type(source).__mro__)


def save(source: Any, folder: Path) -> keras_models.Saved:
    """Save a Keras model, a `tf.function` or a concrete function as a SavedModel.

    A model is saved as what it computes in inference. The file formats of Keras would keep more,
    but a child process cannot load classes of the user's.

    Args:
        source: The object.
        folder: Where to put `saved_model/`.

    Raises:
        UsageError: It is none of these, or a `tf.function` whose inputs are not known.
        LoadError: TensorFlow cannot save it.
    """
    concrete = None
    if not _is_model(source):
        concrete = _concrete(source)
    try:
        if concrete is None:
            return keras_models.save(source, folder)
        return keras_models.Saved(_save_function(concrete, folder), None)
    except (MemoryError, UsageError):
        raise
    # Keras and TensorFlow raise what they like.
    except Exception as error:
        what = type(source).__name__
        raise LoadError(f"the {what} cannot be saved ({one_line(error)})") from None


def _is_model(source: object) -> bool:
    return any(
        base.__name__ in ("Model", "Functional") and base.__module__.partition(".")[0] in _WORLDS
        for base in type(source).__mro__
    )


def _concrete(source: Any) -> Any:
    if hasattr(source, "structured_input_signature") and hasattr(source, "graph"):
        return source
    if not hasattr(source, "get_concrete_function"):
        raise UsageError(
            f"cannot export a {type(source).__name__}; give a Keras model, a tf.function or a "
            "concrete function"
        )
    if source.input_signature is None:
        raise UsageError(
            "a tf.function without input_signature; give the concrete function: "
            "f.get_concrete_function(tf.TensorSpec(...))"
        )
    return source.get_concrete_function()


def _save_function(concrete: Any, folder: Path) -> Path:
    tf = library.load("tensorflow")
    path = folder / "saved_model"
    holder = tf.Module()
    # A SavedModel refuses a function whose variables nothing refers to.
    holder.variables_of_the_function = list(concrete.graph.variables)
    tf.saved_model.save(holder, str(path), signatures=concrete)
    return path
