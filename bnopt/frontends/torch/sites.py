"""Which batch norms of an exported model are which modules: both exporters keep buffers' names."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bnopt import io
from bnopt.graph.scopes import scopes

_STATISTICS = ("running_mean", "running_var")


@dataclass(frozen=True, slots=True)
class Uses:
    """What a model does with the statistics of modules.

    Attributes:
        sites: Site id -> name of the module whose statistics the node normalises with.
        read: Names of the modules of whose statistics any node reads one.
    """

    sites: dict[str, str]
    read: frozenset[str]


def uses_of(path: Path, names: Collection[str]) -> Uses:
    """Look for the statistics of modules in an exported model.

    Args:
        path: The exported model.
        names: Names of the modules.
    """
    operands = {tuple(f"{name}.{buffer}" for buffer in _STATISTICS): name for name in names}
    owners = {operand: name for both, name in operands.items() for operand in both}
    sites: dict[str, str] = {}
    read: set[str] = set()
    for scope in scopes(io.load(path).model):
        for node in scope.graph:
            inputs = tuple(str(value and value.name) for value in node.inputs)
            read.update(owners[name] for name in inputs if name in owners)
            if node.op_type == "BatchNormalization" and inputs[3:5] in operands:
                sites[scope.site_id(node)] = operands[inputs[3:5]]
    return Uses(sites, frozenset(read))
