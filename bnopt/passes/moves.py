"""The edits that a plan consists of, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import onnx_ir as ir

from bnopt.algebra.base import NewAttribute, NewOperand


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A node gets new constants.

    Attributes:
        node: The node.
        operands: They say themselves if they belong to another node.
        drop_attributes: Names of attributes that go.
        set_attributes: Attributes that are set.
        add_after: A constant to add to the node's output.
        copied: Names of shared constants that the node gets copies of, with their bytes.
    """

    node: ir.Node
    operands: tuple[NewOperand, ...]
    drop_attributes: tuple[str, ...] = ()
    set_attributes: tuple[NewAttribute, ...] = ()
    add_after: NewOperand | None = None
    copied: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Remove:
    """A chain of nodes goes; its readers read what it read.

    Attributes:
        nodes: The chain, first to last.
        input: What it reads.
        takes_name: Whether `input` now means what the chain's output meant.
    """

    nodes: tuple[ir.Node, ...]
    input: ir.Value
    takes_name: bool


@dataclass(frozen=True, slots=True)
class Keep:
    """A chain becomes the one batch norm in it, with new parameters.

    Attributes:
        nodes: The chain, first to last.
        input: What it reads.
        batch_norm: The node that stays.
        operands: Its new parameters.
    """

    nodes: tuple[ir.Node, ...]
    input: ir.Value
    batch_norm: ir.Node
    operands: tuple[NewOperand, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """A new node: it reads what the one before it produces, and constants."""

    op_type: str
    constants: tuple[NewOperand, ...]
    attributes: tuple[tuple[str, int | tuple[int, ...]], ...] = ()


@dataclass(frozen=True, slots=True)
class Replace:
    """A chain is written in another way.

    Attributes:
        nodes: The chain, first to last.
        input: What it reads.
        steps: What stands in its place.
    """

    nodes: tuple[ir.Node, ...]
    input: ir.Value
    steps: tuple[Step, ...]


Move: TypeAlias = Rewrite | Remove | Keep | Replace
