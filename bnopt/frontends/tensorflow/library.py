"""How this package gets at TensorFlow: late, untyped, and silent in the child process."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any

from bnopt.errors import DependencyError

_HINT = "run: pip install 'bnopt[tensorflow]'"


def require(*modules: str) -> None:
    """Check that modules are there, without importing them.

    Raises:
        DependencyError: One is not.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise DependencyError(f"{module} is not installed; {_HINT}")


def load(module: str) -> Any:
    """Import a module of TensorFlow's world.

    Raises:
        DependencyError: It is not there, or does not import.
    """
    require(module.partition(".")[0])
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())
        raise DependencyError(f"{module} does not import ({reason}); {_HINT}") from None


def quiet() -> None:
    """Settings that must stand before TensorFlow is imported; for the child process only."""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # The judge compares with numbers of the CPU, and a child must not fill a GPU's memory.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    os.environ["KERAS_BACKEND"] = "tensorflow"


def session_config() -> Any:
    """Settings of a session that computes a graph as it is written, without grappler."""
    config = load("tensorflow").compat.v1.ConfigProto()
    config.graph_options.rewrite_options.disable_meta_optimizer = True
    return config
