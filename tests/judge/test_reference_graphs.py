"""The float64 reference on whole graphs: precision, subgraphs, functions, refusals."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.parser
import pytest
from onnx import numpy_helper

from bnopt.errors import ExecutionError
from bnopt.judge.reference import evaluate


@pytest.fixture
def run(tmp_path):
    def evaluate_text(text, feed, opset=17, domains="", edit=None, **options):
        head = f'<ir_version: 8, opset_import: ["": {opset}{domains}]>\n'
        model = onnx.parser.parse_model(head + text)
        if edit:
            edit(model)
        path = tmp_path / "model.onnx"
        onnx.save(model, path)
        return evaluate(str(path), [feed], **options)

    return evaluate_text


X = np.random.default_rng(0).normal(size=(2, 3, 4, 4)).astype(np.float32)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float"])
def test_narrow_types_are_computed_in_full(run, dtype):
    code = {"float16": 10, "bfloat16": 16, "float": 1}[dtype]
    out = run(
        f"g (float[N,3,4,4] x) => (float y) {{ c = Cast<to={code}>(x)"
        f"  t = Constant<value_float=3.0>()  three = Cast<to={code}>(t)"
        "  d = Div(c, three)  e = Cast<to=1>(d)  y = ReduceSum<keepdims=0>(e) }",
        {"x": X},
    ).outputs[0]["y"]
    assert out.dtype == np.float64
    assert out == pytest.approx(X.astype(np.float64).sum() / 3.0, rel=1e-14)


def test_constants_without_a_dtype_of_their_own_do_not_narrow(run):
    out = run(
        "g (float[N,3,4,4] x) => (float[N,3,4,4] y) { s = Shape(x)  z = ConstantOfShape(s)"
        "  a = Add(x, z)  h = Constant<value_float=0.5>()  l = CastLike(h, a)  y = Mul(a, l) }",
        {"x": X},
    ).outputs[0]["y"]
    np.testing.assert_array_equal(out, X.astype(np.float64) * 0.5)


IF = """g (float[2,3,4,4] x, bool c) => (float[2,3,2,2] y)
    <float[3,3,3,3] w, float[3] s, float[3] b, float[3] m, float[3] v>
    { y = If<
        then_branch = t () => (float[2,3,2,2] p) { q = Conv(x, w)
            p = BatchNormalization(q, s, b, m, v) },
        else_branch = e () => (float[2,3,2,2] n) { q = Conv(x, w)  n = Neg(q) }>(c) }"""


def _weights(model):
    rng = np.random.default_rng(1)
    for tensor in list(model.graph.initializer):
        model.graph.initializer.remove(tensor)
    for name, shape in [("w", (3, 3, 3, 3)), ("s", 3), ("b", 3), ("m", 3), ("v", 3)]:
        array = rng.uniform(0.5, 1.5, shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))


def test_operators_and_precision_reach_into_subgraphs(run):
    # The stock evaluator computes BatchNormalization-9 as if it were training.
    feed = {"x": X}
    outputs = [
        run(IF, feed | {"c": np.array(c)}, opset=11, edit=_weights).outputs[0]["y"]
        for c in (True, False)
    ]
    rng = np.random.default_rng(1)
    w = rng.uniform(0.5, 1.5, (3, 3, 3, 3)).astype(np.float32).astype(np.float64)
    s, b, m, v = (
        rng.uniform(0.5, 1.5, 3).astype(np.float32).astype(np.float64)[None, :, None, None]
        for _ in range(4)
    )
    windows = np.lib.stride_tricks.sliding_window_view(X.astype(np.float64), (3, 3), axis=(2, 3))
    q = np.einsum("nchwij,ocij->nohw", windows, w)
    expected = (q - m) / np.sqrt(v + np.float64(np.float32(1e-5))) * s + b
    np.testing.assert_allclose(outputs[0], expected, rtol=1e-13)
    np.testing.assert_allclose(outputs[1], -q, rtol=1e-13)


def test_loop_stacks_its_scan_outputs(run):
    y, z = (
        run(
            """g (float[2] x, int64 n, bool c) => (float[2] y, float[K,2] z) {
            y, z = Loop<body = b (int64 i, bool k, float[2] a) => (bool g, float[2] d, float[2] o)
                { g = Identity(k)  d = Add(a, x)  o = Mul(d, d) }>(n, c, x) }""",
            {"x": np.array([0.1, 2], np.float32), "n": np.array(3), "c": np.array(True)},
        )
        .outputs[0]
        .values()
    )
    x = np.array([0.1, 2], np.float32).astype(np.float64)
    np.testing.assert_allclose(y, x * 4)
    np.testing.assert_allclose(z, np.stack([(x * k) ** 2 for k in (2, 3, 4)]))


def test_functions_in_any_order_with_attributes(run):
    text = """g (float[N,3,4,4] x) => (float[N,3,4,4] y) { y = local.outer<a = 0.1>(x) }
        <domain: "local", opset_import: ["": 17, "local": 1]>
        outer <a> (u) => (r) { k = local.inner<b: float = @a>(u)  r = Add(k, k) }
        <domain: "local", opset_import: ["": 17]>
        inner <b> (u) => (r) { c = Constant<value_float: float = @b>()  r = Mul(u, c) }"""
    out = run(text, {"x": X}, domains=', "local": 1').outputs[0]["y"]
    np.testing.assert_allclose(out, X.astype(np.float64) * float(np.float32(0.1)) * 2, rtol=1e-15)


def test_nodes_may_stand_in_any_order(run):
    def reverse(model):
        nodes = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend(reversed(nodes))

    text = "g (float[N,3,4,4] x) => (float[N,3,4,4] y) { a = Neg(x)  b = Abs(a)  y = Add(a, b) }"
    out = run(text, {"x": X}, edit=reverse).outputs[0]["y"]
    np.testing.assert_array_equal(out, np.abs(X.astype(np.float64)) - X)


@pytest.mark.parametrize(
    ("text", "domains", "reason"),
    [
        ("y = custom.Magic(x)", ', "custom": 1', "no implementation of Magic of domain custom"),
        ("y = Magic(x)", "", "no implementation of Magic"),
        ("w = HannWindow(n)  y = Cast<to=1>(w)", "", "HannWindow is only implemented in float32"),
        ("g = GridSample(x, x)  y = Identity(g)", "", "GridSample is only implemented in float32"),
        ("y = MatMul(x, n)", "", "MatMul failed"),
    ],
)
def test_what_has_no_reference_says_why(run, text, domains, reason):
    with pytest.raises(ExecutionError, match=reason):
        run(
            f"g (float[N,3,4,4] x, int64 n) => (y) {{ {text} }}",
            {"x": X, "n": np.array(8)},
            domains=domains,
        )


def test_operations_are_counted_and_limited(run):
    text = "g (float[4,8] x, float[8,16] w) => (float[4,16] y) { y = MatMul(x, w) }"
    feed = {"x": np.ones((4, 8), np.float32), "w": np.ones((8, 16), np.float32)}
    assert run(text, feed).operations == (2 * 4 * 8 * 16 + 10 * 64,)
    with pytest.raises(ExecutionError, match=r"takes more than 1e\+03 operations"):
        run(text, feed, limit=1e3)


def test_jitter_moves_weights_by_their_own_unit(run):
    def edit(model):
        weights = np.ones((8, 16), np.float16)
        model.graph.initializer.append(numpy_helper.from_array(weights, "w"))

    text = "g (float[4,8] x) => (float[4,16] y) { v = Cast<to=1>(w)  y = MatMul(x, v) }"
    feed = {"x": np.ones((4, 8), np.float32)}
    plain, moved, again = (
        run(text, feed, edit=edit, jitter=seed).outputs[0]["y"] for seed in (None, 0, 0)
    )
    np.testing.assert_array_equal(moved, again)
    change = np.abs(moved - plain).max()
    assert 2.0**-10 * 0.9 <= change <= 8 * 2.0**-10


@pytest.mark.forms
@pytest.mark.parametrize("mode", ["ts_preserve", "dyn", "dyn_noopt"])
def test_exports_against_their_framework_in_float64(shared_dir, mode):
    folder = shared_dir / "forms" / "torch"
    checked = 0
    for archive in sorted(folder.glob("*.npz")):
        path = folder / f"{archive.stem}__{mode}.onnx"
        if not path.exists():
            continue
        model = onnx.load(path)
        initialized = {tensor.name for tensor in model.graph.initializer}
        names = [value.name for value in model.graph.input if value.name not in initialized]
        with np.load(archive) as data:
            feed = dict(zip(names, [data[k] for k in data if k.startswith("in_")], strict=False))
            truths = [data[k] for k in data if k.startswith("y64_")]
        got = list(evaluate(str(path), [feed]).outputs[0].values())
        for value, truth in zip(got, truths, strict=False):
            # The exports hold the weights rounded to float32; torch's double run did not.
            scale = np.abs(truth).max()
            assert np.abs(value - truth).max() <= 1e-6 * scale, path.name
            checked += 1
    assert checked > 50
