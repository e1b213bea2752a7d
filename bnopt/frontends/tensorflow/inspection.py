"""What is wrong with a TensorFlow model, seen before its variables are frozen.

An exporter throws away what this looks at: the variables' names, what they started from, the ops
that update them, and the switch between training and inference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnopt.findings import Finding
from bnopt.frontends.records import Variable
from bnopt.frontends.tensorflow.dataflow import modes, statistics
from bnopt.frontends.tensorflow.dataflow.records import records
from bnopt.frontends.tensorflow.dataflow.view import Model, View
from bnopt.frontends.tensorflow.mistakes import MISTAKES

# What explains others comes before them.
_CHECKS = (
    statistics.zero_debias,
    statistics.wrong_scope,
    modes.training_mode,
    modes.training_switch,
    *(mistake.check for mistake in MISTAKES),
    statistics.never_updated,
    statistics.half_updated,
    statistics.few_steps,
    modes.unrecoverable,
)


def inspect(
    loaded: Model, bound: Mapping[str, Any] | None = None
) -> tuple[list[Finding], list[Variable]]:
    """Look at a model's graph and variables.

    Args:
        loaded: The graph, not frozen, and the values of its variables.
        bound: Input, node or tensor name -> the value it will be bound to, such as
            `{"is_training": False}`; what it decides is then no switch.

    Returns:
        Findings, the most telling first, each with the batch norm's scope in TensorFlow as `site`;
        and every variable that belongs to a batch norm.

    Raises:
        UnsupportedModelError: A function of the graph is missing, or calls itself.
    """
    view = View(loaded, bound)
    return [finding for check in _CHECKS for finding in check(view)], records(view)
