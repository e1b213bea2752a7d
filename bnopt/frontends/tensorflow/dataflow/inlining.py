"""Function calls and conditionals of a function library, written out in one graph.

A call becomes the nodes of the function, under the call's name. An If becomes the nodes of the
branch that is taken, where that is known, or those of both between Switch and Merge, as TensorFlow
itself lowers it before it runs.

    y = If(p, x){then: f, else: g}    ->    s = Switch(x, p)
                                            y = Merge(g(s:0), f(s:1))

A While, which only a graph that is looked at has written out, becomes its body, run at most once:

    y = While(x){body: f}             ->    y = Merge(x, f(x))

Source: TensorFlow, core/common_runtime/lower_if_op.cc and lower_function_call_op.cc; the naming of
tensors in functions is documented in core/framework/function.proto.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

from bnopt.errors import UnsupportedModelError
from bnopt.frontends.tensorflow.dataflow.graph import WRITES, Graph, Tensor

CALLS = frozenset(("PartitionedCall", "StatefulPartitionedCall"))
CONDITIONALS = frozenset(("If", "StatelessIf"))
LOOPS = frozenset(("While", "StatelessWhile"))

Taken: TypeAlias = Callable[[Graph, Tensor], bool | None]

_PARTS = ("cond", "body")
_MAX_DEPTH = 64
_MAX_NODES = 2_000_000


def inline(graph_def: Any, taken: Taken, *, lower: bool, keep: Iterable[str] = ()) -> Any:
    """A copy of a graph with its calls, and the conditionals that are decided, written out.

    Args:
        graph_def: A GraphDef; it is not changed.
        taken: Which branch a predicate of the graph takes; None if it is open.
        lower: Whether an open conditional becomes Switch and Merge, and a loop its body. Otherwise
            they stay.
        keep: Tensors that must keep their names.

    Raises:
        UnsupportedModelError: A function is missing, calls itself, or has an operator that this
            TensorFlow does not know.
    """
    return _Inliner(graph_def, taken, lower).run(keep)


class _Inliner:
    def __init__(self, graph_def: Any, taken: Taken, lower: bool) -> None:
        self.result = type(graph_def)()
        self.result.CopyFrom(graph_def)
        del self.result.node[:]
        self.source = graph_def
        self.functions: dict[str, Any] = {f.signature.name: f for f in graph_def.library.function}
        self.taken = taken
        self.lower = lower
        self.alias: dict[Tensor, Tensor] = {}
        self.nodes: dict[str, Any] = {}

    def run(self, keep: Iterable[str]) -> Any:
        # A predicate may come out of another call, so later rounds can decide more.
        self.nodes = {node.name: _copy(node) for node in self.source.node}
        for _ in range(_MAX_DEPTH):
            view = Graph(self.nodes.values())
            pending = [n for n in self.nodes.values() if self._wanted(n, view)]
            if not pending:
                break
            for node in pending:
                del self.nodes[node.name]
                self._expand(node, view)
            self._rename()
            if len(self.nodes) > _MAX_NODES:
                raise UnsupportedModelError("the functions of the graph expand without end")
        else:
            raise UnsupportedModelError("a function of the graph calls itself")
        self._restore(keep)
        self.result.node.extend(self.nodes.values())
        return self.result

    def _wanted(self, node: Any, view: Graph) -> bool:
        if node.op in CALLS or node.op in self.functions:
            return True
        if node.op not in CONDITIONALS | LOOPS:
            return False
        if node.op in LOOPS:
            return self.lower
        return self.lower or self.taken(view, Tensor.parse(node.input[0])) is not None

    def _expand(self, node: Any, view: Graph) -> None:
        data = [text for text in node.input if not text.startswith("^")]
        controls = [text for text in node.input if text.startswith("^")]
        if node.op in LOOPS:
            returned = self._once(node, data, controls)
        elif node.op not in CONDITIONALS:
            name = node.op if node.op in self.functions else node.attr["f"].func.name
            returned = self._body(node.name, name, data, controls)
        else:
            choice = self.taken(view, Tensor.parse(data[0]))
            if choice is None:
                returned = self._both(node, data, controls)
            else:
                branch = node.attr["then_branch" if choice else "else_branch"].func.name
                returned = self._body(node.name, branch, data[1:], controls)
        for index, tensor in enumerate(returned):
            self.alias[Tensor(node.name, index)] = tensor
        self.alias[Tensor(node.name, -1)] = Tensor(f"{node.name}/done", -1)

    def _once(self, node: Any, data: list[str], controls: list[str]) -> list[Tensor]:
        self._body(f"{node.name}/cond", node.attr["cond"].func.name, data, controls)
        body = self._body(f"{node.name}/body", node.attr["body"].func.name, data, controls)
        self._add(f"{node.name}/done", "NoOp", [f"^{node.name}/{p}/done" for p in _PARTS], None)
        return [
            self._merge(f"{node.name}/merge_{index}", [start, body[index].text()], dtype)
            for index, (start, dtype) in enumerate(
                zip(data, node.attr["T"].list.type, strict=False)
            )
        ]

    def _merge(self, name: str, tensors: list[str], dtype: int) -> Tensor:
        self._add(name, "Merge", tensors, dtype).attr["N"].i = len(tensors)
        return Tensor(name, 0)

    def _both(self, node: Any, data: list[str], controls: list[str]) -> list[Tensor]:
        types = list(node.attr["Tin"].list.type)
        for index, (text, dtype) in enumerate(zip(data[1:], types, strict=False)):
            self._add(f"{node.name}/switch_{index}", "Switch", [text, data[0]], dtype)
        branches: list[list[Tensor]] = []
        for side, branch in enumerate(("else_branch", "then_branch")):
            args = [
                Tensor(f"{node.name}/switch_{index}", side).text() for index in range(len(types))
            ]
            name = f"{node.name}/{branch.partition('_')[0]}"
            branches.append(self._body(name, node.attr[branch].func.name, args, controls))
        # What waits for a conditional waits for the branch that runs; the graph is not run itself.
        done = [f"{node.name}/{side}/done" for side in ("else", "then")]
        self._add(f"{node.name}/done", "Merge", done, None)
        return [
            self._merge(f"{node.name}/merge_{index}", [b[index].text() for b in branches], dtype)
            for index, dtype in enumerate(node.attr["Tout"].list.type)
        ]

    def _body(self, prefix: str, name: str, args: list[str], controls: list[str]) -> list[Tensor]:
        function = self.functions.get(name)
        if function is None:
            raise UnsupportedModelError(f"node '{prefix}' calls '{name}', which the graph lacks")
        tensors = {
            a.name: Tensor.parse(t)
            for a, t in zip(function.signature.input_arg, args, strict=False)
        }
        index = {n.name: n for n in function.node_def}
        outputs = {n: self._outputs(node) for n, node in index.items() if self._is_read(node)}

        def place(text: str) -> Tensor:
            if text.startswith("^"):
                return Tensor(f"{prefix}/{text[1:]}", -1)
            parts = text.split(":")
            if parts[0] in tensors:
                return tensors[parts[0]]
            start = outputs.get(parts[0], {}).get(parts[1] if len(parts) > 1 else "")
            if start is None:
                raise UnsupportedModelError(f"function '{name}' reads '{text}', which it lacks")
            return Tensor(f"{prefix}/{parts[0]}", start + int(parts[2] if len(parts) > 2 else 0))

        for node in function.node_def:
            copy = _copy(node)
            copy.name = f"{prefix}/{node.name}"
            del copy.input[:]
            # Arguments have no control output; those that wait for them wait for nothing.
            copy.input.extend(place(t).text() for t in node.input if t[1:] not in tensors)
            self.nodes[copy.name] = copy
        run = dict.fromkeys([*function.control_ret.values()])
        run.update(dict.fromkeys(n.name for n in function.node_def if n.op in WRITES))
        done = [f"^{prefix}/{n}" for n in run if n in index]
        self._add(f"{prefix}/done", "NoOp", [*done, *controls], None)
        found: list[Tensor] = []
        for number, arg in enumerate(function.signature.output_arg):
            text = place(function.ret[arg.name]).text()
            inputs = [text, f"^{prefix}/done"]
            self._add(f"{prefix}/return_{number}", "Identity", inputs, arg.type)
            found.append(Tensor(f"{prefix}/return_{number}", 0))
        return found

    def _is_read(self, node: Any) -> bool:
        return node.op not in ("NoOp", "Assert")

    def _outputs(self, node: Any) -> dict[str, int]:
        """Name of an output argument -> index of its first tensor."""
        function = self.functions.get(node.op)
        definition = op_definition(node.op) if function is None else function.signature
        found: dict[str, int] = {}
        index = 0
        for arg in definition.output_arg:
            found[arg.name] = index
            if arg.number_attr:
                index += int(node.attr[arg.number_attr].i)
            elif arg.type_list_attr:
                index += len(node.attr[arg.type_list_attr].list.type)
            else:
                index += 1
        return found

    def _add(self, name: str, op: str, inputs: list[str], dtype: int | None) -> Any:
        node = self.result.node.add(name=name, op=op)
        node.input.extend(inputs)
        if dtype is not None:
            node.attr["T"].type = dtype
        self.nodes[name] = _copy(node)
        del self.result.node[:]
        return self.nodes[name]

    def _rename(self) -> None:
        gone = {tensor.node for tensor in self.alias}
        for node in self.nodes.values():
            for index, text in enumerate(node.input):
                tensor = Tensor.parse(text)
                while tensor.node in gone and tensor in self.alias:
                    tensor = self.alias[tensor]
                node.input[index] = tensor.text()

    def _restore(self, keep: Iterable[str]) -> None:
        """Nodes of the old names for tensors that the outside knows by name."""
        wanted = {Tensor.parse(text) for text in keep}
        for call in dict.fromkeys(t.node for t in wanted if t in self.alias):
            outputs = sorted(t for t in self.alias if t.node == call and t.index >= 0)
            sources = [self._final(t) for t in outputs]
            types = [self.nodes[s.node].attr["T"].type for s in sources]
            last = max(t.index for t in wanted if t.node == call)
            if last == 0:
                self._add(call, "Identity", [sources[0].text()], types[0])
                continue
            texts = [s.text() for s in sources[: last + 1]]
            node = self._add(call, "IdentityN", texts, None)
            node.attr["T"].list.type.extend(types[: last + 1])

    def _final(self, tensor: Tensor) -> Tensor:
        while tensor in self.alias:
            tensor = self.alias[tensor]
        return tensor


def op_definition(op: str) -> Any:
    """TensorFlow's own definition of an operator.

    Raises:
        UnsupportedModelError: This TensorFlow does not have it.
    """
    tensorflow: Any = importlib.import_module("tensorflow")
    try:
        return tensorflow.Graph().op_def_for_type(op)
    except Exception as error:
        message = f"the operator '{op}' is not known to TensorFlow {tensorflow.__version__}"
        raise UnsupportedModelError(message) from error


def _copy(node: Any) -> Any:
    copy = type(node)()
    copy.CopyFrom(node)
    return copy
