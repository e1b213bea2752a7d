"""Batch norms that an exporter has turned into Mul and Add while their statistics were 0 and 1.

    y = scale * x + shift
    scale = gamma / sqrt(variance + epsilon),  shift = beta - mean * scale

From the constants alone mean and variance cannot be told from gamma and beta. With mean 0 and
variance 1, where statistics start, they can: gamma = scale * sqrt(1 + epsilon), beta = shift. That
they were never updated is either shown by the numbers (every factor is 1 / sqrt(1 + epsilon), as
with gamma 1) or said by the user.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bnopt.algebra.base import Context, Refusal
from bnopt.algebra.rounding import FOLDABLE_DTYPES
from bnopt.calibration.insert import insert
from bnopt.calibration.slots import Array, Slot
from bnopt.evidence import Uncalibrated
from bnopt.findings import Form
from bnopt.graph.edits import Editor
from bnopt.graph.operators import get_float

OLDEST_OPSET = 9
_FORM: Form = "decomposed"


@dataclass(frozen=True, slots=True, eq=False)
class Merged:
    """A chain of constants that was a batch norm with mean 0 and variance 1.

    Attributes:
        site: The id of its site.
        name: Its name.
        nodes: The chain, first to last.
        input: What it is applied to.
        axis: The channel axis.
        scale: What the data is multiplied by, [C].
        shift: What is added then, [C]; None if it varies along another axis, too.
        epsilon: What was added to the variance.
        in_main: Whether it stands in the main graph.
    """

    site: str
    name: str
    nodes: tuple[ir.Node, ...]
    input: ir.Value
    axis: int
    scale: Array
    shift: Array | None
    epsilon: float
    in_main: bool


def make_nodes(
    model: ir.Model, context: Context, chains: Sequence[Merged]
) -> tuple[list[Slot], list[Uncalibrated]]:
    """Turn chains into BatchNormalization nodes with mean 0 and variance 1, in place.

    Args:
        model: Edited.
        context: Of `model`; no longer valid afterwards.
        chains: Of `model`.

    Returns:
        What can be calibrated, and what cannot with the reason.
    """
    looked = [(chain, _look(model, context, chain)) for chain in chains]
    editor = Editor(model)
    slots: list[Slot] = []
    kept: list[Uncalibrated] = []
    for chain, found in looked:
        if isinstance(found, Refusal):
            kept.append(Uncalibrated(chain.site, chain.name, _FORM, found.reason, found.message))
        else:
            slots.append(_write(editor, chain, *found))
    return slots, kept


def _look(
    model: ir.Model, context: Context, chain: Merged
) -> tuple[int, np.dtype[np.generic]] | Refusal:
    """Rank and data type of what is normalised."""
    what = f"'{chain.name}'"
    opset = model.graph.opset_imports.get("", 1)
    if not chain.in_main:
        return Refusal("not-measurable", f"{what} stands where its input cannot be measured")
    if opset < OLDEST_OPSET:
        return Refusal("not-measurable", f"operator set {opset} is older than {OLDEST_OPSET}")
    dims, dtype = context.dims.of(chain.input), context.types.of(chain.input).dtype
    # not a condition: an affine is one of data whose rank and type are known
    if dims is None or chain.shift is None or dims[chain.axis] not in (None, chain.scale.size):
        return Refusal("merged-statistics", f"the shape of what {what} reads does not fit it")
    # not a condition: likewise
    if dtype is None or dtype.numpy() not in FOLDABLE_DTYPES:
        return Refusal("data-type", f"the type of what {what} reads is no float type")
    if dtype == ir.DataType.BFLOAT16 and opset < 14:
        return Refusal("data-type", f"no BatchNormalization of opset {opset} takes bfloat16")
    return len(dims), dtype.numpy()


def _write(editor: Editor, chain: Merged, rank: int, dtype: np.dtype[np.generic]) -> Slot:
    assert chain.shift is not None
    gamma = chain.scale * np.sqrt(1.0 + chain.epsilon)
    norm = insert(
        editor,
        chain.nodes,
        chain.input,
        axis=chain.axis,
        order=range(rank),
        gamma=gamma,
        beta=chain.shift,
        epsilon=chain.epsilon,
        dtype=dtype,
        name=chain.name,
    )
    count = chain.scale.size
    return Slot(
        site=chain.site,
        name=chain.name,
        form=_FORM,
        node=norm,
        epsilon=get_float(norm, "epsilon", chain.epsilon),
        gamma=gamma,
        beta=chain.shift,
        mean=np.zeros(count),
        variance=np.ones(count),
        rewritten=False,
    )
