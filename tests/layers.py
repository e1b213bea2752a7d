"""Models of batch norms side by side, each with statistics of its own, for the rules on these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
from graphs import model
from onnx import helper, numpy_helper

from bnopt.algebra.base import Context
from bnopt.evidence import Measured
from bnopt.findings import Finding
from bnopt.rules.base import Rule
from bnopt.rules.view import View

Numbers = Sequence[float] | npt.NDArray[Any]


def layers(
    *statistics: tuple[Numbers, Numbers],
    means: Sequence[str] = (),
    variances: Sequence[str] = (),
    producer: str = "",
    epsilon: float = 1e-5,
    dtype: Any = np.float32,
) -> onnx.ModelProto:
    """One batch norm, gamma 1 and beta 0, for each (mean, variance): `x0` -> `y0` and so on.

    `means` and `variances` name the initializers; a name that occurs twice is one tensor.
    """
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes, inputs, outputs = [], [], []
    tensors: dict[str, npt.NDArray[Any]] = {}
    for index, (mean, variance) in enumerate(statistics):
        size = len(mean)
        m = means[index] if means else f"m{index}"
        v = variances[index] if variances else f"v{index}"
        tensors |= {m: np.array(mean, dtype), v: np.array(variance, dtype)}
        tensors |= {f"g{index}": np.ones(size, dtype), f"b{index}": np.zeros(size, dtype)}
        names = [f"x{index}", f"g{index}", f"b{index}", m, v]
        nodes.append(helper.make_node("BatchNormalization", names, [f"y{index}"], epsilon=epsilon))
        inputs.append(helper.make_tensor_value_info(f"x{index}", kind, ["N", size]))
        outputs.append(helper.make_tensor_value_info(f"y{index}", kind, ["N", size]))
    graph = helper.make_graph(nodes, "g", inputs, outputs)
    graph.initializer.extend(numpy_helper.from_array(a, name) for name, a in tensors.items())
    imports = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, producer_name=producer, ir_version=8, opset_imports=imports)


def random_statistics(channels: int = 12, seed: int = 0) -> tuple[Numbers, Numbers]:
    """Trained-looking: a mean of its own and a variance of another magnitude in each channel."""
    rng = np.random.default_rng(seed)
    return rng.normal(0, 1, channels), np.exp(rng.normal(0, 1, channels))


def chain(
    scale: Numbers | None = None, shift: Numbers | None = None, name: str = "batchnorm"
) -> onnx.ModelProto:
    """`x` of 4 channels times `scale`, plus `shift`; `name` is the last output's."""
    steps = [f"k = Mul(x, s) {name} = Add(k, t)", f"{name} = Mul(x, s)"]
    text = f"g (float[N,4] x) => (float[N,4] {name}) {{ {steps[shift is None]} }}"
    arrays = {"s": [0.3, 0.7, 1.4, 2.0] if scale is None else scale}
    arrays |= {} if shift is None else {"t": shift}
    return model(text, **{key: np.array(a, np.float32) for key, a in arrays.items()})


def fused(bias: Numbers | None = None) -> onnx.ModelProto:
    """A Conv into which tf2onnx has folded a batch norm of 4 channels."""
    rest = "" if bias is None else ", t"
    text = f"g (float[N,3,8,8] x) => (float[N,4,6,6] y) {{ y = Conv(x, c_weights_fused_bn{rest}) }}"
    weights = {"c_weights_fused_bn": np.random.default_rng(0).normal(size=(4, 3, 3, 3))}
    weights |= {} if bias is None else {"t": np.array(bias)}
    return model(text, **{name: array.astype(np.float32) for name, array in weights.items()})


def switched(then: str, other: str, after: str = "y = Identity(z)") -> onnx.ModelProto:
    """`p` chooses between two ways from `x` to `z`.

    Batch norms may use g and v (1), b and m (0), n (0.01).
    """
    text = f"""g (float[N,4] x, bool p) => (float[N,4] y) {{
        z = If (p) <then_branch = a () => (float[N,4] t) {{ {then} }},
                    else_branch = c () => (float[N,4] f) {{ {other} }}>
        {after}
    }}"""
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
    return model(text, g=ones, b=zeros, m=zeros, n=ones / 100, v=ones)


def view(proto: onnx.ModelProto, measured: Mapping[str, Measured] | None = None) -> View:
    """What rules look at, with moments by site as if they had been measured."""
    graph = ir.from_proto(proto)
    return View.of(graph, Context.of(graph), measured=measured)


def findings(
    module: ModuleType, proto: onnx.ModelProto, measured: Mapping[str, Measured] | None = None
) -> list[Finding]:
    """The findings of one rule."""
    return list(Rule.of(module).check(view(proto, measured)))
