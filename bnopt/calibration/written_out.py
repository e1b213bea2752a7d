"""Batch norms that are written out become BatchNormalization nodes.

    ReduceMean, Sub, Mul, ReduceMean, Add, Sqrt, ... -> [Cast ->] [Transpose ->] BatchNormalization
                                                        [-> Transpose]

The node has gamma, beta and epsilon of the formula. Where the formula takes the statistics of the
batch (`formula.py` says when that is exact), the node has mean 0 and variance 1 until they are
measured; where they are constants that can be told apart (`stored.py`), it has these. It normalises
along axis 1; where the channels of x are elsewhere, they are moved there and back, and `bnopt fold`
carries batch norms past that. Who reads the mean, the variance or anything else in between keeps
what it reads; what nobody reads any more is removed.

The attribute epsilon is a float: in a model of doubles it is rounded, as by every exporter.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from bnopt.algebra.base import Context, Refusal
from bnopt.algebra.rounding import BFLOAT16, round_array
from bnopt.algebra.runtime_statistics import runtime_statistics
from bnopt.algebra.units import find_units
from bnopt.calibration.formula import Formula, Search, root_of
from bnopt.calibration.insert import insert
from bnopt.calibration.slots import Array, Slot
from bnopt.calibration.stored import StoredSearch
from bnopt.evidence import Uncalibrated
from bnopt.findings import Form
from bnopt.graph.edits import Editor
from bnopt.graph.operators import get_float
from bnopt.graph.order import in_order
from bnopt.graph.scopes import Scope, label, scopes
from bnopt.graph.uses import describe

OLDEST_OPSET = 9
"""From it on a BatchNormalization has one number for each channel, and its mode has no attribute
of another meaning."""


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """A batch norm, and what to report it by; without statistics where the batch's are meant."""

    formula: Formula
    site: str
    name: str
    form: Form
    mean: Array | None = None
    variance: Array | None = None


def make_nodes(
    model: ir.Model, context: Context, *, stored: bool = True
) -> tuple[list[Slot], list[Uncalibrated]]:
    """Turn every batch norm that is written out into a node, where that is exact, in place.

    Initializers that were graph inputs too are no inputs any more where nobody reads them now.

    Args:
        model: Edited.
        context: Of `model`; no longer valid afterwards.
        stored: Whether those that are written out with constants are wanted, too.

    Returns:
        What can be calibrated, and what cannot with the reason; each in graph order. Batch norms
        whose statistics an `If` chooses are among the latter; of those that are written out with
        constants, only the former are named.
    """
    main, *inner = scopes(model)
    found: dict[int, _Found] = {}
    kept: list[Uncalibrated] = []
    search = Search(context, main.opset)
    for scope in (main, *inner):
        for node in scope.graph:
            computed = runtime_statistics(node, context)
            if computed is None:
                continue
            form, refusal = computed
            where = (scope.site_id(node), label(node), form)
            if form == "batch_statistics":
                looked = _look(node, scope, search, context)
                if isinstance(looked, Formula):
                    # Two roots of one variance lead to one result.
                    found.setdefault(id(looked.output), _Found(looked, *where))
                    continue
                refusal = looked
            kept.append(Uncalibrated(*where, refusal.reason, refusal.message))
    for one in _stored(main, context) if stored else ():
        found.setdefault(id(one.formula.output), one)
    place = {id(node.outputs[0]): number for number, node in enumerate(model.graph) if node.outputs}
    editor = Editor(model)
    ordered = sorted(found.items(), key=lambda item: place[item[0]])
    return [_write(editor, one) for _, one in ordered], kept


def _stored(scope: Scope, context: Context) -> Iterator[_Found]:
    """The batch norms of the main graph that are written out with constants."""
    roots = [node for node in scope.graph if node.op_type == "Sqrt"]
    roots = [node for node in roots if context.is_constant(node.outputs[0])]
    if not roots or scope.opset < OLDEST_OPSET:
        return
    ends: dict[int, ir.Node] = {}
    for unit in find_units(in_order(scope.graph), scope, context):
        ends.update((id(node), unit.nodes[-1]) for node in unit.nodes)
    search = StoredSearch(context, scope.opset)
    for root in roots:
        found = search.batch_norm(root)
        if found is None or _unfit(found.formula, scope, context) is not None:
            continue
        last = found.formula.output.producer()
        assert last is not None
        # The last node of the chain is what the batch norm is known by elsewhere.
        end = ends.get(id(last), last)
        yield _Found(
            found.formula,
            scope.site_id(end),
            label(end),
            "decomposed",
            found.mean,
            found.variance,
        )


def _look(node: ir.Node, scope: Scope, search: Search, context: Context) -> Formula | Refusal:
    if scope.path != "main":
        where = f"{describe(node)} stands in '{scope.path}', where its input cannot be measured"
        return Refusal("not-measurable", where)
    if scope.opset < OLDEST_OPSET:
        where = f"{describe(node)} is in operator set {scope.opset}, older than {OLDEST_OPSET}"
        return Refusal("batch-statistics", where)
    found = search.formula(root_of(node, context))
    if isinstance(found, Refusal):
        return found
    return _unfit(found, scope, context) or found


def _unfit(formula: Formula, scope: Scope, context: Context) -> Refusal | None:
    """Why no BatchNormalization can take the numbers of a formula."""
    root = formula.root
    if root.dtype == BFLOAT16 and scope.opset < 14:
        where = f"no BatchNormalization of operator set {scope.opset} takes bfloat16"
        return Refusal("data-type", f"{where}, the type of {describe(root.node)}")
    for numbers in (formula.gamma, formula.beta):
        if not np.isfinite(round_array(numbers, root.dtype).astype(np.float64)).all():
            output = f"'{formula.output.name}'"
            where = f"scale or shift of {output}, taken together, overflow {root.dtype}"
            return Refusal("overflow", where)
    return _overridable(formula, context)


def _overridable(formula: Formula, context: Context) -> Refusal | None:
    """Whether a constant of the formula may be set by the caller, and is to be left to him."""
    pending, seen = [formula.output], {id(formula.input)}
    while context.keep_overridable and pending:
        value = pending.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        constant = context.constants.resolve(value)
        if constant is None:
            producer = value.producer()
            assert producer is not None
            pending.extend(operand for operand in producer.inputs if operand is not None)
        elif constant.overridable:
            return Refusal(
                "overridable",
                f"'{value.name}', before '{formula.output.name}', depends on the graph input "
                f"'{constant.overridable[0]}', which the caller may set",
            )
    return None


def _write(editor: Editor, found: _Found) -> Slot:
    formula = found.formula
    last = formula.output.producer()
    assert last is not None
    norm = insert(
        editor,
        [last],
        formula.input,
        axis=formula.axis,
        order=formula.order,
        gamma=formula.gamma,
        beta=formula.beta,
        epsilon=formula.root.epsilon,
        dtype=formula.root.dtype,
        name=found.name,
        mean=found.mean,
        variance=found.variance,
        cast=formula.is_cast,
    )
    return Slot(
        site=found.site,
        name=found.name,
        form=found.form,
        node=norm,
        epsilon=get_float(norm, "epsilon", formula.root.epsilon),
        gamma=formula.gamma,
        beta=formula.beta,
        mean=found.mean,
        variance=found.variance,
        rewritten=found.variance is None,
    )
