"""Making batch norms ordinary: BatchNormalization in inference mode with statistics of its own.

A node in training mode, one whose mean and variance are computed from its own input, and one that
is in order already differ in two operands and an attribute, and all become the same. Conditions,
so that the node with other statistics is the batch norm that training meant:

- it is ONNX's operator, in a version and with attributes that are known;
- it stands in the main graph, where its input can be measured;
- its input's rank is known and at least 2, with one number for each channel (not `spatial=0`);
- nobody reads the outputs that training mode adds;
- the lengths of its parameters agree.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx_ir as ir

from bnopt.algebra.base import Context, Refusal, check_operator
from bnopt.algebra.recognizers import batch_normalization
from bnopt.algebra.rounding import FOLDABLE_DTYPES, round_array
from bnopt.calibration.slots import MEAN, VARIANCE, Array, Slot
from bnopt.evidence import Uncalibrated
from bnopt.findings import Form
from bnopt.graph.edits import Editor
from bnopt.graph.names import helps_debiasing
from bnopt.graph.operators import get_float, get_int, operand, since_version
from bnopt.graph.scopes import Scope, label, scopes
from bnopt.graph.uses import describe

_BATCH_MODES = frozenset({"training-mode", "batch-statistics"})


def make_ordinary(
    model: ir.Model, context: Context, done: Collection[ir.Node] = ()
) -> tuple[list[Slot], list[Uncalibrated]]:
    """Turn every BatchNormalization node that allows it into one in inference mode, in place.

    Args:
        model: Edited.
        context: Of `model`; no longer valid afterwards.
        done: Nodes to leave alone.

    Returns:
        What can be calibrated, and what cannot with the reason; each in graph order.
    """
    editor = Editor(model)
    found: list[_Found] = []
    kept: list[Uncalibrated] = []
    for scope in scopes(model):
        for node in scope.graph:
            if not batch_normalization.matches(node) or node in done:
                continue
            looked = _look(node, scope, context)
            if isinstance(looked, Refusal):
                kept.append(_kept(node, scope, context, looked))
            else:
                found.append(looked)
    return [_write(editor, one) for one in found], kept


def _kept(node: ir.Node, scope: Scope, context: Context, why: Refusal) -> Uncalibrated:
    form = form_of(node, scope, context)
    return Uncalibrated(scope.site_id(node), label(node), form, why.reason, why.message)


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A node that can be made ordinary, and its numbers, read before anything is edited."""

    node: ir.Node
    site: str
    name: str
    form: Form
    version: int
    channels: int
    dtype: np.dtype[Any]
    numbers: dict[str, Array]
    rewritten: bool
    stored: tuple[ir.TensorProtocol, ...]


def _look(node: ir.Node, scope: Scope, context: Context) -> _Found | Refusal:
    what = describe(node)
    refusal = check_operator(node, batch_normalization.VERSIONS, scope, context)
    if refusal is not None:
        return refusal
    if scope.path != "main":
        where = f"{what} stands in '{scope.path}', where its input cannot be measured"
        return Refusal("not-measurable", where)
    if get_int(node, "spatial", 1) != 1:
        return Refusal("not-measurable", f"{what} has numbers for each activation (spatial=0)")
    data = operand(node, 0)
    dims = None if data is None else context.dims.of(data)
    if dims is None or len(dims) < 2:
        return Refusal("not-measurable", f"the rank of the data of {what} is not known")
    for output in node.outputs[1:]:
        if output.uses() or output.is_graph_output():
            return Refusal("extra-outputs", f"'{output.name}', an output of {what}, is read")
    dtype = _dtype(node, context)
    # not a condition: None is not among them, which the type checker does not see
    if dtype is None or dtype not in FOLDABLE_DTYPES:
        return Refusal("data-type", f"the statistics of {what} are of no float type")
    numbers: dict[str, Array] = {}
    for index, name in enumerate(batch_normalization.PARAMETERS, start=1):
        constant = context.constants.resolve(operand(node, index))
        if constant is not None:
            numbers[name] = constant.array().astype(np.float64)
    shapes = {array.shape for array in numbers.values()}
    shapes |= {(dims[1],)} if dims[1] is not None else set()
    shape = next(iter(shapes)) if len(shapes) == 1 else ()
    if len(shape) != 1:
        listed = ", ".join(sorted(map(str, shapes))) or "that are not known"
        return Refusal("shape-mismatch", f"data and parameters of {what} have channels {listed}")
    recognized = batch_normalization.recognize(node, scope, context)
    statistics = [context.constants.resolve(operand(node, index)) for index in (MEAN, VARIANCE)]
    return _Found(
        node,
        scope.site_id(node),
        label(node),
        form_of(node, scope, context),
        since_version(node.op_type, scope.opset) or 0,
        int(shape[0] or 0),
        dtype,
        numbers,
        isinstance(recognized, Refusal) and recognized.reason in _BATCH_MODES,
        tuple(constant.tensor for constant in statistics if constant is not None),
    )


def form_of(node: ir.Node, scope: Scope, context: Context) -> Form:
    """How a BatchNormalization node is written: with statistics of its own or computed ones."""
    found = batch_normalization.recognize(node, scope, context)
    computed = isinstance(found, Refusal) and found.reason == "batch-statistics"
    return "batch_statistics" if computed else "batch_normalization"


def _dtype(node: ir.Node, context: Context) -> np.dtype[Any] | None:
    """The type that the statistics have to have: theirs, or that of a parameter or the data."""
    for index in (MEAN, VARIANCE, 1, 2, 0):
        value = operand(node, index)
        found = None if value is None else context.types.of(value).dtype
        if found is not None:
            return found.numpy()
    return None


def _write(editor: Editor, found: _Found) -> Slot:
    node = found.node
    node.attributes.pop("training_mode", None)
    if found.version < 7:
        node.attributes["is_test"] = ir.AttrInt64("is_test", 1)
    node.resize_outputs(1)
    numbers = found.numbers
    mean, variance = numbers.get("mean"), numbers.get("variance")
    for index, base, stored, empty in (
        (MEAN, "mean", mean, 0.0),
        (VARIANCE, "variance", variance, 1.0),
    ):
        values = np.full(found.channels, empty) if stored is None else stored
        tensor = ir.tensor(round_array(values, found.dtype))
        old = operand(node, index)
        # What comes of the data is no helper of an average, and is not to be taken for one.
        own = old is not None and not helps_debiasing(old.name)
        editor.set_operand(node, index, tensor, f"{found.name}_{base}", takes_name=own)
    return Slot(
        site=found.site,
        name=found.name,
        form=found.form,
        node=node,
        epsilon=get_float(node, "epsilon", 1e-5),
        gamma=numbers.get("scale"),
        beta=numbers.get("bias"),
        mean=mean,
        variance=variance,
        rewritten=found.rewritten,
        stored=found.stored,
    )
