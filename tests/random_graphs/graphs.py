"""Whole models: segments in which a batch norm may be folded backward, forward, into branches."""

from __future__ import annotations

import numpy as np
import onnx
from hypothesis import strategies as st
from onnx import TensorProto, helper

from random_graphs import carriers, functions
from random_graphs.affines import any_affine, batch_norm
from random_graphs.builder import Builder, Choices, Value
from random_graphs.hosts import any_host, pointwise

DOMAIN = "local"
CARRIERS = (*carriers.ALL, *functions.CONDITIONAL)


def carried(b: Builder, x: Value, counts: tuple[int, ...] = (0, 1, 1, 1, 2, 2, 3)) -> Value:
    """Some operators that an affine may pass."""
    for _ in range(b.choose.pick(counts)):
        x = b.choose.pick(CARRIERS)(b, x) or x
    return x


def backward(b: Builder, x: Value) -> Value:
    """A host, then an affine."""
    return any_affine(b, carried(b, any_host(b, x)))


def direct(b: Builder, x: Value) -> Value:
    """A host with a batch norm right behind it, perhaps with a bias between them."""
    x = pointwise(b, x, b.choose.between(1, 4)) if x.rank >= 2 else any_host(b, x)
    return batch_norm(b, x) if x.rank >= 2 else any_affine(b, x)


def forward(b: Builder, x: Value) -> Value:
    """An affine, then a host; in front of it something that takes no affine."""
    if b.choose.chance(70):
        x = b.choose.pick(functions.OPAQUE)(b, x) or x
    return any_host(b, carried(b, any_affine(b, x)))


def opaque(b: Builder, x: Value) -> Value:
    """What no affine passes."""
    return b.choose.pick(functions.OPAQUE)(b, x) or x


def residual(b: Builder, x: Value) -> Value:
    """Two branches added, or put one behind the other, then an affine."""
    if x.rank < 2:
        return any_affine(b, x)
    features = b.choose.pick((x.shape[1 if x.rank in (2, 3, 4) else -1], 1, 2, 3))
    left = _branch(b, x, features)
    right = x if x.shape == left.shape and b.choose.chance(30) else _branch(b, x, features)
    kind = b.choose.pick(("Add", "Add", "Sum", "Sub", "Concat", "Concat"))
    if kind == "Concat":
        axis = b.choose.pick((1, 1, 0, left.rank - 1))
        shape = [2 * n if i == axis else n for i, n in enumerate(left.shape)]
        joined = b.op("Concat", [left, right], shape, axis=axis)
    else:
        joined = b.op(kind, [left, right], left.shape)
    return any_affine(b, carried(b, joined, (0, 1))) if b.choose.chance(70) else joined


def _branch(b: Builder, x: Value, features: int) -> Value:
    y = pointwise(b, x, features)
    if b.choose.chance(50):
        y = batch_norm(b, y)
    return functions.relu(b, y) if b.choose.chance(20) else y


def shared(b: Builder, x: Value) -> Value:
    """One value read by two affines, or by an affine and something else."""
    x = any_host(b, x)
    left = any_affine(b, x)
    right = any_affine(b, x) if b.choose.chance(50) else opaque(b, x)
    if left.shape != right.shape:
        return left
    return b.op(b.choose.pick(("Add", "Mul")), [left, right], left.shape)


def conditional(b: Builder, x: Value) -> Value:
    """An If whose branches hold batch norms and read values, and weights, of the scope around."""
    if b.ir_version < 4 or b.outer is not None or x.rank < 2:
        return backward(b, x)
    if b.choose.chance(50):
        x = pointwise(b, x, x.shape[1])
    # Both branches must give one shape.
    features = b.choose.between(1, 3)
    bodies = [_body(b, x, features) for _ in range(2)]
    (_, first), (_, second) = bodies
    if first.shape != second.shape or first.dtype != second.dtype:
        return backward(b, x)
    graphs = {
        key: helper.make_graph(
            body.nodes, key, [], [_info(y, y.shape)], initializer=body.initializers
        )
        for key, (body, y) in zip(("then_branch", "else_branch"), bodies, strict=True)
    }
    condition = b.constant(np.asarray(True), "cond", overridable=False)
    if b.choose.chance(60):
        condition = b.name("choice")
        b.inputs.append(helper.make_tensor_value_info(condition, TensorProto.BOOL, []))
    return b.op("If", [condition], first.shape, x.dtype, **graphs)


def _body(b: Builder, x: Value, features: int) -> tuple[Builder, Value]:
    forms = ("initializer", "node", "outer")
    body = Builder(b.choose, b.opset, b.ir_version, b.dtype, forms, b, b.names)
    y = pointwise(body, x, features)
    if b.choose.chance(70):
        y = batch_norm(body, y)
    return body, carriers.identity(body, y) if b.choose.chance(30) else y


