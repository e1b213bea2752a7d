"""What recognizers, hosts and carriers share: what they may look at, and what they answer.

A recognizer answers `Recognized`, a host `Absorption`, a carrier `Carried`; each may answer
`Refusal`. All of them are pure: they read the model and describe what would be done, as data.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import onnx_ir as ir

from bnopt.algebra.affine import Affine
from bnopt.algebra.double_double import DoubleDouble
from bnopt.graph.constants import Constant, Constants
from bnopt.graph.dims import Dims
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
    """What a recognizer, host or carrier may look at besides the node.

    Attributes:
        model: The model; not to be changed.
        constants: Resolves values to numbers.
        types: Derived ranks and data types.
        dims: Derived dimensions, also where shape inference gives up.
        keep_overridable: Whether an initializer that is a graph input counts as unknown.
        recognized: What recognizers answered before, by the identity of the node.
    """

    model: ir.Model
    constants: Constants
    types: Types
    dims: Dims
    keep_overridable: bool = False
    recognized: dict[int, Recognized | Refusal | None] = field(
        default_factory=dict[int, "Recognized | Refusal | None"]
    )

    @staticmethod
    def of(model: ir.Model, *, keep_overridable: bool = False) -> Context:
        """A context for `model`, valid until the model is edited."""
        types = Types(model)
        constants = Constants(model, types)
        return Context(model, constants, types, Dims(constants, types, model), keep_overridable)

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
            return Refusal(unknown, f"the {what} '{value.name}' of {describe(node)} is no constant")
        if constant.overridable and self.keep_overridable:
            return Refusal(
                "overridable",
                f"the {what} '{value.name}' of {describe(node)} depends on the graph input "
                f"'{constant.overridable[0]}', which the caller may set",
            )
        return constant

    def is_constant(self, value: ir.Value | None) -> bool:
        """Whether a value is known before the model runs."""
        return self.constants.resolve(value) is not None


@dataclass(frozen=True, slots=True)
class Recognized:
    """A node, or a chain of nodes, that is an affine.

    Attributes:
        node: The node whose output is the affine's result.
        input: What the affine is applied to; the result has its shape.
        affine: The numbers; its rank is that of `input`.
        overridable: Graph inputs whose default values went into it.
    """

    node: ir.Node
    input: ir.Value
    affine: Affine
    overridable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NewOperand:
    """A constant to become an operand.

    Attributes:
        index: Which of the node's inputs.
        build: Makes the tensor; called once, when the plan is applied.
        nbytes: Its size in bytes.
        base: What to name it after if there was no operand before.
        node: Whose operand; None for the node that the answer is about.
    """

    index: int
    build: Callable[[], ir.TensorProtocol]
    nbytes: int
    base: str
    node: ir.Node | None = None


@dataclass(frozen=True, slots=True)
class NewAttribute:
    """An integer attribute to set.

    Attributes:
        name: Its name.
        value: Its new value.
        node: Whose; None for the node that the answer is about.
    """

    name: str
    value: int
    node: ir.Node | None = None


@dataclass(frozen=True, slots=True)
class Absorption:
    """How a host takes affines.

    Attributes:
        operands: Its new constants.
        parts: What took them, for messages: `weight`, `bias`.
        drop_attributes: Attributes that have gone into the constants.
        set_attributes: Attributes that the new constants need.
        add_after: A constant to add to the host's output: what the host's bias cannot hold.
        rest: The numbers of `add_after`, with the rank of the host's output.
        overridable: Graph inputs whose default values went into the new constants.
    """

    operands: tuple[NewOperand, ...]
    parts: tuple[str, ...]
    drop_attributes: tuple[str, ...] = ()
    set_attributes: tuple[NewAttribute, ...] = ()
    add_after: NewOperand | None = None
    rest: DoubleDouble | None = None
    overridable: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """What a host is asked to compute: `after(host(before(x)))`, in its own constants.

    Attributes:
        node: The host.
        before: Applied to the input `data_index`; None for nothing.
        after: Applied to the output; None for nothing.
        scope: Where the host stands.
        context: What the host may look at.
        data_index: The input that `before` is applied to.
    """

    node: ir.Node
    before: Affine | None
    after: Affine | None
    scope: Scope
    context: Context
    data_index: int = 0

    @property
    def what(self) -> str:
        """The host, for messages."""
        return describe(self.node)


@dataclass(frozen=True, slots=True)
class Host:
    """A linear operator that can take affines from behind and from ahead into its constants.

    Attributes:
        op_type: The ONNX operator.
        versions: The operator versions it was written for; others are refused.
        absorb: The rule.
        data: Its inputs that may be data; an affine can come from ahead through these only.
    """

    op_type: str
    versions: tuple[int, ...]
    absorb: Callable[[Request], Absorption | Refusal]
    data: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Crossing:
    """An affine that asks to be moved past a carrier.

    Attributes:
        node: The carrier.
        index: Which output it stands behind (backward), or which input it stands ahead of.
        affine: The affine, of the rank of that output or input.
        scope: Where the carrier stands.
        context: What the carrier may look at.
    """

    node: ir.Node
    index: int
    affine: Affine
    scope: Scope
    context: Context

    @property
    def what(self) -> str:
        """The carrier, for messages."""
        return describe(self.node)

    @property
    def data(self) -> ir.Value:
        """Input 0, which every carrier has."""
        value = self.node.inputs[0]
        assert value is not None
        return value


@dataclass(frozen=True, slots=True)
class Carried:
    """Where an affine goes past a carrier.

    Attributes:
        affines: By input index (backward) or output index (forward); identities are left out.
        operands: New constants of the carrier, such as the value of a Pad.
        one_of: Shifts by input index, one of which must go that way after `affines`.
        narrow: Affines by input index that do the same but are the identity wherever the carrier
            does not look; for inputs that have other readers.
    """

    affines: Mapping[int, Affine]
    operands: tuple[NewOperand, ...] = ()
    one_of: Mapping[int, Affine] = field(default_factory=dict[int, Affine])
    narrow: Mapping[int, Affine] = field(default_factory=dict[int, Affine])


CarrierFunction: TypeAlias = Callable[[Crossing], "Carried | Refusal"]


@dataclass(frozen=True, slots=True)
class Carrier:
    """An operator that commutes with affines under a condition.

    Attributes:
        op_type: The ONNX operator.
        versions: The operator versions it was written for; others are refused.
        backward: From an affine behind an output to affines ahead of the inputs.
        forward: From an affine ahead of an input to affines behind the outputs.
    """

    op_type: str
    versions: tuple[int, ...]
    backward: CarrierFunction
    forward: CarrierFunction


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
