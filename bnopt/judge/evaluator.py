"""onnx's reference evaluator, made to compute the real-number function in double precision."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from bnopt.judge.ops import BEFORE_OPSET_13, OPERATORS
from bnopt.judge.precision import machine_epsilon

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


# Their float32 results are exact: constants, copies and ones and zeros.
_EXACT_SINGLE = frozenset(
    {"Constant", "ConstantOfShape", "EyeLike", "Identity", "OneHot", "Range", "SequenceEmpty"}
)
# Where the second and later inputs are weights, or values that arithmetic rounds just the same.
_WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "BatchNormalization"})
_ARITHMETIC = frozenset({"Add", "Sub", "Mul", "Div"})
# They compute in float32 inside and widen the result.
_SINGLE_INSIDE = frozenset({"CausalConvWithState", "GridSample", "LinearAttention"})
_NARROW = frozenset({"float32", "float16", "bfloat16"})


class NoReferenceError(Exception):
    """This model has no float64 reference; the message says why."""


@dataclass(slots=True)
class Budget:
    """State of one evaluation, shared with subgraphs and functions.

    Attributes:
        limit: Operations after which to give up; None is without end.
        spent: Operations so far: 2 per multiply-add, 10 per other output element.
        jitter: Source of random signs, to move each weight by one unit in its last place; None
            computes the model as it is.
        epsilon: Machine epsilon assumed for a weight that is computed rather than stored.
    """

    limit: float | None = None
    spent: float = 0.0
    jitter: np.random.Generator | None = None
    epsilon: float = field(default=float(np.finfo(np.float32).eps))

    def spend(self, operations: float) -> None:
        """Count operations.

        Raises:
            NoReferenceError: More than `limit` in all.
        """
        self.spent += operations
        if self.limit is not None and self.spent > self.limit:
            raise NoReferenceError(f"it takes more than {self.limit:.0e} operations")


BUDGET: ContextVar[Budget] = ContextVar("bnopt_reference_budget")


class Float64Evaluator(ReferenceEvaluator):
    """Evaluates a model with every floating-point value in float64.

    Differs from its parent in that functions and subgraphs get the same operators, values are
    freed after their last use, and an operator that falls back to single precision is an error.
    """

    def __init__(self, proto: Any, **kwargs: Any) -> None:
        kwargs["new_ops"] = list(OPERATORS)
        self._epsilons: dict[str, float] = {}
        self._constants: dict[str, Any] = {}
        self._dead: list[list[str]] = []
        super().__init__(proto, **kwargs)

    def _init(self) -> None:
        super()._init()
        stored = cast("dict[str, Any]", self.rt_inits_)
        for name, value in list(stored.items()):
            stored[name] = self._stored(name, value)
        for tensor in self.inits_:
            # The float64 copy is all that is needed from here on.
            if isinstance(tensor, onnx.TensorProto):
                tensor.ClearField("raw_data")
        rest: list[OpRun] = []
        for node in self.rt_nodes_:
            if node.op_type == "Constant" and not node.has_linked_attribute:
                (value,) = node.run()
                self._constants[node.output[0]] = self._stored(node.output[0], value)
            else:
                rest.append(node)
        self.rt_nodes_ = rest
        self._dead = _last_uses(rest, set(cast("list[str]", self.output_names_)))

    def _stored(self, name: str, value: Any) -> Any:
        dtype = _dtype(value)
        if dtype in _NARROW or dtype == "float64":
            self._epsilons[name] = machine_epsilon(dtype)
        return _widen(value)

    def _load_impl(self, node: onnx.NodeProto, input_types: Any = None) -> Any:
        if node.domain == "ai.onnx":
            node.domain = ""
        if node.domain == "" and self.opsets.get("", 0) < 13:
            for operator in BEFORE_OPSET_13:
                if operator.__name__ == node.op_type:
                    return operator
        if node.domain == "" and node.op_type in _SINGLE_INSIDE:
            raise NoReferenceError(f"{node.op_type} is only implemented in float32")
        try:
            return super()._load_impl(node, input_types)
        except (NotImplementedError, RuntimeError, ValueError) as error:
            # An operator whose function body needs the types is expanded when it is run.
            if type(error).__name__ == "RuntimeContextError":
                raise
            where = f" of domain {node.domain}" if node.domain else ""
            raise NoReferenceError(f"no implementation of {node.op_type}{where}") from None

    def run(
        self,
        output_names: Iterable[str] | None,
        feed_inputs: dict[str, Any],
        attributes: dict[str, Any] | None = None,
        intermediate: bool = False,
        *_: Any,
        **__: Any,
    ) -> Any:
        """Evaluate; see the parent class. Feeds may have any dtype, results are float64."""
        names = list(
            cast("list[str]", self.output_names_) if output_names is None else output_names
        )
        values: dict[str, Any] = {"": None, **self.rt_inits_}
        values.update((name, _widen(value)) for name, value in feed_inputs.items())
        values.update(self._constants)
        for node, dead in zip(self.rt_nodes_, self._dead, strict=True):
            for name, value in zip(node.output, self._step(node, values, attributes), strict=False):
                if name:
                    values[name] = value
            if not intermediate:
                for name in dead:
                    values.pop(name, None)
        return values if intermediate else [values[name] for name in names]

    def _step(
        self, node: OpRun, values: dict[str, Any], attributes: dict[str, Any] | None
    ) -> tuple[Any, ...]:
        budget = BUDGET.get()
        try:
            inputs = [values[name] for name in node.input]
        except KeyError as error:
            raise NoReferenceError(
                f"{node.op_type} reads {error}, which nothing computes"
            ) from None
        if budget.jitter is not None:
            inputs = self._jittered(node, inputs, budget)
        kwargs: dict[str, Any] = {}
        if node.has_linked_attribute and attributes:
            kwargs["linked_attributes"] = attributes
        if node.need_context():
            kwargs["context"] = values
        run = cast("Callable[..., tuple[Any, ...]]", node.run)
        try:
            outputs = run(*inputs, **kwargs)
        except NoReferenceError:
            raise
        # onnx's implementations fail in their own many ways; all mean the same here.
        except Exception as error:
            cause = error.__cause__ or error
            reason = " ".join(str(cause).split())[:200]
            raise NoReferenceError(f"{node.op_type} failed ({reason})") from error
        budget.spend(_operations(node.op_type, inputs, outputs))
        return tuple(_checked(node, value) for value in outputs)

    def _jittered(self, node: OpRun, inputs: list[Any], budget: Budget) -> list[Any]:
        """The inputs with each weight moved by one unit in its last place, up or down."""
        weighted, arithmetic = node.op_type in _WEIGHTED, node.op_type in _ARITHMETIC
        if not (weighted or arithmetic):
            return inputs
        moved = list(inputs)
        for index, (name, value) in enumerate(zip(node.input, inputs, strict=True)):
            known = self._epsilons.get(name)
            is_weight = known is not None or (weighted and index > 0)
            if is_weight and _dtype(value) == "float64":
                assert budget.jitter is not None
                signs = budget.jitter.choice((-1.0, 1.0), value.shape)
                moved[index] = value * (1.0 + (known or budget.epsilon) * signs)
        return moved


def _dtype(value: Any) -> str:
    """The name of an array's dtype; empty for anything else."""
    return str(getattr(value, "dtype", ""))


