"""What hosts and recognizers share: what they may look at, and what they answer.

A recognizer answers `Recognized` or `Refusal`; a host answers `Absorption` or `Refusal`. All of
them are pure: they read the model and describe what would be done, as data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx_ir as ir

from bnopt.algebra.affine import ChannelAffine
from bnopt.graph.constants import Constant, Constants
from bnopt.graph.operators import (
    is_standard,
    operand,
    since_version,
    unknown_attributes,
)
from bnopt.graph.scopes import Scope
from bnopt.graph.types import Types
from bnopt.graph.uses import describe


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why something is not done: a slug of `bnopt.reasons`, and a message that names the place."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Context:
    """What a recognizer or host may look at besides the node.

    Attributes:
        model: The model; not to be changed.
        constants: Resolves values to numbers.
        types: Derived ranks and data types.
        keep_overridable: Whether an initializer that is a graph input counts as unknown.
        recognized: What recognizers answered before, by the identity of the node.
    """

    model: ir.Model
    constants: Constants
    types: Types
    keep_overridable: bool = False
    recognized: dict[int, Recognized | Refusal] = field(
        default_factory=dict[int, "Recognized | Refusal"]
    )

    @staticmethod
    def of(model: ir.Model, *, keep_overridable: bool = False) -> Context:
        """A context for `model`, valid until the model is edited."""
        types = Types(model)
        return Context(model, Constants(model, types), types, keep_overridable)

    def constant(
        self, node: ir.Node, index: int, what: str, unknown: str
    ) -> Constant | Refusal | None:
        """The constant that is operand `index` of `node`.

        Args:
            node: The reader.
            index: Which of its inputs.
            what: What the operand is, for messages.
            unknown: The reason to refuse with if its value depends on data.

        Returns:
            None if the operand is left out.
        """
        value = operand(node, index)
        if value is None:
            return None
        constant = self.constants.resolve(value)
        if constant is None:
            producer = value.producer()
            if unknown == "dynamic-weight" and producer and producer.op_type == "DequantizeLinear":
                unknown = "quantized-weight"
            return Refusal(unknown, f"the {what} '{value.name}' of {describe(node)} is no constant")
        if constant.overridable and self.keep_overridable:
            return Refusal(
                "overridable",
                f"the {what} '{value.name}' of {describe(node)} depends on the graph input "
                f"'{constant.overridable[0]}', which the caller may set",
            )
        return constant


@dataclass(frozen=True, slots=True)
class Recognized:
    """A node, or the last of a chain of nodes, that is a channel affine.

    Attributes:
        node: The node whose output is the affine's result.
        input: What the affine is applied to.
        axis: The channel axis of `input`.
        affine: The numbers.
        overridable: Graph inputs whose default values went into it.
    """

    node: ir.Node
    input: ir.Value
    axis: int
    affine: ChannelAffine
    overridable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewOperand:
    """A constant to become operand `index` of the host.

    Attributes:
        index: Which of the host's inputs.
        build: Makes the tensor; called once, when the plan is applied.
        nbytes: Its size in bytes.
        base: What to name it after if there was no operand before.
    """

    index: int
    build: Callable[[], ir.TensorProtocol]
    nbytes: int
    base: str


@dataclass(frozen=True, slots=True)
class Absorption:
    """How a host takes an affine.

    Attributes:
        operands: Its new constants.
        drop_attributes: Attributes that have gone into the constants.
        add_after: A constant to add to the host's output, for hosts without a bias.
        parts: What took it, for messages: `weight`, `bias`.
        overridable: Graph inputs whose default values went into the new constants.
    """

    operands: tuple[NewOperand, ...]
    parts: tuple[str, ...]
    drop_attributes: tuple[str, ...] = ()
    add_after: NewOperand | None = None
    overridable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """An affine that asks a host to take it in.

    Attributes:
        node: The host.
        affine: Applied to the host's output.
        axis: The channel axis of the host's output.
        scope: Where the host stands.
        context: What the host may look at.
    """

    node: ir.Node
    affine: ChannelAffine
    axis: int
    scope: Scope
    context: Context

    @property
    def what(self) -> str:
        """The host, for messages."""
        return describe(self.node)


HostFunction: TypeAlias = Callable[[Request], "Absorption | Refusal"]


@dataclass(frozen=True, slots=True)
class Host:
    """A linear operator that can take an affine from behind into its constants.

    Attributes:
        op_type: The ONNX operator.
        versions: The operator versions it was written for; others are refused.
        absorb: The rule.
    """

    op_type: str
    versions: tuple[int, ...]
    absorb: HostFunction


def check_operator(
    node: ir.Node, versions: tuple[int, ...], scope: Scope, context: Context
) -> Refusal | None:
    """Refuse a node whose meaning is not known: its opset, its version, its attributes."""
    if not is_standard(node, context.model):
        return Refusal("unknown-operator", f"{describe(node)} is not an ONNX operator")
    version = since_version(node.op_type, scope.opset)
    if version not in versions:
        return Refusal("unknown-opset", f"{describe(node)} in opset {scope.opset} is not known")
    unknown = unknown_attributes(node, scope.opset)
    if unknown:
        return Refusal("unknown-attribute", f"{describe(node)} has the attribute '{unknown[0]}'")
    return None
