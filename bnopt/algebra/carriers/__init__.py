"""The operators that commute with affines, each with the condition under which it does."""

from __future__ import annotations

from bnopt.algebra.base import Carried, Carrier, Crossing, Refusal, check_operator
from bnopt.algebra.carriers import (
    activations,
    concat,
    depth_space,
    identity,
    pad,
    pooling,
    reshape,
    residual,
    resize,
    split,
    tile,
    transpose,
)

CARRIERS: tuple[Carrier, ...] = (
    identity.IDENTITY,
    identity.DROPOUT,
    identity.CAST,
    transpose.CARRIER,
    reshape.RESHAPE,
    reshape.FLATTEN,
    reshape.SQUEEZE,
    reshape.UNSQUEEZE,
    concat.CARRIER,
    split.SPLIT,
    split.SLICE,
    pad.CARRIER,
    pooling.AVERAGE,
    pooling.GLOBAL_AVERAGE,
    pooling.MAXIMUM,
    pooling.GLOBAL_MAXIMUM,
    pooling.REDUCE_MEAN,
    pooling.REDUCE_MAX,
    activations.RELU,
    activations.LEAKY_RELU,
    activations.P_RELU,
    resize.RESIZE,
    resize.UPSAMPLE,
    depth_space.DEPTH_TO_SPACE,
    depth_space.SPACE_TO_DEPTH,
    tile.TILE,
    tile.EXPAND,
    residual.ADD,
    residual.SUB,
    residual.SUM,
)

BY_TYPE = {carrier.op_type: carrier for carrier in CARRIERS}


def backward(crossing: Crossing) -> Carried | Refusal:
    """Carry an affine from behind an output of the node, whose operator is in the table."""
    return _refusal(crossing) or BY_TYPE[crossing.node.op_type].backward(crossing)


def forward(crossing: Crossing) -> Carried | Refusal:
    """Carry an affine from ahead of an input of the node, whose operator is in the table."""
    refusal = _refusal(crossing)
    if refusal is None and crossing.index != 0 and crossing.node.op_type not in _SYMMETRIC:
        refusal = Refusal("not-linear", f"{crossing.what} reads it as a parameter")
    return refusal or BY_TYPE[crossing.node.op_type].forward(crossing)


# Operators all of whose inputs are data; of all others only the first is.
_SYMMETRIC = frozenset(("Concat", "Add", "Sub", "Sum"))


def _refusal(crossing: Crossing) -> Refusal | None:
    versions = BY_TYPE[crossing.node.op_type].versions
    return check_operator(crossing.node, versions, crossing.scope, crossing.context)