def _widen(value: Any) -> Any:
    if _dtype(value) in _NARROW:
        return value.astype(np.float64)
    if isinstance(value, list):
        return [_widen(item) for item in cast("list[Any]", value)]
    return value


def _checked(node: OpRun, value: Any) -> Any:
    """An output, widened; single precision is only let through where it is exact."""
    exact = node.op_type in _EXACT_SINGLE or node.op_type.startswith("Random")
    if _dtype(value) in _NARROW and not exact:
        raise NoReferenceError(f"{node.op_type} is only implemented in {value.dtype}")
    return _widen(value)


def _operations(op_type: str, inputs: list[Any], outputs: tuple[Any, ...]) -> float:
    total = 10.0 * sum(getattr(value, "size", 0) for value in outputs)
    if op_type == "Conv":
        total += 2.0 * outputs[0].size * (inputs[1].size / max(inputs[1].shape[0], 1))
    elif op_type == "ConvTranspose":
        total += 2.0 * inputs[0].size * (inputs[1].size / max(inputs[1].shape[0], 1))
    elif op_type in ("MatMul", "Gemm"):
        total += 2.0 * outputs[0].size * inputs[0].shape[-1]
    return total


def _last_uses(nodes: list[OpRun], keep: set[str]) -> list[list[str]]:
    """Per node, the values computed in this graph that nothing reads after it."""
    computed = {name for node in nodes for name in node.output if name}
    last: dict[str, int] = {}
    for index, node in enumerate(nodes):
        for name in (*reads(node.onnx_node), *node.output):
            if name in computed and name not in keep:
                last[name] = index
    dead: list[list[str]] = [[] for _ in nodes]
    for name, index in last.items():
        dead[index].append(name)
    return dead


def reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, those that its subgraphs capture included."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from reads(inner)
            yield from (output.name for output in graph.output)
