"""Which batch norms of an exported model are which modules: both exporters keep buffers' names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from bnopt import io
from bnopt.graph.scopes import scopes

_STATISTICS = ("running_mean", "running_var")


def sites_of(path: Path, names: Collection[str]) -> dict[str, str]:
    """Site id -> name of the module whose statistics the node normalises with.

    Args:
        path: The exported model.
        names: Names of the modules.
    """
    operands = {tuple(f"{name}.{buffer}" for buffer in _STATISTICS): name for name in names}
    found: dict[str, str] = {}
    for scope in scopes(io.load(path).model):
        for node in scope.graph:
            if node.op_type != "BatchNormalization" or len(node.inputs) < 5:
                continue
            statistics = tuple(str(value and value.name) for value in node.inputs[3:5])
            if statistics in operands:
                found[scope.site_id(node)] = operands[statistics]
    return found
