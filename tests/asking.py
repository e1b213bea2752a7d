"""Asking one operator for one thing: a host for an absorption, a carrier for a crossing."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from graphs import model

from bnopt.algebra import carriers, hosts
from bnopt.algebra.affine import Affine
from bnopt.algebra.base import Absorption, Carried, Context, Crossing, Refusal, Request
from bnopt.algebra.double_double import DoubleDouble
from bnopt.graph.scopes import Scope, scopes


def affine(*scale: int, shift: tuple[int, ...] | None = None, negative: bool = False) -> Affine:
    """Scales of that shape, all different and positive (or not), and shifts likewise, or zero."""
    factors = np.arange(2.0, 2 + np.prod(scale, dtype=int)).reshape(scale)
    offsets = np.zeros([1] * len(scale))
    if shift is not None:
        offsets = np.arange(1.0, 1 + np.prod(shift, dtype=int)).reshape(shift)
    if negative:
        factors = np.where(factors % 2, -1, 1) * factors
    return Affine(DoubleDouble.of(factors), DoubleDouble.of(offsets))


def only_shift(*shape: int) -> Affine:
    """Shifts of that shape, all different."""
    return affine(*[1] * len(shape), shift=shape).after(
        Affine.from_scale(DoubleDouble.of(np.full([1] * len(shape), 0.5)))
    )


def without_shapes(proto: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """The same, but nobody says what rank these inputs have."""
    for value in proto.graph.input:
        if value.name in names:
            value.type.tensor_type.ClearField("shape")
    return proto


def place(
    text: str, output: str, opset: int = 17, unknown: tuple[str, ...] = (), **more: Any
) -> tuple[ir.Node, Scope, Context]:
    """The node that produces `output`, where it stands, and a context."""
    graph = ir.from_proto(without_shapes(model(f"g {text}", opset, **more), *unknown))
    context = Context.of(graph)
    for scope in scopes(graph):
        for node in scope.graph:
            if any(value.name == output for value in node.outputs):
                return node, scope, context
    raise LookupError(output)


def host(
    text: str,
    *,
    before: Affine | None = None,
    after: Affine | None = None,
    data_index: int = 0,
    **more: Any,
) -> Absorption | Refusal:
    """What the host that produces `y` answers."""
    node, scope, context = place(text, "y", **more)
    return hosts.absorb(Request(node, before, after, scope, context, data_index))


def carry(text: str, way: str, asked: Affine, index: int = 0, **more: Any) -> Carried | Refusal:
    """What the carrier that produces `d` answers to an affine from `behind` or from `ahead`."""
    node, scope, context = place(text, "d", **more)
    function = {"behind": carriers.backward, "ahead": carriers.forward}[way]
    return function(Crossing(node, index, asked, scope, context))


def reason(answer: Absorption | Carried | Refusal) -> str | None:
    """Why not; None for an answer that is none."""
    return answer.reason if isinstance(answer, Refusal) else None