def local_function(b: Builder, x: Value) -> Value:
    """A model-local function around a batch norm, called once or twice."""
    if b.ir_version < 8 or b.outer is not None or x.rank < 2:
        return backward(b, x)
    # Its names are those of the graph around, either inside or in its interface.
    own = b.choose.chance(50)
    body = Builder(b.choose, b.opset, b.ir_version, b.dtype, ("node",), names=[900 if own else 0])
    inside = Value(x.name if own else "x", x.shape, x.dtype)
    y = pointwise(body, inside, x.shape[1]) if b.choose.chance(50) else inside
    y = batch_norm(body, y)
    name = b.name("Block")
    imports = [helper.make_opsetid("", b.opset)]
    b.functions.append(
        helper.make_function(DOMAIN, name, [inside.name], [y.name], body.nodes, imports)
    )
    if b.choose.chance(40):
        x = pointwise(b, x, x.shape[1] if x.rank in (2, 3, 4) else x.shape[-1])
    for _ in range(b.choose.between(1, 2) if y.shape == x.shape else 1):
        x = b.op(name, [x], y.shape, domain=DOMAIN)
    return x


SEGMENTS = (
    direct,
    direct,
    *[backward] * 6,
    *[forward] * 5,
    residual,
    residual,
    shared,
    opaque,
    conditional,
    local_function,
)


@st.composite
def models(draw: st.DrawFn) -> onnx.ModelProto:
    """A model that `onnx.checker` accepts, with at least one affine, most often a batch norm."""
    c = Choices(draw)
    opset = c.between(7, 22)
    dtype = c.pick((TensorProto.DOUBLE,) * 10 + (TensorProto.FLOAT,) * 3 + (TensorProto.FLOAT16,))
    ir_version = c.pick((10, 10, 8, 4, 3) if opset < 9 else (10, 10, 8))
    b = Builder(c, opset, ir_version, dtype)
    rank = c.pick((4, 4, 4, 3, 2, 2))
    # Equal dimensions hide wrong axes, so they are drawn from few.
    sizes = c.pick(((2, 3), (2, 4), (3, 3), (1, 3), (1, 2, 3, 4)))
    shape = (c.between(1, 2), *[c.pick(sizes) for _ in range(rank - 1)])
    x = Value("x", shape, dtype)
    pool = [x]
    for _ in range(c.pick((1, 2, 2, 3))):
        source = pool[-1] if c.chance(85) else c.pick(pool)
        pool.append(c.pick(SEGMENTS)(b, source))
    # An identity must stand between an input and an output.
    last = pool[-1] if pool[-1] is not x else carriers.identity(b, x)
    # Of unknown dimensions nobody can tell which ones a Squeeze without axes drops.
    known = any(n.op_type == "Squeeze" and len(n.input) + len(n.attribute) < 2 for n in b.nodes)
    b.inputs.insert(0, _info(x, list(shape) if known else _declared(c, shape)))
    model = _model(b, _outputs(b, last))
    # Where dimensions are symbolic or unknown, this is what the rest of the graph was made for.
    model.metadata_props.add(key="shape of x", value=",".join(map(str, shape)))
    return model


def _declared(c: Choices, shape: tuple[int, ...]) -> list[int | str | None]:
    """The shape as the model states it: known, symbolic or silent in each dimension."""
    if c.chance(50):
        return list(shape)
    first: list[int | str | None] = [c.pick(("N", None)), *shape[1:]]
    if c.chance(30):
        at = c.between(1, len(shape) - 1)
        first[at] = c.pick(("D", None))
    return first


def _info(value: Value, shape: tuple[int, ...] | list[int | str | None]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value.name, value.dtype, list(shape))


def _outputs(b: Builder, last: Value) -> list[str]:
    """The last value, most values that nothing reads, and now and then one that is read."""
    read = {name for node in b.nodes for name in node.input}
    read |= {
        name
        for node in b.nodes
        for attribute in node.attribute
        for inner in attribute.g.node
        for name in inner.input
    }
    outputs = [last.name]
    for node in b.nodes:
        for name in node.output:
            wanted = 2 if name in read or node.op_type == "Constant" else 70
            if name not in outputs and b.choose.chance(wanted):
                outputs.append(name)
    return outputs


def _model(b: Builder, outputs: list[str]) -> onnx.ModelProto:
    imports = [helper.make_opsetid("", b.opset)]
    if b.functions:
        imports.append(helper.make_opsetid(DOMAIN, 1))
    graph = helper.make_graph(b.nodes, "random", b.inputs, [], b.initializers)
    model = helper.make_model(graph, opset_imports=imports, functions=b.functions)
    model.ir_version = b.ir_version
    # Types of outputs come from inference, which knows what the inputs' declared shapes imply.
    graph = model.graph
    graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    found = {value.name: value for value in inferred.graph.output}
    for output in graph.output:
        output.CopyFrom(found[output.name])
        if not output.type.tensor_type.HasField("shape"):
            output.type.tensor_type.shape.SetInParent()
    return model
