"""What only a run shows: which parts run, and which take the batch's statistics all the same."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from bnopt.frontends.torch.modules import import_torch


@dataclass(frozen=True, slots=True)
class Watch:
    """Names of parts of a module, which fill while it runs.

    Attributes:
        called: Those that ran.
        training: Those of them that were in training mode.
    """

    called: set[str] = field(default_factory=set[str])
    training: set[str] = field(default_factory=set[str])

    @staticmethod
    def of(module: Any, names: Collection[str]) -> Watch:
        """Watch the parts of `module` that have one of `names`."""
        script = import_torch().jit.ScriptModule
        watch = Watch()
        for path, part in module.named_modules():
            name = path or type(part).__name__
            if name not in names:
                continue
            if isinstance(part, script):
                # It takes no hook, and most of what is there runs.
                watch.called.add(name)
            else:
                part.register_forward_pre_hook(_Seen(name, watch))
        return watch


@dataclass(frozen=True, slots=True)
class _Seen:
    """A hook that notes its module."""

    name: str
    watch: Watch

    def __call__(self, module: Any, _args: Any) -> None:
        self.watch.called.add(self.name)
        if module.training:
            self.watch.training.add(self.name)


def batch_normalizing(module: Any, run: Callable[[], object], batch: int) -> frozenset[str]:
    """Which parts normalise by the batch, though they were given moving statistics.

    They call `torch.nn.functional.batch_norm(..., training=True)`, or what is beneath it. A batch
    norm over a tensor of one sample made from several is an instance norm written as one, and
    without moving statistics it is no mistake that they are not used: neither is named.

    Args:
        module: A copy in evaluation mode, which keeps the hooks that it is given.
        run: Runs it.
        batch: Samples in that run.

    Returns:
        Names of the parts; empty if the module does not run while it is looked at.
    """
    torch = import_torch()
    running: list[str] = []
    found: set[str] = set()

    def note(function: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        if "batch_norm" not in function.name():
            return
        names = (argument.name for argument in function._schema.arguments)
        given = {**dict(zip(names, arguments, strict=False)), **named}
        single = batch > 1 and given["input"].shape[0] == 1
        if given.get("training") and given["running_mean"] is not None and not single:
            found.add(running[-1] if running else type(module).__name__)

    for path, part in module.named_modules():
        if not isinstance(part, torch.jit.ScriptModule):
            part.register_forward_pre_hook(_Enter(path or type(part).__name__, running))
            part.register_forward_hook(_Leave(running))
    try:
        with _observer(note):
            run()
    except Exception:
        # Some operators, such as torch.cond, refuse to be looked at.
        return frozenset()
    return frozenset(found)


@dataclass(frozen=True, slots=True)
class _Enter:
    name: str
    running: list[str]

    def __call__(self, _module: Any, _args: Any) -> None:
        self.running.append(self.name)


@dataclass(frozen=True, slots=True)
class _Leave:
    running: list[str]

    def __call__(self, _module: Any, _args: Any, _result: Any) -> None:
        self.running.pop()


def _observer(note: Callable[[Any, tuple[Any, ...], dict[str, Any]], None]) -> Any:
    """A context in which each operator that this thread runs is noted."""
    modes: Any = importlib.import_module("torch.utils._python_dispatch")

    class Observer(modes.TorchDispatchMode):
        def __torch_dispatch__(
            self,
            func: Any,
            types: Any,
            args: tuple[Any, ...] = (),
            kwargs: dict[str, Any] | None = None,
        ) -> Any:
            note(func, args, kwargs or {})
            return func(*args, **(kwargs or {}))

    return Observer()
