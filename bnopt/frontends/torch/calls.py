"""How a module is called: nested arguments and results on its side, flat tensors on ONNX's."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from bnopt.errors import UsageError
from bnopt.frontends.torch.modules import import_torch
from bnopt.runtime.messages import one_line


@dataclass(frozen=True, slots=True)
class Call:
    """Arguments of `forward`, of which the tensors are the model's inputs.

    Attributes:
        args: Positional arguments, as they were given.
        kwargs: Keyword arguments, as they were given.
        names: A name for each tensor in them.
        tensors: These tensors, detached, on the CPU.
        batch: Size of axis 0 of the first tensor that has one; None if none has.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: tuple[str, ...]
    tensors: tuple[Any, ...]
    batch: int | None

    @staticmethod
    def of(module: Any, example_inputs: Any, names: Sequence[str] | None) -> Call:
        """Read `example_inputs`.

        Raises:
            UsageError: They do not fit `forward`, hold no tensor, or not as many as `names`.
        """
        torch = import_torch()
        args: tuple[Any, ...] = ()
        kwargs: dict[str, Any] = {}
        if isinstance(example_inputs, torch.Tensor):
            args = (example_inputs,)
        elif isinstance(example_inputs, Mapping):
            kwargs = dict(cast("Mapping[str, Any]", example_inputs))
        elif isinstance(example_inputs, tuple | list):
            args = tuple(cast("Sequence[Any]", example_inputs))
        else:
            kind = type(example_inputs).__name__
            raise UsageError(f"example_inputs must be a tensor, tuple or dict, not {kind}")
        try:
            bound = inspect.signature(module.forward).bind(*args, **kwargs)
        except TypeError as error:
            raise UsageError(f"example_inputs do not fit forward(): {error}") from None
        found: list[tuple[str, Any]] = []
        for parameter, value in bound.arguments.items():
            kind = bound.signature.parameters[parameter].kind
            prefix = "" if kind is inspect.Parameter.VAR_KEYWORD else parameter
            found += [item for item in flatten(value, prefix) if isinstance(item[1], torch.Tensor)]
        if not found:
            raise UsageError("example_inputs hold no tensor")
        given = _distinct([path for path, _ in found], ()) if names is None else list(names)
        _check_names(given, len(found), "input")
        if any(tensor.is_meta for _, tensor in found):
            raise UsageError("example_inputs are on the meta device, where nothing has numbers")
        tensors = tuple(tensor.detach().cpu() for _, tensor in found)
        batch = next((tensor.shape[0] for tensor in tensors if tensor.dim() > 0), None)
        return Call(bound.args, bound.kwargs, tuple(given), tensors, batch)

    @property
    def batched(self) -> tuple[bool, ...]:
        """For each tensor whether its axis 0 is the batch."""
        return tuple(tensor.dim() > 0 and tensor.shape[0] == self.batch for tensor in self.tensors)

    def with_tensors(self, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with other tensors in their places."""
        remaining = iter(tensors)
        args = tuple(_replaced(value, remaining) for value in self.args)
        return args, {name: _replaced(value, remaining) for name, value in self.kwargs.items()}

    def name_outputs(self, paths: Sequence[str], names: Sequence[str] | None) -> tuple[str, ...]:
        """Names of the outputs: those given, or made from where they are in the result.

        Raises:
            UsageError: They are not as many as the outputs, or name an input.
        """
        if names is None:
            return tuple(_distinct(paths, self.names))
        _check_names(names, len(paths), "output")
        if taken := set(names) & set(self.names):
            raise UsageError(f"output '{min(taken)}' has the name of an input")
        return tuple(names)

    def flatten_forward(self, module: Any) -> Any:
        """Let `module` (a copy) take the tensors alone and return a tuple of tensors.

        A tensor that is returned twice, or is an input, gets a name of its own. Hooks of the module
        see what they saw before.
        """
        inner = _with_hooks(module)

        def forward(*tensors: Any) -> tuple[Any, ...]:
            args, kwargs = self.with_tensors(tensors)
            seen = {id(tensor) for tensor in tensors}
            outputs: list[Any] = []
            for _, tensor in output_tensors(inner(*args, **kwargs)):
                outputs.append(tensor.clone() if id(tensor) in seen else tensor)
                seen.add(id(tensor))
            return tuple(outputs)

        module.forward = forward
        return module


def _with_hooks(module: Any) -> Any:
    """`forward` with the hooks around it, which are taken off the module.

    As `torch.nn.Module._call_impl` does it.
    """
    forward = module.forward
    before, after = dict(module._forward_pre_hooks), dict(module._forward_hooks)
    named = {*module._forward_pre_hooks_with_kwargs, *module._forward_hooks_with_kwargs}
    module._forward_pre_hooks.clear()
    module._forward_hooks.clear()

    def call(*args: Any, **kwargs: Any) -> Any:
        for key, hook in before.items():
            if key in named:
                args, kwargs = hook(module, args, kwargs) or (args, kwargs)
            elif (changed := hook(module, args)) is not None:
                args = cast("Any", changed if isinstance(changed, tuple) else (changed,))
        result = forward(*args, **kwargs)
        for key, hook in after.items():
            given = (args, kwargs, result) if key in named else (args, result)
            changed = hook(module, *given)
            result = result if changed is None else changed
        return result

    return call


def flatten(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of nested mappings, sequences and dataclasses, with a name made of its keys."""
    items: Any = None
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
    elif isinstance(value, tuple | list):
        items = enumerate(cast("Sequence[Any]", value))
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = ((item.name, getattr(value, item.name)) for item in dataclasses.fields(value))
    if items is None:
        yield path, value
        return
    for key, item in items:
        named = isinstance(key, str) and not path
        yield from flatten(item, key if named else f"{path or 'output'}_{key}")


def output_tensors(result: Any) -> list[tuple[str, Any]]:
    """The tensors that `forward` returned, each with a name made of its keys."""
    tensor_type = import_torch().Tensor
    leaves = [leaf for leaf in flatten(result) if isinstance(leaf[1], tensor_type)]
    return [(path or "output", tensor) for path, tensor in leaves]


def failure(error: BaseException) -> str:
    """The first line of what torch says, which goes on for pages."""
    said = error.__cause__ or error
    lines = [line for line in str(said).splitlines() if line.strip()]
    return one_line(ValueError(lines[0] if lines else type(said).__name__))


def _replaced(value: Any, tensors: Iterator[Any]) -> Any:
    if isinstance(value, import_torch().Tensor):
        return next(tensors)
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return {key: _replaced(item, tensors) for key, item in mapping.items()}
    if isinstance(value, tuple | list):
        sequence = cast("Sequence[Any]", value)
        items = [_replaced(item, tensors) for item in sequence]
        kind: Any = type(sequence)
        return kind(*items) if hasattr(kind, "_fields") else kind(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [field.name for field in dataclasses.fields(value)]
        changed = {name: _replaced(getattr(value, name), tensors) for name in fields}
        return dataclasses.replace(value, **changed)
    return value


def _distinct(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        unique, number = name, 1
        while unique in found or unique in taken:
            number += 1
            unique = f"{name}_{number}"
        found.append(unique)
    return found


def _check_names(names: Sequence[str], count: int, what: str) -> None:
    if len(names) != count or len(set(names)) != count or not all(names):
        raise UsageError(f"{count} different {what} names are needed, not {', '.join(names)}")
