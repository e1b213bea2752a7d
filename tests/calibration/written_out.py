"""Batch norms with batch statistics, written out as nodes, and what a rewritten one computes."""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir
from graphs import model, normal, operators, run

from bnopt.algebra.base import Context
from bnopt.calibration.slots import MEAN, VARIANCE, Slot
from bnopt.calibration.written_out import make_nodes
from bnopt.evidence import Uncalibrated

MEAN_OF = "m = ReduceMean<axes = [0, 2, 3]>(x)"
VARIANCE_OF = "d = Sub(x, m)  q = Mul(d, d)  v = ReduceMean<axes = [0, 2, 3]>(q)"
VARIANT = f"{MEAN_OF} {VARIANCE_OF}"
ROOT_OF = "t = Add(v, e)  r = Sqrt(t)"
RESULT = "n = Div(d, r)  s = Mul(n, g)  y = Add(s, b)"
PLAIN = f"{MEAN_OF} {VARIANCE_OF} {ROOT_OF} {RESULT}"
# The same, scale and shift first, as TensorFlow writes it.
SCALED = (
    "i = Reciprocal(r)  a = Mul(i, g)  c = Mul(m, a)  k = Sub(b, c)  z = Mul(x, a)  y = Add(z, k)"
)
EPSILON = np.float32(1e-3)


def graph(
    body: str,
    dtype: str = "float",
    opset: int = 17,
    sizes: str = "N,4,H,W",
    outputs: str = "y",
    functions: str = "",
    domains: str = "",
    inputs: str = "",
    **weights: np.ndarray,
) -> onnx.ModelProto:
    """A network whose input x is normalised; `g`, `b`, `e` are its constants if it reads them."""
    rank = sizes.count(",") + 1
    given = {
        "e": np.array(EPSILON),
        "g": normal(4, seed=3).reshape(1, 4, *[1] * (rank - 2)),
        "b": normal(4, seed=4).reshape(1, 4, *[1] * (rank - 2)),
    }
    used = {
        name: array for name, array in given.items() if f" {name})" in body or f"({name}," in body
    }
    declared = ", ".join(f"float[{','.join('?' * rank)}] {name}" for name in outputs.split())
    text = f"g ({dtype}[{sizes}] x{inputs}) => ({declared}) {{ {body} }}"
    return model(text, opset, functions=functions, domains=domains, **{**used, **weights})


def nodes_of(
    proto: onnx.ModelProto, *, keep_overridable: bool = False
) -> tuple[ir.Model, list[Slot], list[Uncalibrated]]:
    rewritten = ir.from_proto(onnx.ModelProto.FromString(proto.SerializeToString()))
    context = Context.of(rewritten, keep_overridable=keep_overridable)
    slots, kept = make_nodes(rewritten, context)
    return rewritten, slots, kept


def with_statistics(
    rewritten: ir.Model, slots: list[Slot], feeds: dict[str, np.ndarray]
) -> onnx.ModelProto:
    """The rewritten model with the moments of a batch, one batch norm after the other."""
    for slot in slots:
        proto = ir.to_proto(rewritten)
        if slot.input.name not in feeds:
            del proto.graph.output[:]
            proto.graph.output.append(onnx.ValueInfoProto(name=slot.input.name))
            (data,) = run(proto, **feeds)
        else:
            data = feeds[slot.input.name]
        axes = (0, *range(2, data.ndim))
        for index, numbers in (
            (MEAN, data.astype(np.float64).mean(axes)),
            (VARIANCE, data.astype(np.float64).var(axes)),
        ):
            constant = slot.node.inputs[index]
            dtype = constant.const_value.dtype.numpy()
            constant.const_value = ir.tensor(numbers.astype(dtype), name=constant.name)
    return ir.to_proto(rewritten)


def assert_batch_norms(
    proto: onnx.ModelProto, count: int = 1, rtol: float = 1e-5, **feeds: np.ndarray
) -> tuple[onnx.ModelProto, list[Slot]]:
    """Rewritten, it gives on a batch what the original gives, by the moments of that batch."""
    rewritten, slots, kept = nodes_of(proto)
    assert (len(slots), kept) == (count, [])
    result = with_statistics(rewritten, slots, feeds)
    onnx.checker.check_model(result, full_check=True)
    for expected, actual in zip(run(proto, **feeds), run(result, **feeds), strict=True):
        assert actual.dtype == expected.dtype
        size = float(np.abs(expected.astype(np.float64)).max())
        np.testing.assert_allclose(actual, expected, rtol=0, atol=rtol * size)
    return result, slots


def refusal(proto: onnx.ModelProto, **options: bool) -> Uncalibrated:
    """Why the one batch norm was left alone; and so was the rest of the model."""
    rewritten, slots, kept = nodes_of(proto, **options)
    assert slots == []
    assert operators(ir.to_proto(rewritten)) == operators(proto)
    (one,) = kept
    return one


X = 3 * normal(5, 4, 6, 7, seed=9) + normal(4, 1, 1, seed=8)

FORMULAS = {
    "plain": PLAIN,
    "scaled": f"{MEAN_OF} {VARIANCE_OF} {ROOT_OF} {SCALED}",
    "of squares": f"{MEAN_OF} q = Mul(x, x)  p = ReduceMean<axes = [0, 2, 3]>(q)  w = Mul(m, m) "
    f"v = Sub(p, w)  {ROOT_OF} {SCALED}",
    "of squares, not below zero": f"{MEAN_OF} q = Mul(x, x)  p = ReduceMean<axes = [0, 2, 3]>(q)"
    f"  w = Mul(m, m)  u = Sub(p, w)  v = Relu(u)  {ROOT_OF} {SCALED}",
    "counted": "h = Shape(x)  f = Constant<value_ints = [0, 2, 3]>()  o = Gather(h, f) "
    "l = ReduceProd<keepdims = 0>(o)  j = Cast<to = 1>(l)  u = ReduceSum(x, f)  m = Div(u, j) "
    f"d = Sub(x, m)  p = ReduceSumSquare<axes = [0, 2, 3]>(d)  v = Div(p, j)  {ROOT_OF} {RESULT}",
    "with a mean of its own": f"{MEAN_OF} o = ReduceMean<axes = [0, -1, -2]>(x)  d = Sub(x, o) "
    f"q = Mul(d, d)  v = ReduceMean<axes = [0, 2, 3]>(q)  {ROOT_OF} {SCALED}",
    "mean negated": f"{MEAN_OF} l = Neg(m)  d = Add(x, l)  q = Mul(d, d) "
    f"v = ReduceMean<axes = [0, 2, 3]>(q)  {ROOT_OF} {RESULT}",
    "moved aside": "f = Constant<value_ints = [0, 2, 3]>()  m = ReduceMean<axes = [0, 2, 3]>(x) "
    f"{VARIANCE_OF} {ROOT_OF} w = Squeeze(r, f)  l = Squeeze(m, f) "
    "h = Transpose<perm = [0, 2, 3, 1]>(x)  o = Sub(h, l)  n = Div(o, w)  y = Identity(n)",
}
